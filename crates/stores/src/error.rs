//! What goes wrong between a cache and a store. No text of a store is repeated: it may have a secret.

use std::path::PathBuf;

use leadspan_cache::CacheError;
use leadspan_diagnosis::Diagnosis;
use leadspan_files::FileError;

use crate::variables::{credentials, server_settings};

/// Why a cache was not pushed or pulled.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A URL that does not name a folder in a store.
    #[error("`{url}` is not the URL of a folder in a store: {problem}")]
    BadUrl {
        /// The URL, without user name, password and query.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A scheme that no store has.
    #[error("no store has the scheme `{scheme}`")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// A store that is only read.
    #[error("`{url}` is only read from, nothing is written there")]
    ReadOnly {
        /// The place.
        url: String,
    },
    /// A setting of the store is missing.
    #[error("{what} of `{url}` is not set")]
    Unset {
        /// What is missing.
        what: &'static str,
        /// The place.
        url: String,
    },
    /// There is no such bucket or container.
    #[error("the store has no bucket or container of `{url}`")]
    NoBucket {
        /// The place.
        url: String,
    },
    /// No credentials were found for a store that wants some.
    #[error("no credentials were found for `{url}`")]
    NoCredentials {
        /// The place.
        url: String,
    },
    /// The store refuses these credentials, or what they ask for.
    #[error("the store refuses access to `{url}` ({code})")]
    Refused {
        /// The place.
        url: String,
        /// The store's code for it.
        code: String,
    },
    /// The store does not answer, or answers with faults, also when asked again.
    #[error("the store of `{url}` failed: {problem}")]
    Failed {
        /// The file, or the folder.
        url: String,
        /// The store's code for it, or how the connection failed.
        problem: String,
    },
    /// The host where the store should be does not exist.
    #[error("there is no host `{host}`, where `{url}` should be")]
    NoHost {
        /// The place.
        url: String,
        /// The host.
        host: String,
    },
    /// The server of the store cannot be reached.
    #[error("the server `{server}` of `{url}` cannot be reached: {problem}")]
    NoServer {
        /// The place.
        url: String,
        /// The host, with its port if one is given.
        server: String,
        /// Why not.
        problem: String,
    },
    /// The proxy in front of the store cannot be reached.
    #[error("the proxy `{proxy}` for `{url}` cannot be reached: {problem}")]
    NoProxy {
        /// The place.
        url: String,
        /// The proxy's host and port.
        proxy: String,
        /// Why not.
        problem: String,
    },
    /// A variable has a value that cannot be used.
    #[error("the variable `{variable}` cannot be used: {problem}")]
    BadVariable {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        problem: &'static str,
        /// What to write instead.
        fix: &'static str,
    },
    /// The server's certificate is not of its name, or of nobody who is trusted.
    #[error("the certificate of the server of `{url}` does not hold: {problem}")]
    Untrusted {
        /// The place.
        url: String,
        /// What TLS says of it.
        problem: String,
    },
    /// The folder in the store lies in the cache that is to be pushed.
    #[error("`{url}` is a folder in the cache `{}` that is to be pushed there", path.display())]
    Inside {
        /// The cache here.
        path: PathBuf,
        /// The place.
        url: String,
    },
    /// The folder in the store has no cache.
    #[error("there is no cache at `{url}`: it has no `identity.json`")]
    NoCache {
        /// The place.
        url: String,
    },
    /// The folder here has no cache.
    #[error("`{}` is not a cache: it has no `identity.json`", path.display())]
    NotACache {
        /// The folder.
        path: PathBuf,
    },
    /// The folder in the store has files that are not this cache's.
    #[error("`{url}` has files of something else, such as `{found}`")]
    Foreign {
        /// The place.
        url: String,
        /// One of the files.
        found: String,
    },
    /// The folder here has files and no cache.
    #[error("`{}` has no cache, but files of something else, such as `{found}`", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// One of the files.
        found: String,
    },
    /// Another process makes a smaller cache in the folder.
    #[error("another process pulls into `{}`", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The two sides have different caches.
    #[error("`{}` and `{url}` are not the same cache: their `{name}` differ{how}", path.display())]
    OtherCache {
        /// The folder here.
        path: PathBuf,
        /// The place in the store.
        url: String,
        /// The file that differs.
        name: String,
        /// In what, or nothing.
        how: String,
    },
    /// A file in the store, or here, is not the one that another file describes.
    #[error("`{place}` is not the file that `{by}` describes: {problem}")]
    Damaged {
        /// The file.
        place: String,
        /// The file that describes it.
        by: String,
        /// How it differs.
        problem: String,
    },
    /// A file is missing in the store.
    #[error("`{place}` is missing{why}")]
    Missing {
        /// The file.
        place: String,
        /// Why it should be there.
        why: &'static str,
    },
    /// The store acknowledged a file twice, and does not have it.
    #[error("the store acknowledged `{place}` and has lost or truncated it, twice")]
    Lost {
        /// The file.
        place: String,
    },
    /// A JSON file cannot be read.
    #[error("`{place}` is not a sound JSON file of a cache")]
    BadJson {
        /// The file.
        place: String,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// The store sends whole files when it is asked for parts.
    #[error("the server of `{place}` ignores the range that is asked for, and sends the whole file")]
    NoRanges {
        /// The file.
        place: String,
    },
    /// The store takes no upload of several parts.
    #[error("the server of `{place}` takes no upload of several parts, which files of more than 8 MiB need")]
    NoParts {
        /// The file.
        place: String,
    },
    /// A file here cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The cache that is there cannot be cut, or the cut cannot be written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The cache in the store cannot be cut in this way.
    #[error("{problem}")]
    InStore {
        /// What is wrong, with the URLs of files in the store.
        problem: String,
        /// What to do.
        hint: Option<String>,
        /// The error, with the paths of the files here that stand for them.
        error: Box<CacheError>,
    },
    /// It was told to stop. This never leaves the crate.
    #[error("stopped")]
    Stopped,
}

