//! Servers that cannot be reached, and proxies in front of them.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use leadspan_diagnosis::Diagnosis as _;

use super::{
    made::{self, files, pull, push},
    server::{Fault, Server},
};
use crate::{Address, Environment, Opened, StoreError, open::open_with};

fn opened(url: &str, values: &[(&'static str, &str)]) -> Result<Opened, StoreError> {
    let address: Address = url.parse().unwrap();
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIAHIDDEN"),
        ("AWS_SECRET_ACCESS_KEY", "hidden"),
        ("AZURE_STORAGE_ACCOUNT", "account"),
        ("AZURE_STORAGE_KEY", "aGlkZGVu"),
    ];
    let values = keys.iter().chain(values).map(|&(name, value)| (name, value.to_owned()));
    let pauses = [Duration::ZERO; 2];
    open_with(
        &address,
        &Environment::alone(values),
        2,
        pauses,
        &(Arc::new(|_| {}) as _),
    )
}

/// A port of this machine that refuses connections.
fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn pulled_from(url: &str, values: &[(&'static str, &str)]) -> StoreError {
    let place = tempfile::tempdir().unwrap();
    let error = pull(&opened(url, values).unwrap(), place.path()).unwrap_err();
    let text = format!("{error} {error:?} {}", error.hint().unwrap());
    assert!(!text.to_ascii_lowercase().contains("hidden"), "{text}");
    error
}

#[test]
fn a_server_that_is_not_there_is_named_with_the_variable_that_names_it() {
    let port = closed_port();
    let (url, nowhere) = (format!("http://{port}"), "http://no-such-host.invalid");
    let hub = "hf://datasets/me/caches";
    for (from, variable) in [
        ("s3://bucket/a", "AWS_ENDPOINT_URL_S3"),
        ("gs://bucket/a", "STORAGE_EMULATOR_HOST"),
        ("az://bucket/a", "AZURE_STORAGE_ENDPOINT"),
        (hub, "HF_ENDPOINT"),
    ] {
        let error = pulled_from(from, &[(variable, &url)]);
        assert!(
            matches!(&error, StoreError::NoServer { server, .. } if *server == port),
            "{error:?}"
        );
        assert!(
            error.is_unexpected() && error.hint().unwrap().contains(variable),
            "{error:?}"
        );
        let error = pulled_from(from, &[(variable, nowhere)]);
        assert!(error.to_string().contains("no-such-host.invalid"), "{error:?}");
        assert!(error.hint().unwrap().contains(variable), "{error:?}");
        // Without a name server, the system cannot tell that there is no such name.
        assert!(
            matches!(&error, StoreError::NoHost { .. } | StoreError::NoServer { .. }),
            "{error:?}"
        );
        assert_eq!(error.is_unexpected(), !matches!(error, StoreError::NoHost { .. }));
    }
    let error = pulled_from(&format!("{url}/a"), &[]);
    assert!(matches!(error, StoreError::NoServer { .. }) && error.hint().unwrap().contains("URL"));
}

/// A proxy that leads to `target`, whatever host is asked for, or refuses with a status. Returns its URL and how often it was
/// asked.
fn proxy(target: Result<String, u16>) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://me:hidden@{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (target, count) = (target.clone(), Arc::clone(&count));
            thread::spawn(move || lead(&client, target.as_deref().map_err(|status| *status), &count));
        }
    });
    (url, asked)
}

fn lead(mut client: &TcpStream, target: Result<&str, u16>, count: &AtomicU32) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first)?;
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    assert!(first.starts_with("CONNECT store.invalid:80 "), "{first}");
    count.fetch_add(1, Ordering::Relaxed);
    let target = match target {
        Ok(target) => target,
        Err(status) => return write!(client, "HTTP/1.1 {status} no\r\ncontent-length: 0\r\n\r\n"),
    };
    let server = TcpStream::connect(target)?;
    client.write_all(b"HTTP/1.1 200 yes\r\n\r\n")?;
    thread::scope(|scope| {
        scope.spawn(|| io::copy(&mut &*client, &mut &server));
        io::copy(&mut &server, &mut &*client)
    })?;
    Ok(())
}

