//! Whether a server was ever reached: a name that does not exist is told soon, and a server that goes away for a while is waited
//! for.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ureq::Timeout;

/// How long a server that never answered is tried to be reached.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the standard library says of a name that has no address.
const NO_ADDRESS: &str = "failed to lookup address information: ";

/// What the resolver says of a name that does not exist, without the standard library's words.
const NO_SUCH_NAME: [&str; 2] = ["Name or service not known", "No address associated with hostname"];

/// Why no connection could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// There is no host of that name.
    NoHost,
    /// It may be there, but there is no connection to it.
    NoConnection(String),
}

impl Unreached {
    /// Why no connection could be made; `None` if one was made, and something else failed.
    pub(crate) fn of(error: &ureq::Error) -> Option<Self> {
        let problem = match error {
            ureq::Error::HostNotFound => return Some(Self::NoHost),
            ureq::Error::ConnectProxyFailed(reason) => {
                let status = reason.rsplit('/').next().filter(|status| status.len() == 3);
                match status {
                    Some(status) => format!("it leads nowhere (HTTP status {status})"),
                    None => "it does not answer".to_owned(),
                }
            }
            ureq::Error::ConnectionFailed => "no connection could be made".to_owned(),
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => "it does not answer".to_owned(),
            ureq::Error::Io(error) => match error.to_string().strip_prefix(NO_ADDRESS) {
                Some(why) if NO_SUCH_NAME.contains(&why) => return Some(Self::NoHost),
                Some(why) => format!("its name cannot be looked up ({why})"),
                None => match error.kind() {
                    io::ErrorKind::ConnectionRefused => "it refuses the connection".to_owned(),
                    io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                        "there is no way to it".to_owned()
                    }
                    _ => return None,
                },
            },
            _ => return None,
        };
        Some(Self::NoConnection(problem))
    }
}

/// The servers that were asked for something.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    /// When a server could not be reached for the first time; `None` once it answered.
    servers: Mutex<BTreeMap<String, Option<Instant>>>,
}

impl Reached {
    /// Notes that a server answered.
    pub(crate) fn answered(&self, server: &str) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if servers.get(server) != Some(&None) {
            servers.insert(server.to_owned(), None);
        }
    }

    /// Whether a server that cannot be reached is worth another try: it answered before, or has not been tried for long.
    pub(crate) fn may_come(&self, server: &str) -> bool {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let first = servers.entry(server.to_owned()).or_insert_with(|| Some(Instant::now()));
        first.is_none_or(|first| first.elapsed() < PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_exist_is_told_from_a_server_that_is_away() {
        let of = |kind, text: &str| Unreached::of(&ureq::Error::Io(io::Error::new(kind, text.to_owned())));
        let lookup = |why: &str| of(io::ErrorKind::Other, &format!("{NO_ADDRESS}{why}"));
        assert_eq!(lookup("Name or service not known"), Some(Unreached::NoHost));
        let passing = lookup("Temporary failure in name resolution");
        assert!(matches!(passing, Some(Unreached::NoConnection(problem)) if problem.contains("Temporary failure")));
        assert!(matches!(
            of(io::ErrorKind::ConnectionRefused, "Connection refused (os error 111)"),
            Some(Unreached::NoConnection(_))
        ));
        assert_eq!(of(io::ErrorKind::ConnectionReset, "Connection reset by peer"), None);
    }

    #[test]
    fn a_server_that_answered_once_is_waited_for() {
        let reached = Reached::default();
        assert!(reached.may_come("one"));
        let long_ago = Instant::now().checked_sub(2 * PATIENCE);
        reached.servers.lock().unwrap().insert("one".to_owned(), long_ago);
        assert_eq!(reached.may_come("one"), long_ago.is_none());
        reached.answered("one");
        assert!(reached.may_come("one") && reached.may_come("two"));
    }
}
