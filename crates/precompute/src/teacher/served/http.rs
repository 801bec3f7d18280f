//! One request to a server, bounded in time and bytes. Nothing is repeated here.

use std::{io, time::Duration};

use ureq::{Agent, Body, http::Response, tls::TlsConfig};

use crate::{
    server_address::Address, server_authorities::ServerAuthorities, server_error::ServerError, server_key::ServerKey,
};

/// The most bytes of a refusal that are read.
const MOST_REFUSAL: u64 = 64 << 10;

/// The time to make a connection.
const CONNECTING: Duration = Duration::from_secs(30);

/// How long a connection is kept that nobody uses: servers close theirs after five seconds.
const IDLE: Duration = Duration::from_secs(2);

/// Why a request got no answer.
pub(super) enum Failure {
    /// Another try may succeed.
    Passing(Passing),
    /// It will always fail.
    Final(ServerError),
}

/// A failure that may pass.
pub(super) struct Passing {
    pub(super) why: String,
    pub(super) reach: Reach,
    /// When the server wants to be asked again.
    pub(super) after: Option<Duration>,
    /// The time limit that ran out.
    pub(super) spent: Duration,
}

/// Whether a server was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It is not there, or says that it has no time.
    Away,
    /// It was there, and failed.
    Broken,
}

/// A server to which requests are sent.
pub(super) struct Client {
    agent: Agent,
    address: Address,
    /// The header's value, and the key alone.
    key: Option<(String, String)>,
    limit: Duration,
}

