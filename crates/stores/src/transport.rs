//! How requests reach a store: through the HTTP client that the program has for servers of teachers.
//!
//! Every thread that works on a store has a runtime of its own, on which nothing else runs. So a request may block.

use std::{future::ready, time::Duration};

use futures::stream;
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport, Result};
use ureq::{
    Agent, Body, Proxy,
    http::{
        Method, Request, Response, StatusCode,
        header::{CONTENT_LENGTH, RANGE},
    },
};

use crate::store::MOST_BYTES;

/// The beginning of what the errors of this module say. The rest names neither a URL nor a header.
pub(crate) const MARK: &str = "connection: ";

/// The same of a server whose certificate does not hold.
pub(crate) const MARK_OF_CERTIFICATE: &str = "certificate: ";

/// What TLS says of such a certificate.
const BAD_CERTIFICATE: &str = "invalid peer certificate: ";

/// The error of a server that sends the whole file for a part of it.
pub(crate) const IGNORES_RANGES: &str = "the server ignores ranges";

/// What [`IGNORES_RANGES`] says, inside of this module.
#[derive(Debug, thiserror::Error)]
#[error("the server ignores ranges")]
struct IgnoresRanges;

/// The time to make a connection.
const CONNECTING: Duration = Duration::from_secs(30);

/// The longest time without a byte.
const SILENCE: Duration = Duration::from_mins(1);

/// An HTTP client for opendal.
#[derive(Clone)]
pub(crate) struct Transport {
    agent: Agent,
}

impl Transport {
    /// A client that keeps up to `connections` connections, and follows so many redirections in a row. Those to another host get
    /// no credentials.
    pub(crate) fn new(connections: usize, redirections: u32, proxy: Option<Proxy>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(redirections)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .user_agent(concat!("leadspan/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECTING))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections);
        Self {
            agent: config.build().into(),
        }
    }

    fn send(&self, request: Request<Buffer>) -> Result<Response<HttpBody>, ureq::Error> {
        let (parts, body) = request.into_parts();
        let has_body = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
        let is_head = parts.method == Method::HEAD;
        let asked = parts.headers.get(RANGE).and_then(|range| bounds(range.to_str().ok()?));
        let uri = parts.uri.clone();
        let mut answer = if has_body || !body.is_empty() {
            self.agent.run(Request::from_parts(parts, body.to_vec()))?
        } else {
            self.agent.run(Request::from_parts(parts, ()))?
        };
        // A whole file in place of its part is never cut to size here: each part would cost the whole file again.
        let whole = (answer.status() == StatusCode::OK).then_some(asked).flatten();
        let require_part = |bytes: Option<u64>| match (whole, bytes) {
            (Some((start, _)), _) if start > 0 => Err(ureq::Error::Other(Box::new(IgnoresRanges))),
            (Some((_, end)), Some(bytes)) if bytes > end => Err(ureq::Error::Other(Box::new(IgnoresRanges))),
            _ => Ok(()),
        };
        require_part(answer.body().content_length())?;
        let bytes = if is_head { Vec::new() } else { read(answer.body_mut())? };
        require_part(Some(bytes.len() as u64))?;
        let length = (!is_head).then_some(bytes.len() as u64);
        let (mut parts, _) = answer.into_parts();
        if let Some(length) = length {
            parts.headers.insert(CONTENT_LENGTH, length.into());
        }
        parts.extensions.insert(uri);
        let body = HttpBody::new(stream::once(ready(Ok(Buffer::from(bytes)))), length);
        Ok(Response::from_parts(parts, body))
    }
}

/// The start and the end of the range that a header asks for; `None` if it has no end.
fn bounds(header: &str) -> Option<(u64, u64)> {
    let (start, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    Some((start.parse().ok()?, last.parse::<u64>().ok()?.saturating_add(1)))
}

/// The whole answer. An answer that ends before its stated length is an error.
fn read(body: &mut Body) -> Result<Vec<u8>, ureq::Error> {
    body.with_config().limit(MOST_BYTES).read_to_vec()
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> Result<Response<HttpBody>> {
        self.send(request).map_err(|error| {
            if matches!(&error, ureq::Error::Other(other) if other.is::<IgnoresRanges>()) {
                return Error::new(ErrorKind::Unsupported, IGNORES_RANGES);
            }
            let (problem, is_passing) = described(&error);
            let message = match problem.split_once(BAD_CERTIFICATE) {
                Some((_, why)) => format!("{MARK_OF_CERTIFICATE}{why}"),
                None => format!("{MARK}{problem}"),
            };
            Error::new(ErrorKind::Unexpected, message).with_temporary(is_passing)
        })
    }
}

/// What failed, and whether another try may succeed.
fn described(error: &ureq::Error) -> (String, bool) {
    match error {
        ureq::Error::Io(error) => {
            let problem = error.to_string();
            let is_passing = !problem.contains(BAD_CERTIFICATE);
            (problem, is_passing)
        }
        ureq::Error::Timeout(_) => ("the time for an answer ran out".to_owned(), true),
        ureq::Error::HostNotFound => ("there is no such host".to_owned(), true),
        ureq::Error::ConnectionFailed => ("no connection could be made".to_owned(), true),
        ureq::Error::Protocol(_) => ("the answer is broken off or is no HTTP".to_owned(), true),
        ureq::Error::BodyExceedsLimit(_) => ("the answer is too long".to_owned(), false),
        ureq::Error::Tls(what) => (format!("TLS: {what}"), false),
        ureq::Error::Rustls(error) => (format!("TLS: {error}"), false),
        ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed => ("it redirects in a circle".to_owned(), false),
        _ => ("the request could not be sent".to_owned(), false),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_certificate_that_does_not_hold_is_no_passing_failure() {
        let failed = |text: &str| described(&ureq::Error::Io(io::Error::new(io::ErrorKind::InvalidData, text))).1;
        assert!(!failed("invalid peer certificate: UnknownIssuer"));
        assert!(failed("connection reset by peer"));
    }
}