impl StoreError {
    /// Whether only a file of the store is wrong or missing, so that others can still be pulled.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Missing { .. } | Self::BadJson { .. })
    }
}

/// How a store is mended.
pub(crate) const MEND_STORE: &str = "push the cache again from where it is whole: `leadspan cache verify` checks that";

impl Diagnosis for StoreError {
    fn is_unexpected(&self) -> bool {
        match self {
            Self::File(error) => error.is_unexpected(),
            Self::Cache(error) => error.is_unexpected(),
            Self::Failed { .. } | Self::NoServer { .. } | Self::NoProxy { .. } | Self::Lost { .. } | Self::Stopped => {
                true
            }
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::BadUrl { .. } | Self::UnknownScheme { .. } => {
                "write `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`, `file:///FOLDER`, or to pull from \
                 `hf://datasets/OWNER/NAME/PATH` or `https://HOST/PATH`"
            }
            Self::ReadOnly { url } if url.starts_with("hf:") => {
                "push with the Hub's own tool: `hf upload-large-folder OWNER/NAME DIR --repo-type dataset`"
            }
            Self::ReadOnly { .. } => {
                "push to `s3://`, `gs://`, `az://` or `file://`, and let the web server show that folder"
            }
            Self::Unset { url, .. } if url.starts_with("s3:") => {
                "set `AWS_REGION`, or `region` in the profile of `~/.aws/config`; for a store other than Amazon's, also \
                 `AWS_ENDPOINT_URL_S3`"
            }
            Self::Unset { url, .. } if url.starts_with("az:") => {
                "set `AZURE_STORAGE_ACCOUNT` to the name of the storage account"
            }
            Self::NoBucket { url } if url.starts_with("gs:") => {
                "make the bucket first, or correct the URL; `STORAGE_EMULATOR_HOST` says which emulator is meant"
            }
            Self::NoBucket { url } if url.starts_with("az:") => {
                "make the container first, or correct the URL; `AZURE_STORAGE_ACCOUNT` and `AZURE_STORAGE_ENDPOINT`, or \
                 `AZURE_STORAGE_CONNECTION_STRING`, say in which account it is"
            }
            Self::NoBucket { .. } => {
                "make the bucket or container first, or correct the URL; `AWS_ENDPOINT_URL_S3` says which store of S3's kind is \
                 meant"
            }
            Self::Unset { url, .. } | Self::NoCredentials { url } => credentials(url),
            Self::Refused { code, .. } if code.contains("TooSkewed") => {
                "set the clock of this machine: the store takes no request whose time is some minutes off"
            }
            Self::Refused { url, .. } if url.starts_with("gs:") || url.starts_with("az:") => {
                return Some(format!(
                    "check that these credentials may do this, and that the clock of this machine is right, or {}",
                    credentials(url)
                ));
            }
            Self::Refused { url, .. } => {
                return Some(format!(
                    "check that these credentials may do this and are of the bucket's region and account, or {}",
                    credentials(url)
                ));
            }
            Self::NoHost { url, .. } => return Some(format!("correct its name: {}", server_settings(url))),
            Self::NoServer { url, .. } => {
                return Some(format!(
                    "start it, or correct its name: {}; what was copied is kept, and the same command goes on",
                    server_settings(url)
                ));
            }
            Self::NoProxy { .. } => {
                "correct `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY`, or list the store's host in `NO_PROXY`; what was copied is \
                 kept, and the same command goes on"
            }
            Self::BadVariable { fix, .. } => *fix,
            Self::Untrusted { .. } => {
                "correct the URL or the endpoint: a certificate must be of the server's name, valid today, and of an authority that \
                 browsers trust"
            }
            Self::Inside { .. } => "push to a folder outside of the cache",
            Self::Failed { .. } => "run the same command again: what was copied is kept, and is not copied again",
            Self::NoCache { .. } => "give the folder that has the cache's `identity.json`",
            Self::NotACache { .. } => "give the folder of a cache, which `leadspan precompute` makes",
            Self::Foreign { .. } => "push to a folder of the store that is empty or has this cache",
            Self::InUse { .. } => "wait until it has ended, or pull into another folder",
            Self::Occupied { .. } => "pull into a folder that is empty, missing, or has this cache",
            Self::OtherCache { .. } => "use another folder for this cache, or remove the other cache",
            Self::Damaged { .. } | Self::Missing { .. } | Self::BadJson { .. } => MEND_STORE,
            Self::Lost { .. } => "run the same command again; if this stays so, the store does not keep what it takes",
            Self::NoRanges { .. } => {
                "let a server show the folder that answers ranges (`206 Partial Content`), or fetch the folder with another program \
                 and cut it with `leadspan cache cut`"
            }
            Self::NoParts { .. } => "push to another store: emulators such as fake-gcs-server take only small files",
            Self::File(error) => return error.hint(),
            Self::Cache(error) => return error.hint(),
            Self::InStore { hint, .. } => return hint.clone(),
            Self::Stopped => return None,
        };
        Some(hint.to_owned())
    }
}
