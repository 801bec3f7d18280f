//! Proxies, as the environment names them.

use ureq::{Proxy, http::Uri};

use crate::{Environment, StoreError};

/// The variables that name the proxy for a scheme, in the order in which they are looked up.
const OF_HTTP: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
const OF_HTTPS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// The services of clouds that hand out credentials. They are reached from the machine alone.
const OF_THIS_MACHINE: [&str; 3] = ["169.254.169.254", "169.254.170.2", "metadata.google.internal"];

/// The proxy for each scheme of a server's URL.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    pub(crate) http: Option<Proxy>,
    pub(crate) https: Option<Proxy>,
}

impl Proxies {
    /// The proxies that an environment names.
    ///
    /// # Errors
    ///
    /// [`StoreError::BadVariable`] if a variable does not name a proxy that can be used.
    pub(crate) fn of(environment: &Environment) -> Result<Self, StoreError> {
        Ok(Self {
            http: named(environment, OF_HTTP)?,
            https: named(environment, OF_HTTPS)?,
        })
    }

    /// The proxy through which a URL is reached; `None` if its server is reached without one.
    pub(crate) fn for_url(&self, url: &Uri) -> Option<&Proxy> {
        let proxy = if url.scheme_str() == Some("http") {
            &self.http
        } else {
            &self.https
        };
        proxy.as_ref().filter(|proxy| !proxy.is_no_proxy(url))
    }
}

fn named(environment: &Environment, variables: [&'static str; 4]) -> Result<Option<Proxy>, StoreError> {
    let Some((variable, url)) = variables
        .into_iter()
        .find_map(|variable| Some((variable, environment.get(variable)?)))
    else {
        return Ok(None);
    };
    let bad = |problem| StoreError::BadVariable {
        variable,
        problem,
        fix: "write `http://HOST:PORT`, or unset the variable; `NO_PROXY` lists hosts that need no proxy",
    };
    let not_a_url = |_| bad("it is not the URL of a proxy");
    let proxy = Proxy::new(url).map_err(not_a_url)?;
    let protocol = proxy.protocol().to_string();
    if !protocol.starts_with("HTTP") {
        return Err(bad("it names a SOCKS proxy, and only HTTP proxies can be used"));
    }
    let mut builder = Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
    if let Some(name) = proxy.username() {
        builder = builder.username(name);
    }
    if let Some(password) = proxy.password() {
        builder = builder.password(password);
    }
    let without = environment.first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
    let without = without.split([',', ' ']).filter(|entry| !entry.is_empty());
    for entry in without.chain(OF_THIS_MACHINE) {
        builder = builder.no_proxy(entry);
        // The name of a domain stands for the hosts in it as well.
        if !entry.starts_with(['.', '*']) {
            builder = builder.no_proxy(&format!(".{entry}"));
        }
    }
    builder.build().map(Some).map_err(not_a_url)
}

#[cfg(test)]
mod tests {
    use leadspan_diagnosis::Diagnosis as _;

    use super::*;

    fn of<const N: usize>(values: [(&'static str, &str); N]) -> Result<Proxies, StoreError> {
        Proxies::of(&Environment::alone(
            values.map(|(name, value)| (name, value.to_owned())),
        ))
    }

    #[test]
    fn each_scheme_has_its_proxy_and_some_hosts_have_none() {
        let proxies = of([
            ("HTTPS_PROXY", "http://me:hidden@one:3128"),
            ("ALL_PROXY", "two:8080"),
            ("NO_PROXY", "127.0.0.1, example.org,.inner"),
        ])
        .unwrap();
        let through = |url: &str| Some(proxies.for_url(&url.parse().unwrap())?.host().to_owned());
        for (url, host) in [
            ("https://bucket.example.com/a", Some("one")),
            ("http://bucket.example.com/a", Some("two")),
            ("http://127.0.0.1:9000/a", None),
            ("https://example.org/a", None),
            ("https://s3.example.org/a", None),
            ("https://not-example.org/a", Some("one")),
            ("https://a.inner/a", None),
            ("https://inner/a", Some("one")),
            ("http://169.254.169.254/latest", None),
        ] {
            assert_eq!(through(url).as_deref(), host, "{url}");
        }
        assert_eq!(proxies.https.as_ref().unwrap().password(), Some("hidden"));
        assert!(of([("NO_PROXY", "*")]).unwrap().http.is_none());
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_by_its_variable_without_its_password() {
        for (variable, value) in [
            ("HTTPS_PROXY", "http://me:hidden@"),
            ("all_proxy", "socks5://me:hidden@host:1080"),
            ("http_proxy", "ftp://me:hidden@host"),
        ] {
            let error = of([(variable, value)]).unwrap_err();
            let text = format!("{error} {error:?} {}", error.hint().unwrap());
            assert!(text.contains(variable) && !text.contains("hidden"), "{text}");
            assert!(!error.is_unexpected());
        }
    }
}
