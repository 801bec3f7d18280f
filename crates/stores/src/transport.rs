//! How requests reach a store: through the HTTP client that the program has for servers of teachers.
//!
//! Every thread that works on a store has a runtime of its own, on which nothing else runs. So a request may block.

use std::{future::ready, sync::Arc, time::Duration};

use futures::stream;
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport, Result};
use ureq::{
    Agent, Body,
    http::{
        Method, Request, Response, StatusCode, Uri,
        header::{CONTENT_LENGTH, RANGE},
    },
};

use crate::{
    proxies::Proxies,
    reach::{Reached, Unreached},
    store::MOST_BYTES,
};

/// The beginning of what the errors of this module say. The rest names neither a URL nor a header.
pub(crate) const MARK: &str = "connection: ";

/// The same of a server whose certificate does not hold.
pub(crate) const MARK_OF_CERTIFICATE: &str = "certificate: ";

/// The same of a server, or of a proxy, that could not be reached: the mark, its name, and what failed.
pub(crate) const MARK_OF_NO_HOST: &str = "no host: ";
pub(crate) const MARK_OF_NO_SERVER: &str = "no server: ";
pub(crate) const MARK_OF_NO_PROXY: &str = "no proxy: ";

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
    /// For URLs with `http:`, and for others.
    agents: [Agent; 2],
    proxies: Proxies,
    reached: Arc<Reached>,
}

impl Transport {
    /// A client that keeps up to `connections` connections, and follows so many redirections in a row. Those to another host get
    /// no credentials.
    pub(crate) fn new(connections: usize, redirections: u32, proxies: Proxies) -> Self {
        let agent = |proxy| {
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
            config.build().into()
        };
        Self {
            agents: [agent(proxies.http.clone()), agent(proxies.https.clone())],
            proxies,
            reached: Arc::default(),
        }
    }

    fn send(&self, request: Request<Buffer>) -> Result<Response<HttpBody>, ureq::Error> {
        let (parts, body) = request.into_parts();
        let has_body = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
        let is_head = parts.method == Method::HEAD;
        let asked = parts.headers.get(RANGE).and_then(|range| bounds(range.to_str().ok()?));
        let uri = parts.uri.clone();
        let agent = &self.agents[usize::from(uri.scheme_str() != Some("http"))];
        let mut answer = if has_body || !body.is_empty() {
            agent.run(Request::from_parts(parts, body.to_vec()))?
        } else {
            agent.run(Request::from_parts(parts, ()))?
        };
        self.reached.answered(server_of(&uri));
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

    /// The error of a server that could not be reached, or of the proxy in front of it.
    fn unreached(&self, url: &Uri, why: Unreached) -> Error {
        let server = server_of(url);
        let proxy = self
            .proxies
            .for_url(url)
            .map(|proxy| format!("{}:{}", proxy.host(), proxy.port()));
        let message = match (proxy, why) {
            (None, Unreached::NoHost) => format!("{MARK_OF_NO_HOST}{server}"),
            (None, Unreached::NoConnection(problem)) => format!("{MARK_OF_NO_SERVER}{server}: {problem}"),
            (Some(proxy), Unreached::NoHost) => format!("{MARK_OF_NO_PROXY}{proxy}: there is no such host"),
            (Some(proxy), Unreached::NoConnection(problem)) => format!("{MARK_OF_NO_PROXY}{proxy}: {problem}"),
        };
        Error::new(ErrorKind::Unexpected, message).with_temporary(self.reached.may_come(server))
    }
}

/// The host of a URL, with its port if it names one. It has no user name and no password.
fn server_of(url: &Uri) -> &str {
    let server = url.authority().map_or("", |authority| authority.as_str());
    server.rsplit_once('@').map_or(server, |(_, server)| server)
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
        let url = request.uri().clone();
        self.send(request).map_err(|error| {
            if let Some(why) = Unreached::of(&error) {
                return self.unreached(&url, why);
            }
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