#[test]
fn a_store_is_reached_through_the_proxy_unless_its_host_needs_none() {
    let place = tempfile::tempdir().unwrap();
    let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
    made::cache(&dir);
    let server = Server::start(|_, _| Fault::None);
    let (url, asked) = proxy(Ok(server.url.strip_prefix("http://").unwrap().to_owned()));
    let at = ("AWS_ENDPOINT_URL_S3", "http://store.invalid");
    let through = opened("s3://bucket/a", &[at, ("HTTP_PROXY", &url), ("NO_PROXY", "127.0.0.1")]).unwrap();
    push(&through, &dir).unwrap();
    pull(&through, &back).unwrap();
    assert!(files(&back) == files(&dir));
    let before = asked.load(Ordering::Relaxed);
    assert!(before > 0);
    // What is for `https:` is not for this server; nor is a proxy for a host that needs none.
    for other in [
        vec![("HTTPS_PROXY", url.as_str())],
        vec![("ALL_PROXY", &url), ("no_proxy", "other, store.invalid")],
    ] {
        let error = pulled_from("s3://bucket/a", &[&[at], &other[..]].concat());
        assert!(error.to_string().contains("store.invalid"), "{error:?}");
    }
    let here = opened(
        "s3://bucket/a",
        &[
            ("AWS_ENDPOINT_URL_S3", &server.url),
            ("HTTP_PROXY", &url),
            ("NO_PROXY", "127.0.0.1"),
        ],
    );
    push(&here.unwrap(), &dir).unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), before);
}

#[test]
fn a_proxy_that_refuses_or_is_not_there_is_named_without_its_password() {
    let at = ("AWS_ENDPOINT_URL_S3", "http://store.invalid");
    let (refusing, _) = proxy(Err(407));
    let absent = format!("http://me:hidden@{}", closed_port());
    for (proxy, why) in [(&refusing, "407"), (&absent, "refuses")] {
        let error = pulled_from("s3://bucket/a", &[at, ("http_proxy", proxy)]);
        assert!(matches!(error, StoreError::NoProxy { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.hint().unwrap().contains("NO_PROXY"));
    }
    let error = opened("s3://bucket/a", &[at, ("ALL_PROXY", "socks5://me:hidden@host")])
        .err()
        .unwrap();
    assert!(
        matches!(
            error,
            StoreError::BadVariable {
                variable: "ALL_PROXY",
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_variable_that_cannot_be_used_is_refused_by_its_name_before_anything_is_asked() {
    for (from, variable, value, problem) in [
        ("s3://bucket/a", "AWS_ENDPOINT_URL_S3", "127.0.0.1:5777", "http://"),
        ("s3://bucket/a", "AWS_ENDPOINT_URL", "nonsense", "http://"),
        ("s3://bucket/a", "AWS_SESSION_TOKEN", "hidden\n", "line break"),
        ("gs://bucket/a", "STORAGE_EMULATOR_HOST", "host:99999", "port"),
        ("az://bucket/a", "AZURE_STORAGE_ENDPOINT", "http://[::1", "not the URL"),
        ("az://bucket/a", "AZURE_STORAGE_KEY", "not hidden", "base64"),
        (
            "az://bucket/a",
            "AZURE_STORAGE_CONNECTION_STRING",
            "hidden",
            "connection string",
        ),
        (
            "az://bucket/a",
            "AZURE_STORAGE_CONNECTION_STRING",
            "AccountName=a;AccountKey=aGlkZGVu",
            "server",
        ),
        (
            "az://bucket/a",
            "AZURE_STORAGE_CONNECTION_STRING",
            "BlobEndpoint=hidden:1;AccountName=a;AccountKey=aGlkZGVu",
            "http://",
        ),
        (
            "az://bucket/a",
            "AZURE_STORAGE_CONNECTION_STRING",
            "BlobEndpoint=http://host/a;AccountName=a;AccountKey=hidden!",
            "base64",
        ),
        ("hf://datasets/me/caches", "HF_ENDPOINT", "host", "http://"),
        ("hf://datasets/me/caches", "HF_TOKEN", "hid\nden", "line break"),
    ] {
        let error = opened(from, &[(variable, value)]).err().unwrap();
        let text = format!("{error} {}", error.hint().unwrap());
        assert!(
            text.contains(&format!("`{variable}` cannot be used")) && text.contains(problem),
            "{value}: {text}"
        );
        assert!(!text.contains(value) && !error.is_unexpected(), "{text}");
    }
}
