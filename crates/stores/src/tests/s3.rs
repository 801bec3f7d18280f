//! Caches in a store that speaks S3, through opendal.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use leadspan_diagnosis::Diagnosis as _;

use super::{
    made::{self, LAYER, files, pull, push},
    server::{Fault, Server},
};
use crate::{Address, Environment, Opened, StoreError, open::open_with, read_ranges, store::PIECE};

fn environment(server: &Server) -> Environment {
    Environment::alone([
        ("AWS_ENDPOINT_URL_S3", server.url.clone()),
        ("AWS_ACCESS_KEY_ID", "AKIAHIDDEN".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "hidden".to_owned()),
    ])
}

fn opened_at(url: &str, environment: &Environment, retries: &Arc<AtomicU32>) -> Result<Opened, StoreError> {
    let address: Address = url.parse().unwrap();
    let retries = Arc::clone(retries);
    let count = move |_| {
        retries.fetch_add(1, Ordering::Relaxed);
    };
    let pauses = [Duration::from_micros(10), Duration::from_micros(20)];
    open_with(&address, environment, 4, pauses, &(Arc::new(count) as _))
}

fn opened(server: &Server) -> Opened {
    opened_at("s3://bucket/a/cache", &environment(server), &Arc::default()).unwrap()
}

/// A cache whose last shard takes several parts.
fn large(dir: &std::path::Path) {
    made::cache(dir);
    made::unit(dir, 3, PIECE as usize + 4321);
    made::completed(dir);
}

#[test]
fn a_cache_goes_through_s3_and_comes_back_the_same() {
    let place = tempfile::tempdir().unwrap();
    let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
    large(&dir);
    let server = Server::start(|_, _| Fault::None);
    server.state.lock().unwrap().page = 3;
    let pushed = push(&opened(&server), &dir).unwrap();
    assert!(pushed.complete && pushed.files_there == 0);
    let expected = files(&dir)
        .into_iter()
        .map(|(name, bytes)| (format!("a/cache/{name}"), bytes));
    assert!(server.objects() == expected.collect());
    assert!(pull(&opened(&server), &back).unwrap().complete && files(&back) == files(&dir));
    let (pushed, pulled) = (
        push(&opened(&server), &dir).unwrap(),
        pull(&opened(&server), &back).unwrap(),
    );
    assert_eq!((pushed.files_copied, pulled.files_copied), (0, 0));
    let name = format!("{LAYER}/train-000003.parquet");
    let bytes = fs::read(dir.join(&name)).unwrap();
    server.state.lock().unwrap().requests.clear();
    let read = read_ranges(&opened(&server), &name, &[7..1000, PIECE - 5..PIECE + 5]).unwrap();
    assert_eq!(
        read,
        [
            bytes[7..1000].to_vec(),
            bytes[PIECE as usize - 5..PIECE as usize + 5].to_vec()
        ]
    );
    assert_eq!(server.state.lock().unwrap().requests.len(), 2);
    assert!(!server.state.lock().unwrap().authorizations.is_empty());
}

#[test]
fn cut_connections_and_faults_of_the_server_are_tried_again() {
    let place = tempfile::tempdir().unwrap();
    let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
    large(&dir);
    let mut number = 0;
    let server = Server::start(move |_, _| {
        number += 1;
        match number % 7 {
            1 => Fault::Status(503, "SlowDown"),
            3 => Fault::Cut,
            5 => Fault::Status(429, "TooManyRequests"),
            _ => Fault::None,
        }
    });
    let retries = Arc::new(AtomicU32::new(0));
    let store = opened_at("s3://bucket/cache", &environment(&server), &retries).unwrap();
    push(&store, &dir).unwrap();
    assert_eq!(server.objects().len(), files(&dir).len());
    pull(&store, &back).unwrap();
    assert!(files(&back) == files(&dir));
    assert!(retries.load(Ordering::Relaxed) > 10);
}

#[test]
fn a_stop_ends_a_pause_before_another_try() {
    let place = tempfile::tempdir().unwrap();
    let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
    made::cache(&dir);
    let server = Server::start(|_, _| Fault::Status(503, "SlowDown"));
    let is_stopped = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&is_stopped);
    // The stop comes in a pause that nobody waits for to the end.
    let pausing: crate::Retrying = Arc::new(move |_| noted.store(true, Ordering::Relaxed));
    let address: Address = "s3://bucket/cache".parse().unwrap();
    let pauses = [Duration::from_hours(10); 2];
    let go = AtomicBool::new(false);
    let asked = || {
        let is_stopped = Arc::clone(&is_stopped);
        is_stopped.store(false, Ordering::Relaxed);
        let opened = open_with(&address, &environment(&server), 2, pauses, &pausing).unwrap();
        opened.stopped_by(Arc::new(move || is_stopped.load(Ordering::Relaxed)))
    };
    let outcome = crate::push(&asked(), &dir, &go, &mut |_| {}).unwrap();
    assert!(matches!(outcome, crate::Outcome::Stopped));
    let outcome = crate::pull(&asked(), &back, &go, &mut |_| {}).unwrap();
    assert!(matches!(outcome, crate::Outcome::Stopped));
}

