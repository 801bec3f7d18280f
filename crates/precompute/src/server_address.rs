//! The address of a server: what of a URL is accepted. Pure.

/// What addresses match, as a regular expression.
pub(crate) const ADDRESS_PATTERN: &str = "^https?://[^@?#\\s]+$";

/// An address that is not one of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`teacher.server` is `{given}`, but {why}")]
pub struct WrongAddress {
    /// The address, unless it may hold a secret.
    pub given: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The address of a server, without a slash at its end, such as `http://127.0.0.1:8000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address(String);

impl Address {
    /// Accepts `http://` or `https://`, a host, a port and a path. Nothing else belongs to an address, in particular no
    /// password: addresses are shown and stored.
    ///
    /// # Errors
    ///
    /// [`WrongAddress`] says what is wrong. It does not repeat an address that has user information.
    pub(crate) fn parse(text: &str) -> Result<Self, WrongAddress> {
        let wrong = |given: &str, why| {
            Err(WrongAddress {
                given: given.to_owned(),
                why,
            })
        };
        let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
            // What comes before an `@` may be a password.
            let shown = if text.contains('@') { "…" } else { text };
            return wrong(shown, "it does not begin with `http://` or `https://`");
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if text.contains('@') {
            return wrong("…", "it has a user name or a password");
        }
        if text.contains(['?', '#']) {
            return wrong("…", "it has a query or a fragment");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong(text, "it has a character that addresses do not have");
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => authority
                .split_once(':')
                .map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() {
            return wrong(text, "it names no host");
        }
        if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
            return wrong(text, "its port is not a number from 1 to 65535");
        }
        let path = path.trim_end_matches('/');
        if path.ends_with("/v1") {
            return wrong(text, "it ends in `/v1`, which is part of the requests");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one of `https`.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.starts_with("https:")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_accepted_or_refused_with_the_reason() {
        for (given, taken) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("https://models.example/", "https://models.example"),
            ("http://[::1]:8000/teacher/", "http://[::1]:8000/teacher"),
        ] {
            assert_eq!(Address::parse(given).unwrap().as_str(), taken);
        }
        for (given, why) in [
            ("127.0.0.1:8000", "does not begin with `http://`"),
            ("ftp://host", "does not begin with"),
            ("file:///etc/passwd", "does not begin with"),
            ("http://", "names no host"),
            ("http://:8000", "names no host"),
            ("http://host:0", "port"),
            ("http://host:99999", "port"),
            ("http://host:http", "port"),
            ("http://host/v1", "ends in `/v1`"),
            ("http://host/v1/", "ends in `/v1`"),
            ("http://ho st", "character"),
            ("http://host?key=secret", "query"),
            ("http://host/#secret", "fragment"),
            ("http://me:secret@host", "password"),
            ("me:secret@host", "does not begin with"),
        ] {
            let error = Address::parse(given).unwrap_err().to_string();
            assert!(error.contains(why), "{given}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
