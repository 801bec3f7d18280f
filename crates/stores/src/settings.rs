//! Whether the values of the variables of stores can be what they should be. A wrong one is refused before anything is asked of a
//! server. No message repeats a value.

use ureq::http::Uri;

use crate::{Environment, StoreError, VARIABLES};

/// What is wrong with the URL of a server; `None` if it can be one.
pub(crate) fn problem_of_server(url: &str) -> Option<&'static str> {
    let Ok(uri) = url.parse::<Uri>() else {
        return Some("it is not the URL of a server");
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Some("it does not begin with `http://` or `https://`");
    }
    let server = uri.authority().map_or("", |authority| authority.as_str());
    let server = server.rsplit_once('@').map_or(server, |(_, server)| server);
    match uri.host().and_then(|host| server.strip_prefix(host)) {
        _ if uri.query().is_some() => Some("it has a query"),
        Some(_) if uri.host() == Some("") => Some("it names no host"),
        Some("") => None,
        Some(_) if uri.port_u16().is_some_and(|port| port > 0) => None,
        _ => Some("its port is not a number from 1 to 65535"),
    }
}

/// Refuses a variable that does not name a server.
///
/// # Errors
///
/// [`StoreError::BadVariable`].
pub(crate) fn require_server(variable: &'static str, url: &str) -> Result<(), StoreError> {
    match problem_of_server(url) {
        None => Ok(()),
        Some(problem) => Err(StoreError::BadVariable {
            variable,
            problem,
            fix: "write `https://HOST`, or `http://HOST:PORT` for a server of your own, or unset the variable",
        }),
    }
}

/// Refuses the name of a storage account that no host can have.
///
/// # Errors
///
/// [`StoreError::BadVariable`].
pub(crate) fn require_account(variable: &'static str, account: &str) -> Result<(), StoreError> {
    if account
        .bytes()
        .all(|letter| letter.is_ascii_alphanumeric() || letter == b'-')
    {
        return Ok(());
    }
    Err(StoreError::BadVariable {
        variable,
        problem: "it is not the name of a storage account, which has letters and digits",
        fix: "set it to the name alone; `AZURE_STORAGE_ENDPOINT` takes a URL",
    })
}

/// Refuses the key of a storage account that is not base64.
///
/// # Errors
///
/// [`StoreError::BadVariable`].
pub(crate) fn require_base64(variable: &'static str, key: &str) -> Result<(), StoreError> {
    let digits = key.trim_end_matches('=');
    let is_digit = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'+' | b'/');
    if !digits.is_empty()
        && key.len().is_multiple_of(4)
        && key.len() - digits.len() <= 2
        && digits.bytes().all(is_digit)
    {
        return Ok(());
    }
    Err(StoreError::BadVariable {
        variable,
        problem: "it is not base64, as keys of storage accounts are",
        fix: "copy the whole key of the account, with the `=` at its end",
    })
}

/// Refuses a connection string of a storage account in which something cannot be used.
pub(crate) fn bad_connection_string(problem: &'static str) -> StoreError {
    StoreError::BadVariable {
        variable: "AZURE_STORAGE_CONNECTION_STRING",
        problem,
        fix: "copy the account's connection string, such as \
              `DefaultEndpointsProtocol=https;AccountName=…;AccountKey=…;EndpointSuffix=core.windows.net`, or unset the variable",
    }
}

impl Environment {
    /// The first of these variables that has a value, with its value.
    pub(crate) fn named(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        names.iter().find_map(|&name| Some((name, self.get(name)?)))
    }

    /// Refuses a line break or another control character in a variable of a store: no header takes it.
    ///
    /// # Errors
    ///
    /// [`StoreError::BadVariable`].
    pub(crate) fn require_printable(&self, prefixes: &[&str]) -> Result<(), StoreError> {
        let is_bad = |name: &&'static str| {
            prefixes.iter().any(|prefix| name.starts_with(prefix))
                && self.get(name).is_some_and(|value| value.chars().any(char::is_control))
        };
        match VARIABLES.into_iter().find(is_bad) {
            None => Ok(()),
            Some(variable) => Err(StoreError::BadVariable {
                variable,
                problem: "it has a line break or another control character",
                fix: "set it again without that character",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_a_scheme_a_host_and_a_port_that_exists() {
        for url in [
            "http://host",
            "https://host:9000/",
            "http://127.0.0.1:10000/account",
            "http://[::1]:9000",
            "http://[::1]",
        ] {
            assert_eq!(problem_of_server(url), None, "{url}");
        }
        for (url, problem) in [
            ("127.0.0.1:5777", "http://"),
            ("nonsense", "http://"),
            ("", "not the URL"),
            ("ftp://host", "http://"),
            ("http://h:99999", "port"),
            ("http://h:0", "port"),
            ("http://h:/", "port"),
            ("http://[::1", "not the URL"),
            ("http://a b", "not the URL"),
            ("http://host/?x=1", "query"),
        ] {
            let found = problem_of_server(url).unwrap_or_default();
            assert!(found.contains(problem), "{url}: {found}");
        }
    }

    #[test]
    fn a_key_is_base64() {
        for (key, is_right) in [
            ("aGlkZGVu", true),
            ("aGlkZGVuCg==", true),
            ("aGlkZGVuCg", false),
            ("aGlk-GVu", false),
            ("====", false),
            ("", false),
        ] {
            assert_eq!(require_base64("AZURE_STORAGE_KEY", key).is_ok(), is_right, "{key}");
        }
    }
}