#[test]
fn answers_that_break_off_are_read_again() {
    let place = tempfile::tempdir().unwrap();
    let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
    large(&dir);
    let mut number = 0;
    let server = Server::start(move |method, _| {
        number += usize::from(method == "GET");
        if method == "GET" && number % 3 == 1 {
            Fault::CutAnswer
        } else {
            Fault::None
        }
    });
    push(&opened(&server), &dir).unwrap();
    pull(&opened(&server), &back).unwrap();
    assert!(files(&back) == files(&dir));
}

#[test]
fn a_server_that_stays_away_is_a_failure_of_the_store() {
    let place = tempfile::tempdir().unwrap();
    made::cache(place.path());
    for (fault, code) in [(Fault::Status(503, "SlowDown"), "SlowDown"), (Fault::Cut, "")] {
        let server = Server::start(move |_, _| fault);
        let error = push(&opened(&server), place.path()).unwrap_err();
        assert!(
            matches!(&error, StoreError::Failed { problem, .. } if problem.contains(code)),
            "{error}"
        );
        assert!(
            error.is_unexpected() && error.hint().unwrap().contains("same command"),
            "{error}"
        );
    }
}

#[test]
fn refusals_have_their_code_and_never_a_secret() {
    let place = tempfile::tempdir().unwrap();
    made::cache(place.path());
    for (status, code) in [
        (403, "SignatureDoesNotMatch"),
        (403, "AccessDenied"),
        (403, "InvalidAccessKeyId"),
        (400, "ExpiredToken"),
        (301, "PermanentRedirect"),
        (307, "TemporaryRedirect"),
        (403, "RequestTimeTooSkewed"),
    ] {
        let server = Server::start(move |_, _| Fault::Status(status, code));
        for error in [
            push(&opened(&server), place.path()).unwrap_err(),
            pull(&opened(&server), &place.path().join("back")).unwrap_err(),
        ] {
            let text = format!("{error} {error:?} {}", error.hint().unwrap());
            assert!(
                text.contains(code) && !text.to_ascii_lowercase().contains("hidden"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_cache_is_apart_from_one_whose_name_begins_with_its_own() {
    let place = tempfile::tempdir().unwrap();
    let [dir, other, back] = ["cache", "other", "back"].map(|name| place.path().join(name));
    made::cache(&dir);
    made::prepared(&other, "another", 1);
    let server = Server::start(|_, _| Fault::None);
    let at = |url: &str| opened_at(url, &environment(&server), &Arc::default()).unwrap();
    push(&at("s3://bucket/ab"), &other).unwrap();
    push(&at("s3://bucket/a"), &dir).unwrap();
    pull(&at("s3://bucket/a"), &back).unwrap();
    assert!(files(&back) == files(&dir));
    assert_eq!(server.objects().len(), files(&dir).len() + files(&other).len());
}

#[test]
fn a_clock_that_is_off_is_told_from_wrong_credentials() {
    let place = tempfile::tempdir().unwrap();
    made::cache(place.path());
    let server = Server::start(|_, _| Fault::Status(403, "RequestTimeTooSkewed"));
    let error = push(&opened(&server), place.path()).unwrap_err();
    assert!(
        !error.is_unexpected() && error.hint().unwrap().contains("clock"),
        "{error}"
    );
}

#[test]
fn an_emulator_of_googles_gets_no_credentials() {
    let place = tempfile::tempdir().unwrap();
    made::cache(place.path());
    let server = Server::start(|_, _| Fault::Status(401, "hidden"));
    let host = server.url.strip_prefix("http://").unwrap().to_owned();
    for host in [host, format!("{}/", server.url)] {
        let environment = Environment::alone([
            ("STORAGE_EMULATOR_HOST", host),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/hidden".to_owned()),
        ]);
        let emulator = opened_at("gs://bucket/cache", &environment, &Arc::default()).unwrap();
        let error = push(&emulator, place.path()).unwrap_err();
        assert!(
            matches!(&error, StoreError::Refused { code, .. } if code == "HTTP status 401"),
            "{error:?}"
        );
    }
    assert!(server.state.lock().unwrap().authorizations.is_empty());
}

#[test]
fn a_missing_bucket_and_missing_credentials_are_named() {
    let place = tempfile::tempdir().unwrap();
    made::cache(place.path());
    let server = Server::start(|_, _| Fault::None);
    let missing = opened_at("s3://buckets/cache", &environment(&server), &Arc::default()).unwrap();
    let error = push(&missing, place.path()).unwrap_err();
    assert!(
        matches!(&error, StoreError::NoBucket { url } if url == "s3://buckets/cache"),
        "{error}"
    );
    let bare = Environment::alone([("AWS_ENDPOINT_URL", server.url.clone())]);
    let anonymous = opened_at("s3://bucket/cache", &bare, &Arc::default()).unwrap();
    for error in [
        push(&anonymous, place.path()).unwrap_err(),
        pull(&anonymous, &place.path().join("back")).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::NoCredentials { .. }), "{error:?}");
        assert!(!error.is_unexpected() && error.hint().unwrap().contains("AWS_ACCESS_KEY_ID"));
    }
    let nowhere = opened_at("s3://bucket/cache", &Environment::default(), &Arc::default());
    assert!(matches!(nowhere, Err(StoreError::Unset { .. })));
}

#[test]
fn two_pushers_at_one_server_end_with_one_whole_cache() {
    let place = tempfile::tempdir().unwrap();
    large(place.path());
    let server = Server::start(|_, _| Fault::None);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| push(&opened(&server), place.path()).unwrap());
        }
    });
    let expected = files(place.path())
        .into_iter()
        .map(|(name, bytes)| (format!("a/cache/{name}"), bytes));
    assert!(server.objects() == expected.collect());
}

