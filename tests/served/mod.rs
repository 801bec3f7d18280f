//! A teacher that a server runs, with the real program: both sides are killed, and the same commands end with the same bytes.

#[expect(dead_code, reason = "the tests of stage one use the rest")]
mod stand_in;

use std::fs;

use self::stand_in::{Form, Manner, StandIn};
use crate::program::{Workplace, fixtures, wait_until};

#[test]
fn a_capture_from_a_server_survives_kills_of_both_sides() {
    let place = Workplace::new();
    let mut server = StandIn::start(&fixtures().join("tiny-teacher"), Manner::of(Form::Vllm));
    // The tokenizer and the configuration are enough.
    fs::remove_file(place.path("teacher/model.safetensors")).unwrap();
    let keys = format!(
        "model = \"teacher\"\nserver = \"{}\"\nengine = \"vllm\"\nrequests = 2\nrevision = \"v1-served\"\n",
        server.url()
    );
    place.replace("pipeline.toml", "model = \"teacher\"\n", &keys);
    place.succeed(&["precompute", "-c", "pipeline.toml", "--set", "cache.dir=whole"]);
    let expected = place.visible("whole");
    assert!(expected.len() > 8);
    // What is stated of a model in a folder belongs to the identity.
    let identity = fs::read_to_string(place.path("whole/identity.json")).unwrap();
    assert!(identity.contains("v1-served"), "{identity}");

    let precompute = ["precompute", "-c", "pipeline.toml"];
    assert!(
        place.start_held(&precompute, "writes", 92).kill(),
        "it ended before it was to be killed"
    );
    let left = place.visible("cache");
    assert!(
        left.len() < expected.len()
            && left
                .keys()
                .any(|path| path.extension().is_some_and(|end| end == "parquet"))
    );
    for (path, bytes) in &left {
        assert_eq!(Some(bytes), expected.get(path), "`{}`", path.display());
    }
    let address = server.address();
    server.kill();
    place.succeed(&["plan", "-c", "pipeline.toml", "--no-calibration"]);
    // It waits for the server, which comes back.
    let mut log = place.command(&precompute);
    let log_file = fs::File::create(place.path("log")).unwrap();
    let mut child = log
        .stdout(std::process::Stdio::null())
        .stderr(log_file)
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(place.path("log")).unwrap();
    wait_until("it waits for the server", || {
        said().contains("the server does not answer")
    });
    let server = StandIn::start_at(address, &fixtures().join("tiny-teacher"), Manner::of(Form::Vllm));
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", said());
    assert!(place.visible("cache") == expected, "the cache ended differently");
    place.succeed(&["cache", "verify", "cache"]);
    place.succeed(&["cache", "audit", "-c", "pipeline.toml"]);

    // Another model at the same address is refused.
    server.change(|manner| manner.models = vec!["another"]);
    let output = place.run(&precompute);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("teacher.server.model"), "{said}");
}
