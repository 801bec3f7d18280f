//! How long claims of others have not changed, by the clock of this process.
//!
//! The lease of a claim is counted in the file server's time. If that clock was set back, a claim may lie in its future, and
//! would hold until the clock has caught up: hours or years after its holder died. A holder that lives renews its claim, which
//! changes it. So a claim that this process has seen unchanged for a whole lease is that of a dead holder.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// The claims of others that this process has seen, and since when each is as it is.
#[derive(Debug)]
pub(super) struct Unchanged(Mutex<BTreeMap<PathBuf, Seen>>);

#[derive(Debug)]
struct Seen {
    token: String,
    renewed: SystemTime,
    since: Instant,
}

impl Unchanged {
    /// Nothing seen yet.
    pub(super) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// How long the claim at `path` has been as it is at `now`: with this token and this last renewal.
    pub(super) fn time(&self, path: &Path, (token, renewed): (&str, SystemTime), now: Instant) -> Duration {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = all.get(path)
            && seen.token == token
            && seen.renewed == renewed
        {
            return now.duration_since(seen.since);
        }
        let seen = Seen {
            token: token.to_owned(),
            renewed,
            since: now,
        };
        all.insert(path.to_owned(), seen);
        Duration::ZERO
    }

    /// Forgets the claim at `path`.
    pub(super) fn forget(&self, path: &Path) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_starts_again_when_the_holder_or_its_last_renewal_is_another() {
        let (unchanged, path, begin) = (Unchanged::new(), Path::new("unit"), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        let renewed = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let seen = |token, at, now| unchanged.time(path, (token, renewed(at)), after(now)).as_secs();
        assert_eq!([seen("a", 9, 0), seen("a", 9, 5), seen("a", 9, 7)], [0, 5, 7]);
        assert_eq!(
            [seen("a", 8, 8), seen("a", 8, 9)],
            [0, 1],
            "it was renewed, if in the past"
        );
        assert_eq!([seen("b", 8, 10), seen("b", 8, 12)], [0, 2], "another holder");
        unchanged.forget(path);
        assert_eq!(seen("b", 8, 20), 0);
    }
}
