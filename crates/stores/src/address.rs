//! Where a cache is kept: the URL of a folder in a store.

use std::{
    fmt,
    path::{Component, PathBuf},
    str::FromStr,
};

use crate::{StoreError, settings::problem_of_server};

/// The schemes of stores. The last two are those of web servers.
const SCHEMES: [&str; 7] = ["s3", "gs", "az", "hf", "file", "http", "https"];

/// The URL of a folder in a store. It has no secrets: a URL with a password or a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    pub(crate) place: Place,
}

/// What an address names. A prefix has no slash at its ends, and is empty for everything in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    S3 {
        bucket: String,
        prefix: String,
    },
    Google {
        bucket: String,
        prefix: String,
    },
    Azure {
        container: String,
        prefix: String,
    },
    /// A data set on the Hub.
    Hub {
        repository: String,
        revision: String,
        prefix: String,
    },
    Folder(PathBuf),
    /// A folder that a web server shows, by its path without a slash at the end, with `%20` read as a space.
    Web {
        server: String,
        path: String,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Address {
    type Err = StoreError;

    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownScheme`] or [`StoreError::BadUrl`]. Neither repeats a password or a query.
    fn from_str(url: &str) -> Result<Self, StoreError> {
        let bad = |problem| StoreError::BadUrl {
            url: without_secrets(url),
            problem,
        };
        if url.chars().any(char::is_control) {
            return Err(bad("it has a control character"));
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(bad("it has no scheme such as `s3://`"));
        };
        let scheme = scheme.to_ascii_lowercase();
        let scheme = &*scheme;
        if !SCHEMES.contains(&scheme) {
            let scheme = scheme.to_owned();
            return Err(StoreError::UnknownScheme { scheme });
        }
        if rest.contains(['?', '#']) {
            return Err(bad(
                "it has a query or a fragment, and credentials do not belong into a URL",
            ));
        }
        if scheme == "file" {
            return folder(rest).map_err(bad).map(|folder| Self {
                text: format!("file://{}", rest.trim_end_matches('/')),
                place: Place::Folder(folder),
            });
        }
        let is_bucket = matches!(scheme, "s3" | "gs" | "az");
        if rest
            .chars()
            .any(|letter| letter.is_whitespace() && !(is_bucket && letter == ' '))
        {
            return Err(bad("it has a space; `%20` stands for one in the path of a web server"));
        }
        let rest = rest.trim_end_matches('/');
        let (first, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if first.is_empty() {
            return Err(bad("it names no bucket, container or host"));
        }
        if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(bad("its path has an empty part, `.` or `..`"));
        }
        if first.contains('@') {
            return Err(bad("it has a user name, and credentials do not belong into a URL"));
        }
        let (bucket, prefix) = (first.to_owned(), prefix.to_owned());
        let place = match scheme {
            "s3" => Place::S3 { bucket, prefix },
            "gs" => Place::Google { bucket, prefix },
            "az" => Place::Azure {
                container: bucket,
                prefix,
            },
            "hf" => hub(&bucket, &prefix).map_err(bad)?,
            _ => {
                let server = format!("{scheme}://{bucket}");
                if let Some(problem) = problem_of_server(&server) {
                    return Err(bad(problem));
                }
                let path = decoded(&prefix).map_err(bad)?;
                Place::Web { server, path }
            }
        };
        let is_name = |name: &str| {
            name.chars()
                .all(|letter| letter.is_ascii_alphanumeric() || ".-_".contains(letter))
        };
        match &place {
            Place::S3 { bucket, .. } | Place::Google { bucket, .. } | Place::Azure { container: bucket, .. }
                if !is_name(bucket) =>
            {
                Err(bad("a bucket's name has letters, digits, `-`, `_` and `.`"))
            }
            _ => Ok(Self {
                text: format!("{scheme}://{rest}"),
                place,
            }),
        }
    }
}

/// The folder of `file://` and `rest`.
fn folder(rest: &str) -> Result<PathBuf, &'static str> {
    if !rest.starts_with('/') {
        return Err("a folder is written with its whole path, `file:///…`");
    }
    let folder = PathBuf::from(decoded(rest)?);
    let depth = folder.components().fold(0_usize, |depth, part| match part {
        Component::Normal(_) => depth + 1,
        Component::ParentDir => depth.saturating_sub(1),
        _ => depth,
    });
    if depth == 0 {
        return Err("it names all of the file system, not a folder in it");
    }
    Ok(folder)
}

/// A path in which `%20` stands for a space.
fn decoded(path: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut left = path.bytes();
    while let Some(byte) = left.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        match (digit(left.next()), digit(left.next())) {
            (Some(high), Some(low)) if high + low > 0 => bytes.push((16 * high + low) as u8),
            _ => return Err("it has a `%` without two hexadecimal digits; `%25` stands for `%`"),
        }
    }
    String::from_utf8(bytes).map_err(|_| "its path is not UTF-8")
}

