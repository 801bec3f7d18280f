//! Caches on a web server, and in data sets of the Hub, which are only read.

use std::{sync::Arc, time::Duration};

use leadspan_diagnosis::Diagnosis as _;

use super::{
    made::{self, files, pull, push},
    server::{Fault, Server},
};
use crate::{Address, Environment, Opened, StoreError, open::open_with};

fn opened(url: &str, environment: &Environment) -> Opened {
    let address: Address = url.parse().unwrap();
    open_with(&address, environment, 3, [Duration::ZERO; 2], &(Arc::new(|_| {}) as _)).unwrap()
}

/// A server that shows a cache in a folder of its bucket.
fn showing(dir: &std::path::Path, folder: &str) -> Server {
    let server = Server::start(|_, _| Fault::None);
    let shown = files(dir)
        .into_iter()
        .map(|(name, bytes)| (format!("{folder}/{name}"), bytes));
    server.state.lock().unwrap().objects = shown.collect();
    server
}

#[test]
fn a_complete_cache_is_pulled_from_a_web_server_and_nothing_is_pushed_there() {
    let place = tempfile::tempdir().unwrap();
    let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
    made::cache(&dir);
    let server = showing(&dir, "some/cache");
    let url = format!("{}/bucket/some/cache/", server.url);
    let store = opened(&url, &Environment::default());
    assert!(pull(&store, &back).unwrap().complete && files(&back) == files(&dir));
    assert_eq!(pull(&store, &back).unwrap().files_copied, 0);
    let error = push(&store, &dir).unwrap_err();
    assert!(
        matches!(&error, StoreError::ReadOnly { .. }) && error.hint().is_some(),
        "{error}"
    );
    server.state.lock().unwrap().objects.remove("some/cache/inventory.json");
    let error = pull(&store, &back).unwrap_err();
    assert!(
        error.to_string().contains("inventory.json") && error.to_string().contains("complete"),
        "{error}"
    );
    let nothing = opened(&format!("{}/bucket/other", server.url), &Environment::default());
    assert!(matches!(pull(&nothing, &back), Err(StoreError::NoCache { .. })));
}

#[test]
fn a_data_set_of_the_hub_is_read_with_the_token() {
    let place = tempfile::tempdir().unwrap();
    let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
    made::cache(&dir);
    let server = showing(&dir, "datasets/me/caches/resolve/main/half");
    let environment = Environment::alone([
        ("HF_ENDPOINT", format!("{}/bucket", server.url)),
        ("HF_TOKEN", "hidden".to_owned()),
    ]);
    let store = opened("hf://datasets/me/caches/half", &environment);
    assert!(pull(&store, &back).unwrap().complete && files(&back) == files(&dir));
    assert_eq!(server.state.lock().unwrap().authorizations[0], "Bearer hidden");
    let error = push(&store, &dir).unwrap_err();
    assert!(error.hint().unwrap().contains("hf upload"), "{error}");
    let refusing = Server::start(|_, _| Fault::Status(401, "hidden"));
    let environment = Environment::alone([("HF_ENDPOINT", refusing.url.clone()), ("HF_TOKEN", "hidden".to_owned())]);
    let error = pull(&opened("hf://datasets/me/caches/half", &environment), &back).unwrap_err();
    let text = format!("{error} {error:?} {}", error.hint().unwrap());
    assert!(!text.contains("hidden") && text.contains("HF_TOKEN"), "{text}");
}

#[test]
fn the_path_of_a_web_server_is_written_as_in_a_browser() {
    let place = tempfile::tempdir().unwrap();
    let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
    made::cache(&dir);
    let server = showing(&dir, "some caches/50%/\u{fc}");
    for path in ["some%20caches/50%25/%C3%BC", "some%20caches/50%25/\u{fc}"] {
        let store = opened(&format!("{}/bucket/{path}", server.url), &Environment::default());
        assert!(
            pull(&store, &back).unwrap().complete && files(&back) == files(&dir),
            "{path}"
        );
    }
}
