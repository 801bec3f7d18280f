//! A store that opendal speaks to.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    future::Future,
    io,
    ops::Range,
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::{Either, select};
use opendal::{
    EntryMode, Error, ErrorKind, Operator,
    options::{ListOptions, ReadOptions, WriteOptions},
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    StoreError,
    same::{from_base64, from_etag},
    source::Source,
    store::{MOST_BYTES, Object, PIECE, Replacing, Stopping, Store},
    transport::{IGNORES_RANGES, MARK, MARK_OF_CERTIFICATE, MARK_OF_NO_HOST, MARK_OF_NO_PROXY, MARK_OF_NO_SERVER},
};

/// The most parts of an upload, less than the 10,000 that S3 takes.
const MOST_PARTS: u64 = 9000;

/// What opendal says when its loaders find no credentials, or none that a request can be signed with.
const NO_CREDENTIALS: &str = "signing http request";

/// The codes of refusals that opendal does not count as such: tokens that ran out, and another region's bucket.
const REFUSALS: [&str; 8] = [
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "PermanentRedirect",
    "SignatureDoesNotMatch",
    "TemporaryRedirect",
    "TokenRefreshRequired",
];

/// What became of a file that was to be created.
enum Created {
    Yes,
    /// There was one.
    No,
    /// The store does not know the condition.
    Unknown,
}

/// A folder in a store that opendal speaks to.
pub(crate) struct Remote {
    operator: Operator,
    url: String,
    /// Whether files can be listed and written.
    is_bucket: bool,
    /// Whether a file can be created on the condition that there is none.
    creates: AtomicBool,
    /// Whether a pause before another try is to end.
    is_stopped: Stopping,
}

/// How often a pause looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

thread_local! {
    static RUNTIME: OnceCell<io::Result<Runtime>> = const { OnceCell::new() };
}

impl Remote {
    pub(crate) fn new(operator: Operator, url: String, is_bucket: bool) -> Self {
        let creates = AtomicBool::new(operator.info().capability().write_with_if_not_exists);
        Self {
            operator,
            url,
            is_bucket,
            creates,
            is_stopped: Arc::new(|| false),
        }
    }

    /// Waits for an operation on the runtime of this thread. The operation is of the file `name`, or of the folder if that is
    /// empty.
    fn wait<T>(&self, name: &str, operation: impl Future<Output = Result<T, Error>>) -> Result<T, StoreError> {
        RUNTIME.with(|runtime| {
            let made = runtime.get_or_init(|| Builder::new_current_thread().enable_all().build());
            match made {
                Ok(runtime) => runtime.block_on(async {
                    // A request blocks, so this is looked at in pauses alone.
                    match select(pin!(operation), pin!(self.stop())).await {
                        Either::Left((done, _)) => done.map_err(|error| self.failed(name, &error)),
                        Either::Right(_) => Err(StoreError::Stopped),
                    }
                }),
                Err(_) => Err(self.failure(name, "the system refuses what a request needs".to_owned())),
            }
        })
    }

