//! `cache push`, `cache pull` and `precompute --push` with the real program, into a folder.

use std::fs;

use serde_json::Value;

use crate::{program::Workplace, small_disk::SmallDisk};

/// Runs the program, which must fail with exit code 1, and returns what it says.
fn fail(place: &Workplace, arguments: &[&str]) -> String {
    let output = place.run(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

#[test]
fn a_capture_is_carried_into_a_store_and_continued_from_there_on_an_empty_disk() {
    let place = Workplace::new();
    let url = format!("file://{}", place.path("away").display());
    let capture = ["precompute", "-c", "pipeline.toml", "--push", &url];
    place.succeed(&capture);
    let whole = place.visible("cache");
    assert_eq!(place.visible("away"), whole);
    // A new node, whose store lacks a work unit and what was written after it.
    fs::remove_dir_all(place.path("cache")).unwrap();
    let layer = "away/layers/0-1.0-prompt+chain_of_thought+answer";
    for name in ["train-000001.parquet", "train-000001.json", "manifest.json"] {
        fs::remove_file(place.path(layer).join(name)).unwrap();
    }
    fs::remove_file(place.path("away/inventory.json")).unwrap();
    let captured: Value = serde_json::from_str(&place.succeed(&[&capture[..], &["--json"]].concat())).unwrap();
    assert_eq!(captured["units_written"], 1);
    assert_eq!(place.visible("cache"), whole);
    assert_eq!(place.visible("away"), whole);
    let pulled = ["cache", "pull", &url, "back", "--json"];
    let first: Value = serde_json::from_str(&place.succeed(&pulled)).unwrap();
    assert_eq!((&first["complete"], &first["files_there"]), (&true.into(), &0.into()));
    let second: Value = serde_json::from_str(&place.succeed(&pulled)).unwrap();
    assert_eq!(
        (&second["files_copied"], &second["files_there"]),
        (&0.into(), &first["files_copied"])
    );
    place.succeed(&["cache", "verify", "back"]);
    assert!(
        place
            .succeed(&["cache", "push", "back", &url])
            .contains("pushed 0 files")
    );
}

#[test]
fn a_store_with_the_cache_of_other_settings_is_named_before_anything_is_copied() {
    let place = Workplace::new();
    let url = format!("file://{}", place.path("away").display());
    let capture = ["precompute", "-c", "pipeline.toml", "--push", &url];
    place.succeed(&capture);
    let stored = place.visible("away");
    let other = ["--set", "cache.dir=new", "--set", "cache.top_k=4"];
    for worker in [&[][..], &["--worker", "0/2"]] {
        let text = fail(&place, &[&capture[..], &other, worker].concat());
        let told = format!("the cache in `{url}` was made with top_k `8`, but `4` is asked for");
        assert!(text.contains(&told) && text.contains("hint: give `--push`"), "{text}");
        assert!(!place.path("new").exists() && place.visible("away") == stored);
    }
    place.succeed(&[&capture[..], &other[..2]].concat());
    assert_eq!(place.visible("new"), stored);
}

#[test]
fn a_pull_that_left_out_a_damaged_work_unit_says_failed_in_its_result() {
    let place = Workplace::new();
    let url = format!("file://{}", place.path("cache").display());
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    let shard = place.path("cache/layers/0-1.0-prompt+chain_of_thought+answer/train-000001.parquet");
    fs::write(shard, b"damaged").unwrap();
    let output = place.run(&["cache", "pull", &url, "back", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let pulled: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&pulled["outcome"], &pulled["complete"]),
        (&"failed".into(), &false.into())
    );
    assert!(
        pulled["problems"][0].as_str().unwrap().contains("train-000001"),
        "{pulled}"
    );
}

#[test]
fn a_wrong_url_is_refused_without_its_secret() {
    let place = Workplace::new();
    for url in ["s3://me:hidden@bucket/a", "https://host/a?token=hidden", "nowhere"] {
        let text = fail(&place, &["cache", "pull", url, "back"]);
        assert!(
            text.contains("hint: write `s3://BUCKET/PREFIX`") && !text.contains("hidden"),
            "{text}"
        );
        let text = fail(&place, &["precompute", "-c", "pipeline.toml", "--push", url]);
        assert!(
            text.contains("could not open the store") && !text.contains("hidden"),
            "{text}"
        );
    }
    assert!(!place.path("cache").exists());
    for (arguments, usage) in [
        (["pull", "back", "s3://me:hidden@bucket/a"], "cache pull URL DIR"),
        (["push", "s3://me:hidden@bucket/a", "back"], "cache push DIR URL"),
    ] {
        let text = fail(&place, &[&["cache"][..], &arguments].concat());
        assert!(text.contains(usage) && !text.contains("hidden"), "{text}");
    }
    for (dir, why) in [("/dev/cache", "belongs to the system"), ("pipeline.toml", "is a file")] {
        let text = fail(&place, &["cache", "pull", "file:///tmp/leadspan-none", dir]);
        assert!(text.contains(why), "{text}");
    }
    let text = fail(&place, &["cache", "push", "teacher", "file:///tmp/leadspan-none"]);
    assert!(text.contains("is not a cache"), "{text}");
}

/// The names of the visible files of a folder that end so.
fn ending(place: &Workplace, folder: &str, end: &str) -> Vec<String> {
    let names = place.visible(folder).into_keys();
    let mut names: Vec<String> = names.map(|path| path.display().to_string()).collect();
    names.retain(|name| name.ends_with(end));
    names
}

#[test]
fn workers_with_a_disk_each_fetch_no_shard_and_do_nothing_twice() {
    let place = Workplace::new();
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    let whole = place.visible("cache");
    let shards = ending(&place, "cache", ".parquet").len();
    let url = format!("file://{}", place.path("away").display());
    let mut written = 0;
    // The last one has lost its disk: there is nothing left for it to do.
    for worker in ["0/2", "1/2", "1/2"] {
        fs::remove_dir_all(place.path("cache")).unwrap();
        let capture = [
            "precompute",
            "-c",
            "pipeline.toml",
            "--push",
            &url,
            "--worker",
            worker,
            "--json",
        ];
        let captured: Value = serde_json::from_str(&place.succeed(&capture)).unwrap();
        let own = captured["units_written"].as_u64().unwrap() as usize;
        assert_eq!(ending(&place, "cache", ".parquet").len(), own, "{captured}");
        assert_eq!(captured["units_elsewhere"], written, "{captured}");
        written += own;
        assert_eq!(captured["units_missing"], shards - written, "{captured}");
        assert!(!place.path("away/inventory.json").exists());
    }
    assert!(written == shards && ending(&place, "away", ".parquet").len() == shards);
    fs::remove_dir_all(place.path("cache")).unwrap();
    place.succeed(&["precompute", "-c", "pipeline.toml", "--push", &url, "--finalize"]);
    assert_eq!((place.visible("cache"), place.visible("away")), (whole.clone(), whole));
}

#[test]
fn a_server_that_is_not_there_is_told_within_seconds_with_its_variable() {
    let place = Workplace::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut command = place.command(&["cache", "pull", "s3://bucket/a", "back"]);
    command
        .env("AWS_ENDPOINT_URL_S3", format!("http://{port}"))
        .env("NO_PROXY", "127.0.0.1")
        .envs([("AWS_ACCESS_KEY_ID", "AKIAHIDDEN"), ("AWS_SECRET_ACCESS_KEY", "hidden")]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(&port) && text.contains("AWS_ENDPOINT_URL_S3"), "{text}");
    assert!(!text.to_ascii_lowercase().contains("hidden"), "{text}");
    let output = place
        .command(&["cache", "pull", "s3://bucket/a", "back"])
        .env("AWS_REGION", "us-east-1")
        .env("ALL_PROXY", "ftp://host")
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ALL_PROXY"));
}

#[test]
fn a_full_disk_and_one_that_is_only_read_are_named_and_a_pull_goes_on_once_there_is_room() {
    let place = Workplace::new();
    let url = format!("file://{}", place.path("cache").display());
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    let whole = place.visible("cache");
    for proportion in [None, Some("--proportion=0.5")] {
        let back = place.path("back");
        let Some(disk) = SmallDisk::mount(&back, 64) else {
            return;
        };
        let pull: Vec<&str> = ["cache", "pull", &url, "back"].into_iter().chain(proportion).collect();
        let text = fail(&place, &pull);
        assert!(
            text.contains("No space left on device") && text.contains("hint: free some space"),
            "{text}"
        );
        if proportion.is_none() {
            for (name, bytes) in place.visible("back") {
                assert_eq!(Some(&bytes), whole.get(&name), "{}", name.display());
            }
        }
        disk.remount("ro");
        let text = fail(&place, &pull);
        // The system and the standard library write it differently.
        let is_named = text.to_ascii_lowercase().contains("read-only file");
        assert!(is_named && text.contains("hint: mount"), "{text}");
        disk.remount("rw,size=64m");
        place.succeed(&pull);
        place.succeed(&["cache", "verify", "back"]);
        if proportion.is_none() {
            assert_eq!(place.visible("back"), whole);
        }
    }
}