#[test]
fn a_server_without_conditions_is_written_to_all_the_same() {
    let place = tempfile::tempdir().unwrap();
    made::cache(place.path());
    let mut number = 0;
    let server = Server::start(move |method, _| {
        number += usize::from(method == "PUT");
        if method == "PUT" && number == 1 {
            Fault::Status(501, "NotImplemented")
        } else {
            Fault::None
        }
    });
    push(&opened(&server), place.path()).unwrap();
    assert_eq!(server.objects().len(), files(place.path()).len());
}

#[test]
fn a_key_that_may_only_read_is_refused_at_the_first_file() {
    let place = tempfile::tempdir().unwrap();
    let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
    large(&dir);
    let server = Server::start(|method, _| match method {
        "GET" | "HEAD" => Fault::None,
        _ => Fault::Status(403, "AccessDenied"),
    });
    let error = push(&opened(&server), &dir).unwrap_err();
    assert!(
        matches!(&error, StoreError::Refused { code, .. } if code == "AccessDenied"),
        "{error}"
    );
    assert!(
        !error.is_unexpected() && error.hint().unwrap().contains("may do this"),
        "{error}"
    );
    let shown = files(&dir)
        .into_iter()
        .map(|(name, bytes)| (format!("a/cache/{name}"), bytes));
    server.state.lock().unwrap().objects = shown.collect();
    assert!(pull(&opened(&server), &back).unwrap().complete && files(&back) == files(&dir));
}

#[test]
fn prefixes_may_have_spaces_and_signs_and_letters_of_any_alphabet() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("cache");
    made::cache(&dir);
    for (number, prefix) in ["caches of \u{fc}ber/50%/a%20b+c", "\u{732b}&'(1)=@;,!*"]
        .into_iter()
        .enumerate()
    {
        let (server, back) = (Server::start(|_, _| Fault::None), place.path().join(number.to_string()));
        let store = opened_at(&format!("s3://bucket/{prefix}"), &environment(&server), &Arc::default()).unwrap();
        push(&store, &dir).unwrap();
        let expected = files(&dir)
            .into_iter()
            .map(|(name, bytes)| (format!("{prefix}/{name}"), bytes));
        assert!(server.objects() == expected.collect(), "{prefix}");
        assert_eq!(push(&store, &dir).unwrap().files_copied, 0, "{prefix}");
        pull(&store, &back).unwrap();
        assert!(files(&back) == files(&dir), "{prefix}");
    }
}

#[test]
fn an_endpoint_may_have_a_path_and_a_slash_at_its_end() {
    let place = tempfile::tempdir().unwrap();
    let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
    made::cache(&dir);
    let server = Server::start(|_, _| Fault::None);
    for path in ["/", "/deep/path", "/deep/path/"] {
        let values = [
            ("AWS_ENDPOINT_URL_S3", format!("{}{path}", server.url)),
            ("AWS_ACCESS_KEY_ID", "AKIAHIDDEN".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "hidden".to_owned()),
        ];
        let store = opened_at("s3://bucket/a", &Environment::alone(values), &Arc::default()).unwrap();
        server.state.lock().unwrap().requests.clear();
        push(&store, &dir).unwrap();
        pull(&store, &back).unwrap();
        assert!(files(&back) == files(&dir), "{path}");
        let requests = &server.state.lock().unwrap().requests;
        let prefix = format!("{}/bucket", path.trim_end_matches('/'));
        let is_there = |request: &String| request.split_once(' ').unwrap().1.starts_with(&prefix);
        assert!(!requests.is_empty() && requests.iter().all(is_there), "{requests:?}");
    }
}

#[test]
fn a_server_that_takes_no_parts_is_told_from_one_that_lost_a_file() {
    let place = tempfile::tempdir().unwrap();
    large(place.path());
    let server = Server::start(|method, _| match method {
        "POST" => Fault::Status(404, "NoSuchUpload"),
        _ => Fault::None,
    });
    let error = push(&opened(&server), place.path()).unwrap_err();
    assert!(
        matches!(&error, StoreError::NoParts { place } if place.ends_with("train-000003.parquet")),
        "{error}"
    );
    assert!(!error.is_unexpected() && error.hint().is_some());
}