impl Client {
    /// A client that keeps `connections` connections, and waits `limit` for an answer. Over `https`, it trusts
    /// `authorities`, or those of browsers if none are named.
    ///
    /// # Errors
    ///
    /// [`ServerError::Key`] if the key does not fit into a header; [`ServerError::Authorities`] if a file or a folder has
    /// no certificates.
    pub(super) fn new(
        address: Address,
        key: Option<&ServerKey>,
        authorities: &ServerAuthorities,
        connections: usize,
        limit: Duration,
    ) -> Result<Self, ServerError> {
        let key = match key.map(ServerKey::text) {
            None => None,
            Some(Some(key)) => Some((format!("Bearer {key}"), key.to_owned())),
            Some(None) => return Err(ServerError::Key),
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // The environment's proxy is none of a library's business.
            .proxy(None)
            .user_agent(concat!("leadspan/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(limit))
            .timeout_connect(Some(limit.min(CONNECTING)))
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .max_idle_age(IDLE);
        if address.is_encrypted()
            && let Some(roots) = authorities.certificates()?
        {
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Self {
            agent: config.build().into(),
            address,
            key,
            limit,
        })
    }

    pub(super) fn address(&self) -> &str {
        self.address.as_str()
    }

    /// What the server has at `path`, in at most `most` bytes.
    pub(super) fn get(&self, path: &'static str, most: u64) -> Result<Vec<u8>, Failure> {
        let mut request = self.agent.get(self.url(path));
        if let Some((header, _)) = &self.key {
            request = request.header("Authorization", header);
        }
        self.read(path, most, request.call())
    }

    /// The server's answer to `body`, which is JSON, in at most `most` bytes.
    pub(super) fn post(&self, path: &'static str, body: &[u8], most: u64) -> Result<Vec<u8>, Failure> {
        let mut request = self.agent.post(self.url(path)).content_type("application/json");
        if let Some((header, _)) = &self.key {
            request = request.header("Authorization", header);
        }
        self.read(path, most, request.send(body))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address.as_str())
    }

    fn read(
        &self,
        path: &'static str,
        most: u64,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> Result<Vec<u8>, Failure> {
        let mut answer = answer.map_err(|error| self.failure(path, most, error))?;
        let status = answer.status().as_u16();
        let header = |name: &str| {
            let value = answer.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let after = header("retry-after").and_then(|seconds| seconds.trim().parse().ok());
        if (300..400).contains(&status) {
            let to = plain(&header("location").unwrap_or_default());
            return Err(Failure::Final(ServerError::Redirected { path, to }));
        }
        let is_right = status == 200;
        let limit = if is_right { most } else { MOST_REFUSAL };
        let read = answer.body_mut().with_config().limit(limit).read_to_vec();
        if is_right {
            return read.map_err(|error| self.failure(path, most, error));
        }
        // A refusal may be cut short: its status says enough.
        let said = self.said(&read.unwrap_or_default());
        let passing = |reach| {
            Failure::Passing(Passing {
                why: format!("status {status}: {said}"),
                reach,
                after: after.map(Duration::from_secs),
                spent: Duration::ZERO,
            })
        };
        Err(match status {
            408 | 425 | 429 | 502..=504 => passing(Reach::Away),
            500..=599 => passing(Reach::Broken),
            _ => Failure::Final(ServerError::Refused {
                path,
                status,
                said: said.clone(),
                asked: None,
            }),
        })
    }

    fn failure(&self, path: &'static str, most: u64, error: ureq::Error) -> Failure {
        let passing = |reach, spent, why: String| {
            Failure::Passing(Passing {
                why,
                reach,
                after: None,
                spent,
            })
        };
        let connection = |why: String| {
            Failure::Final(ServerError::Connection {
                server: self.address.as_str().to_owned(),
                why,
            })
        };
        match error {
            ureq::Error::BodyExceedsLimit(_) => Failure::Final(ServerError::TooLarge { path, most }),
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                let limit = self.limit.min(CONNECTING);
                passing(
                    Reach::Away,
                    limit,
                    format!("no connection within {} s", limit.as_secs_f64()),
                )
            }
            ureq::Error::Timeout(_) => {
                let limit = self.limit;
                passing(
                    Reach::Broken,
                    limit,
                    format!("no answer within {} s", limit.as_secs_f64()),
                )
            }
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
                passing(Reach::Away, Duration::ZERO, error.to_string())
            }
            ureq::Error::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::NetworkDown
                | io::ErrorKind::AddrNotAvailable => passing(Reach::Away, Duration::ZERO, error.to_string()),
                io::ErrorKind::InvalidData => connection(error.to_string()),
                _ => passing(Reach::Broken, Duration::ZERO, error.to_string()),
            },
            ureq::Error::Protocol(error) => passing(Reach::Broken, Duration::ZERO, error.to_string()),
            error => connection(error.to_string()),
        }
    }

    /// The beginning of what a server said, as one line of plain text without the key.
    fn said(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body);
        let message = serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|value| {
            let error = value.get("error").unwrap_or(&value);
            let fields = ["message", "detail", "object"]
                .iter()
                .find_map(|field| error.get(field));
            let message = fields.unwrap_or(error);
            Some(message.as_str()?.to_owned())
        });
        let mut said = message.unwrap_or_else(|| text.into_owned());
        if let Some((_, key)) = &self.key {
            said = said.replace(key, "…");
        }
        plain(&said)
    }
}

/// One line of at most 300 characters, without control characters.
fn plain(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(300)
        .collect();
    let line = line.trim();
    if line.is_empty() {
        "nothing".to_owned()
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_server_that_says_nothing_is_left_after_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let client = Client::new(
            address,
            None,
            &ServerAuthorities::default(),
            1,
            Duration::from_millis(30),
        )
        .unwrap();
        let Err(Failure::Passing(passing)) = client.get("/version", 100) else {
            panic!("it has to fail, and may pass")
        };
        assert_eq!(passing.why, "no answer within 0.03 s");
        assert_eq!(
            (passing.reach, passing.spent),
            (Reach::Broken, Duration::from_millis(30))
        );
    }

    #[test]
    fn authorities_are_read_for_an_encrypted_connection_alone() {
        let authorities = ServerAuthorities {
            file: None,
            folders: vec!["/nowhere/at/all".into()],
        };
        let client = |address: &str| {
            let address = Address::parse(address).unwrap();
            Client::new(address, None, &authorities, 1, Duration::from_secs(1)).map(drop)
        };
        client("http://host").unwrap();
        let refused = client("https://host").unwrap_err().to_string();
        assert!(
            refused.contains("`/nowhere/at/all` (`SSL_CERT_DIR`): No such file"),
            "{refused}"
        );
    }
}