    /// Ends when everything is to stop.
    async fn stop(&self) {
        while !(self.is_stopped)() {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn failure(&self, name: &str, problem: String) -> StoreError {
        let url = if name.is_empty() {
            self.url.clone()
        } else {
            self.url_of(name)
        };
        StoreError::Failed { url, problem }
    }

    fn failed(&self, name: &str, error: &Error) -> StoreError {
        let url = self.url.clone();
        let text = error.to_string();
        let status = status(&text);
        let code = code(&text).or_else(|| status.map(|status| format!("HTTP status {status}")));
        if error.message() == NO_CREDENTIALS {
            return StoreError::NoCredentials { url };
        }
        if let Some(problem) = error.message().strip_prefix(MARK_OF_CERTIFICATE) {
            let problem = problem.to_owned();
            return StoreError::Untrusted { url, problem };
        }
        if let Some(unreached) = self.unreached(error.message()) {
            return unreached;
        }
        match (error.kind(), code.as_deref()) {
            (_, Some("NoSuchBucket" | "ContainerNotFound")) => StoreError::NoBucket { url },
            (ErrorKind::NotFound, _) if name.is_empty() => StoreError::NoBucket { url },
            (ErrorKind::NotFound, _) => StoreError::Missing {
                place: self.url_of(name),
                why: "",
            },
            (_, Some(code)) if REFUSALS.contains(&code) || matches!(status, Some(401 | 403)) => StoreError::Refused {
                url,
                code: code.to_owned(),
            },
            (ErrorKind::PermissionDenied, code) => StoreError::Refused {
                url,
                code: code.unwrap_or("no permission").to_owned(),
            },
            (_, _) if error.message() == IGNORES_RANGES => StoreError::NoRanges {
                place: self.url_of(name),
            },
            (ErrorKind::RangeNotSatisfied, _) => self.failure(name, "it is shorter than what is asked for".to_owned()),
            (kind, code) => {
                let said = error.message().strip_prefix(MARK).map(str::to_owned);
                let of_store = || code.map_or_else(|| kind.to_string(), str::to_owned);
                self.failure(name, said.unwrap_or_else(of_store))
            }
        }
    }

    /// The error of a server or a proxy that could not be reached, by what the transport says.
    fn unreached(&self, message: &str) -> Option<StoreError> {
        let url = self.url.clone();
        if let Some(host) = message.strip_prefix(MARK_OF_NO_HOST) {
            let host = host.to_owned();
            return Some(StoreError::NoHost { url, host });
        }
        let parted = |mark| {
            let (server, problem) = message.strip_prefix(mark)?.split_once(": ")?;
            Some((server.to_owned(), problem.to_owned()))
        };
        if let Some((server, problem)) = parted(MARK_OF_NO_SERVER) {
            return Some(StoreError::NoServer { url, server, problem });
        }
        let (proxy, problem) = parted(MARK_OF_NO_PROXY)?;
        Some(StoreError::NoProxy { url, proxy, problem })
    }

    /// Creates a small file on the condition that there is none.
    fn create(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        let options = WriteOptions {
            if_not_exists: true,
            ..WriteOptions::default()
        };
        let written = self.wait(name, async {
            Ok(self.operator.write_options(name, bytes, options).await)
        })?;
        let Err(error) = written else {
            return Ok(Created::Yes);
        };
        let code = code(&error.to_string());
        match (error.kind(), code.as_deref()) {
            (ErrorKind::ConditionNotMatch | ErrorKind::Conflict, _) => Ok(Created::No),
            (ErrorKind::Unsupported, _) | (_, Some("NotImplemented" | "InvalidArgument")) => Ok(Created::Unknown),
            _ => Err(self.failed(name, &error)),
        }
    }
}

impl Store for Remote {
    fn url(&self) -> &str {
        &self.url
    }

    fn list(&self) -> Result<Option<BTreeMap<String, Object>>, StoreError> {
        if !self.is_bucket {
            return Ok(None);
        }
        let options = ListOptions {
            recursive: true,
            ..ListOptions::default()
        };
        let entries = self.wait("", self.operator.list_options("", options))?;
        let files = entries
            .into_iter()
            .filter(|entry| entry.metadata().mode() == EntryMode::FILE);
        Ok(Some(
            files
                .map(|entry| {
                    let metadata = entry.metadata();
                    let md5 = metadata.content_md5().and_then(from_base64);
                    let object = Object {
                        bytes: metadata.content_length(),
                        md5: md5.or_else(|| metadata.etag().and_then(from_etag)),
                    };
                    (entry.path().to_owned(), object)
                })
                .collect(),
        ))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.wait(name, self.operator.read(name)) {
            Ok(bytes) if bytes.len() as u64 <= MOST_BYTES => Ok(Some(bytes.to_vec())),
            Ok(_) => Err(self.failure(name, "it is larger than such a file may be".to_owned())),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let options = ReadOptions {
            range: range.into(),
            ..ReadOptions::default()
        };
        Ok(self.wait(name, self.operator.read_options(name, options))?.to_vec())
    }

    fn put(&self, name: &str, bytes: Vec<u8>, replacing: Replacing) -> Result<bool, StoreError> {
        if replacing == Replacing::No && self.creates.load(Ordering::Relaxed) {
            match self.create(name, bytes.clone())? {
                Created::Yes => return Ok(true),
                Created::No => return Ok(false),
                Created::Unknown => self.creates.store(false, Ordering::Relaxed),
            }
        }
        self.wait(name, self.operator.write(name, bytes))?;
        Ok(true)
    }

    fn put_large(&self, name: &str, source: &mut Source<'_>) -> Result<(), StoreError> {
        let part = PIECE.max(source.bytes().div_ceil(MOST_PARTS));
        let options = WriteOptions {
            chunk: Some(part as usize),
            ..WriteOptions::default()
        };
        let mut writer = self.wait(name, self.operator.writer_options(name, options))?;
        let mut copy = || loop {
            let piece = source.piece(part)?;
            if piece.is_empty() {
                return Ok(());
            }
            let bytes = piece.len() as u64;
            self.wait(name, writer.write(piece))?;
            source.moved(bytes);
        };
        let mut written = copy();
        if written.is_ok() {
            written = self.wait(name, writer.close()).map(drop);
        } else {
            // The parts that are there cost money until they are removed; a failure to do so changes nothing.
            let _ = self.wait(name, writer.abort());
        }
        written.map_err(|error| match error {
            // An upload in parts is not known there.
            StoreError::Missing { place, .. } => StoreError::NoParts { place },
            error => error,
        })
    }

    fn end_pauses_by(&mut self, is_stopped: Stopping) {
        self.is_stopped = is_stopped;
    }

    fn require_target(&self, _dir: &Path) -> Result<(), StoreError> {
        if self.is_bucket {
            Ok(())
        } else {
            let url = self.url.clone();
            Err(StoreError::ReadOnly { url })
        }
    }
}

/// The code of a refusal: the one word of a store's answer that has no secret. Texts quote keys and what was signed.
fn code(text: &str) -> Option<String> {
    ["code: ", "reason: \"", "\"reason\": ", "\"error\": "]
        .iter()
        .find_map(|mark| {
            let rest = &text[text.find(mark)? + mark.len()..];
            let word = rest.strip_prefix('"').unwrap_or(rest);
            let end = word
                .find(|letter: char| !letter.is_ascii_alphanumeric())
                .unwrap_or(word.len());
            // Google's `code` is the number of the status.
            let is_word = word.starts_with(|first: char| first.is_ascii_alphabetic()) && end <= 40;
            is_word.then(|| word[..end].to_owned())
        })
}

/// The status of an answer.
fn status(text: &str) -> Option<u16> {
    const MARK_OF_STATUS: &str = "status: ";
    let digits = text
        .get(text.find(MARK_OF_STATUS)? + MARK_OF_STATUS.len()..)?
        .get(..3)?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_refusal_only_its_code_is_known() {
        let text = r#"S3Error { code: "SignatureDoesNotMatch", message: "AKIAHIDDEN", resource: "" }"#;
        assert_eq!(code(text).unwrap(), "SignatureDoesNotMatch");
        let google = r#"GcsError { code: 401, message: "hidden", errors: [GcsErrorDetail { reason: "authError" }] }"#;
        assert_eq!(code(google).unwrap(), "authError");
        assert_eq!(code("no such thing"), None);
        assert_eq!(code("code: \"\""), None);
        assert_eq!(status("context: { response: Parts { status: 401, version"), Some(401));
    }
}