/// The data set of `hf://datasets/OWNER/NAME[@REVISION][/PATH]`.
fn hub(kind: &str, rest: &str) -> Result<Place, &'static str> {
    if kind != "datasets" {
        return Err("of the Hub only data sets are read: `hf://datasets/OWNER/NAME/PATH`");
    }
    let mut parts = rest.splitn(3, '/');
    let (owner, name, prefix) = (parts.next(), parts.next(), parts.next());
    let (Some(owner), Some(name)) = (owner.filter(|owner| !owner.is_empty()), name) else {
        return Err("it does not name the owner and the data set: `hf://datasets/OWNER/NAME/PATH`");
    };
    let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
    if name.is_empty() || revision.is_empty() {
        return Err("it does not name the data set and its revision: `hf://datasets/OWNER/NAME@REVISION/PATH`");
    }
    Ok(Place::Hub {
        repository: format!("{owner}/{name}"),
        revision: revision.to_owned(),
        prefix: prefix.unwrap_or_default().to_owned(),
    })
}

/// A URL without what may be a secret: user name and password, query and fragment.
fn without_secrets(url: &str) -> String {
    let (url, cut) = match url.find(['?', '#']) {
        Some(end) => (&url[..end], &url[end..=end]),
        None => (url, ""),
    };
    let cut = if cut.is_empty() {
        String::new()
    } else {
        format!("{cut}…")
    };
    let (scheme, rest) = url
        .split_once("://")
        .map_or((None, url), |(scheme, rest)| (Some(scheme), rest));
    let host_end = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(host_end);
    let host = host
        .rsplit_once('@')
        .map_or_else(|| host.to_owned(), |(_, host)| format!("…@{host}"));
    let scheme = scheme.map(|scheme| format!("{scheme}://")).unwrap_or_default();
    format!("{scheme}{host}{path}{cut}")
}

#[cfg(test)]
mod tests {
    use leadspan_diagnosis::Diagnosis as _;

    use super::*;

    #[test]
    fn urls_name_buckets_folders_and_data_sets() {
        let place = |url: &str| url.parse::<Address>().unwrap().place;
        let (bucket, prefix) = ("bucket".to_owned(), "a/b".to_owned());
        assert_eq!(place("s3://bucket/a/b/"), Place::S3 { bucket, prefix });
        let (bucket, prefix) = ("bucket".to_owned(), String::new());
        assert_eq!(place("gs://bucket"), Place::Google { bucket, prefix });
        assert_eq!(
            place("az://caches/a"),
            Place::Azure {
                container: "caches".to_owned(),
                prefix: "a".to_owned()
            }
        );
        assert_eq!(place("file:///a%20b/c"), Place::Folder("/a b/c".into()));
        assert_eq!(place("FILE:///a%3Fb"), Place::Folder("/a?b".into()));
        assert_eq!(
            place("https://host:8080/a%20b/50%25/"),
            Place::Web {
                server: "https://host:8080".to_owned(),
                path: "a b/50%".to_owned(),
            }
        );
        assert_eq!(
            place("s3://bucket/a b/50%/\u{fc}"),
            Place::S3 {
                bucket: "bucket".to_owned(),
                prefix: "a b/50%/\u{fc}".to_owned()
            }
        );
        let hub = |revision: &str, prefix: &str| Place::Hub {
            repository: "me/caches".to_owned(),
            revision: revision.to_owned(),
            prefix: prefix.to_owned(),
        };
        assert_eq!(place("hf://datasets/me/caches"), hub("main", ""));
        assert_eq!(place("hf://datasets/me/caches@v1/half/deep"), hub("v1", "half/deep"));
    }

    #[test]
    fn wrong_urls_are_refused_without_their_secrets() {
        for (url, shown) in [
            ("bucket/prefix", "`bucket/prefix`"),
            ("s3://", "`s3://`"),
            ("s3:///prefix", "`s3:///prefix`"),
            ("s3://bucket//a", "`s3://bucket//a`"),
            ("s3://bucket/../a", "`s3://bucket/../a`"),
            ("s3://AKIA:hidden@bucket/a", "`s3://…@bucket/a`"),
            ("https://me:hidden@host/a", "`https://…@host/a`"),
            ("https://host/a?X-Amz-Signature=hidden", "`https://host/a?…`"),
            ("s3://bucket/a?hidden", "`s3://bucket/a?…`"),
            ("me:hidden@host/a#hidden", "`…@host/a#…`"),
            ("s3://b cket/a", "`s3://b cket/a`"),
            ("s3://b*cket/a", "`s3://b*cket/a`"),
            ("file://folder", "`file://folder`"),
            ("file:///50%/a", "`file:///50%/a`"),
            ("file:///", "`file:///`"),
            ("file:///a/../.", "`file:///a/../.`"),
            ("file:///a?x=hidden", "`file:///a?…`"),
            ("FTP:///a", "`ftp`"),
            ("https://host/50%/a", "`https://host/50%/a`"),
            ("https://host/a b", "`https://host/a b`"),
            ("http://h:99999/a", "`http://h:99999/a`"),
            ("http://[::1/a", "`http://[::1/a`"),
            ("hf://models/me/model", "`hf://models/me/model`"),
            ("hf://datasets/me", "`hf://datasets/me`"),
            ("hf://datasets/me/@v1", "`hf://datasets/me/@v1`"),
            ("ftp://host/a", "`ftp`"),
        ] {
            let error = url.parse::<Address>().unwrap_err();
            let text = format!("{error} {}", error.hint().unwrap_or_default());
            assert!(text.contains(shown) && !text.contains("hidden"), "{url}: {text}");
            assert!(!error.is_unexpected() && error.hint().is_some(), "{url}: {text}");
        }
    }
}
