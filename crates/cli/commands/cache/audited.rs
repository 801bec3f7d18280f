//! The result of `cache audit --json` as a file, from which cards take their figures.

use std::path::{Path, PathBuf};

use leadspan_cache::{Cache, Fidelity};
use leadspan_diagnosis::Diagnosis;
use leadspan_files::read_regular;
use serde::Deserialize;

/// The most bytes of such a file.
const MOST_BYTES: u64 = 1 << 20;

/// What a card takes from the file.
#[derive(Deserialize)]
struct Audited {
    identity: String,
    audit: Fidelity,
}

/// Why a file gives no figures.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuditedError {
    /// It cannot be read.
    #[error("could not read `{}`", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It is something else.
    #[error("`{}` is not the result of `leadspan cache audit --json`", path.display())]
    Foreign {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// It has a figure that no audit gives.
    #[error("`{}` has an impossible `{figure}`", path.display())]
    Impossible { path: PathBuf, figure: &'static str },
    /// It is about another cache.
    #[error("`{}` is an audit of a cache with the identity `{found}`, but `{}` has `{expected}`", path.display(), cache.display())]
    OtherCache {
        path: PathBuf,
        cache: PathBuf,
        found: String,
        expected: String,
    },
}

impl Diagnosis for AuditedError {
    fn hint(&self) -> Option<String> {
        Some("make it with `leadspan cache audit -c pipeline.toml --json > audit.json`".to_owned())
    }
}

/// The figures in the file at `path`, which must be about `cache`.
///
/// # Errors
///
/// An [`AuditedError`].
pub(super) fn figures(path: &Path, cache: &Cache) -> Result<Fidelity, AuditedError> {
    let owned = || path.to_owned();
    let bytes = read_regular(path, MOST_BYTES).map_err(|source| AuditedError::Unreadable { path: owned(), source })?;
    let Audited { identity, audit } =
        serde_json::from_slice(&bytes).map_err(|source| AuditedError::Foreign { path: owned(), source })?;
    let expected = cache.identity().fingerprint();
    if identity != expected {
        return Err(AuditedError::OtherCache {
            path: owned(),
            cache: cache.dir().to_owned(),
            found: identity,
            expected,
        });
    }
    match audit.impossible() {
        Some(figure) => Err(AuditedError::Impossible { path: owned(), figure }),
        None => Ok(audit),
    }
}
