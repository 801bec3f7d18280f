//! Interruptions, several workers and failing writes: the result has the same bytes, or nothing is written.

use std::{fs, sync::atomic::Ordering, thread};

use leadspan_diagnosis::Diagnosis as _;
use leadspan_files::faults;

use super::*;
use crate::{finalize, prepare};

/// Runs until `batches` batches have gone through the teacher, and then asks the run to stop.
fn run_for(pipeline: &Pipeline, batches: usize) -> (Outcome, usize) {
    let (stop, mut seen) = (AtomicBool::new(false), 0);
    let outcome = run(pipeline, Worker::ALONE, &stop, &mut |event| {
        seen += usize::from(matches!(event, Event::Batch { .. }));
        if seen >= batches {
            stop.store(true, Ordering::Relaxed);
        }
    });
    (outcome.unwrap(), seen)
}

#[test]
fn a_run_that_is_stopped_after_every_number_of_batches_ends_in_the_same_bytes() {
    let project = Project::new();
    let whole = &project.pipeline;
    run_to_end(whole);
    let all_batches = events_of(&project.another("count", |_| ()))
        .iter()
        .filter(|event| matches!(event, Event::Batch { .. }))
        .count();
    assert!(all_batches > 8, "{all_batches} batches are too few to stop between");
    for step in 1..all_batches {
        let pieces = project.another(&format!("pieces-{step}"), |_| ());
        let (mut runs, mut written) = (0, 0);
        loop {
            // Each run gets one batch more, so that even the largest unit is completed in the end.
            let (outcome, seen) = run_for(&pieces, step + runs);
            runs += 1;
            assert!(
                shards(&pieces)
                    .keys()
                    .all(|name| name.extension().is_some_and(|kind| kind == "parquet" || kind == "json")),
                "something partial was left behind"
            );
            match outcome {
                Outcome::Stopped(summary) => {
                    assert!(seen >= 1 && summary.units_skipped == written);
                    written += summary.units_written;
                }
                Outcome::Done(summary) => {
                    assert_eq!(summary.units_skipped, written);
                    break;
                }
            }
        }
        assert!(runs > 1);
        assert_eq!(shards(&pieces), shards(whole), "stopped every {step} batches");
    }
}

#[test]
fn a_finished_run_has_nothing_left_to_do() {
    let project = Project::new();
    let first = run_to_end(&project.pipeline);
    assert_eq!((first.units_written, first.units_skipped, first.samples), (5, 0, 40));
    let before = files(&project.pipeline.cache_dir());
    let second = run_to_end(&project.pipeline);
    assert_eq!(
        (second.units_written, second.units_skipped, second.positions),
        (0, 5, 0)
    );
    assert_eq!(files(&project.pipeline.cache_dir()), before);
}

#[test]
fn two_workers_at_the_same_time_write_the_bytes_of_one() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    let shared = project.another("shared", |_| ());
    let work = |worker: &str| {
        let (worker, mut prepared) = (worker.parse().unwrap(), 0);
        let outcome = run(&shared, worker, &AtomicBool::new(false), &mut |event| {
            prepared += usize::from(matches!(
                event,
                Event::Prepared {
                    origin: Origin::Made,
                    ..
                }
            ));
        });
        (outcome.unwrap(), prepared)
    };
    let (first, second) = thread::scope(|scope| {
        let second = scope.spawn(|| work("1/2"));
        (work("0/2"), second.join().unwrap())
    });
    assert_eq!(first.1 + second.1, 1, "the corpus is prepared once");
    let (Outcome::Done(even), Outcome::Done(odd)) = (first.0, second.0) else {
        panic!("nobody stopped them")
    };
    assert_eq!((even.units_written, odd.units_written), (3, 2));
    assert_eq!(shards(&shared), shards(&project.pipeline));
}

#[test]
fn what_another_process_commits_meanwhile_is_not_done_again() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    let late = project.another("late", |_| ());
    let copy = |name: &str| {
        for (path, bytes) in shards(&project.pipeline) {
            if path.ends_with(name) {
                fs::write(late.cache_dir().join("layers").join(path), bytes).unwrap();
            }
        }
    };
    let mut found = Vec::new();
    let outcome = run(
        &late,
        Worker::ALONE,
        &AtomicBool::new(false),
        &mut |event| match event {
            Event::Begun(remaining) => {
                assert_eq!(
                    (remaining.units_total, remaining.units_mine, remaining.units_skipped),
                    (5, 5, 0)
                );
                copy("train-000002.parquet");
            }
            Event::UnitFound { unit, .. } => found.push(unit.to_string()),
            _ => {}
        },
    );
    let Outcome::Done(summary) = outcome.unwrap() else {
        panic!("nobody stopped it")
    };
    assert_eq!((summary.units_written, summary.units_skipped), (4, 1));
    assert_eq!(found, ["train-000002"]);
    assert_eq!(shards(&late), shards(&project.pipeline));
}

#[test]
fn a_writer_that_fails_ends_the_run_with_its_error() {
    // The layer's folder vanishes before the first shard begins. More batches follow than the channel holds.
    let project = Project::new();
    let pipeline = project.another("gone", |pipeline| {
        pipeline.cache.batch_tokens = Some(1);
        pipeline.cache.samples_per_shard = 1000;
    });
    let layers = pipeline.cache_dir().join("layers");
    let failed = run(&pipeline, Worker::ALONE, &AtomicBool::new(false), &mut |event| {
        if let Event::Batch { .. } | Event::Begun(_) = event {
            let _ = fs::remove_dir_all(&layers);
            fs::write(&layers, b"in the way").unwrap();
        }
    });
    let error = failed.unwrap_err();
    assert!(
        matches!(&error, PrecomputeError::Cache(_)) && !error.is_unexpected(),
        "{error}"
    );
    assert!(error.to_string().contains("layers"), "{error}");
    // With the folder restored, the same call succeeds.
    fs::remove_file(&layers).unwrap();
    assert_eq!(run_to_end(&pipeline).samples, 40);
}

#[test]
fn a_commit_that_fails_leaves_earlier_shards_and_nothing_else() {
    let project = Project::new();
    let layers = project.pipeline.cache_dir().join("layers");
    let mut units = 0;
    let failed = run(
        &project.pipeline,
        Worker::ALONE,
        &AtomicBool::new(false),
        &mut |event| {
            if let Event::UnitCommitted { .. } = event {
                units += 1;
            }
            // The shard's file cannot replace a folder of the same name.
            if let Event::Begun(_) = event {
                let folder = fs::read_dir(&layers).unwrap().next().unwrap().unwrap().path();
                fs::create_dir(folder.join("train-000001.parquet")).unwrap();
                fs::write(folder.join("train-000001.parquet/file"), b"").unwrap();
            }
        },
    );
    assert!(matches!(failed.unwrap_err(), PrecomputeError::Cache(_)));
    assert_eq!(units, 1);
    let names: Vec<_> = shards(&project.pipeline)
        .into_keys()
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        ["layer.json", "train-000000.json", "train-000000.parquet", "file"]
    );
}

#[test]
fn a_receipt_beside_an_empty_or_short_shard_is_no_committed_unit() {
    let project = Project::new();
    let pipeline = &project.pipeline;
    run_to_end(pipeline);
    let sound = files(&pipeline.cache_dir());
    let layers = pipeline.cache_dir().join("layers");
    let shard = fs::read_dir(layers).unwrap().next().unwrap().unwrap().path();
    let shard = shard.join("train-000001.parquet");
    for length in [0, 100] {
        let bytes = fs::read(&shard).unwrap();
        fs::write(&shard, &bytes[..length]).unwrap();
        assert_eq!(super::planning::plan_with(pipeline, 1000, None).left.units, 1);
        let finalized = finalize(pipeline, None, &mut |_| ()).unwrap();
        assert_eq!(
            finalized.layers[0]
                .missing
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["train-000001"]
        );
        assert_eq!(finalized.layers[0].manifest, None);
        let summary = run_to_end(pipeline);
        assert_eq!((summary.units_written, summary.units_missing), (1, 0));
        assert_eq!(files(&pipeline.cache_dir()), sound);
    }
}

#[test]
fn a_shard_that_is_removed_and_captured_anew_with_other_bytes_leaves_a_sound_cache() {
    let project = Project::new();
    let pipeline = &project.pipeline;
    run_to_end(pipeline);
    let sound = files(&pipeline.cache_dir());
    let layer = Cache::open(&pipeline.cache_dir()).unwrap().layers().unwrap().remove(0);
    let removed = || {
        for name in ["train-000001.parquet", "train-000001.json"] {
            fs::remove_file(layer.path().join(name)).unwrap();
        }
    };
    // A manifest that states another shard, as one does that another device made.
    let other = |text: String| text.replacen("\"shards_blake3\": \"", "\"shards_blake3\": \"0", 1);
    let manifest = fs::read_to_string(layer.manifest_path()).unwrap();
    removed();
    fs::write(layer.manifest_path(), other(manifest)).unwrap();
    assert_eq!(run_to_end(pipeline).units_written, 1);
    assert_eq!(files(&pipeline.cache_dir()), sound);
    let found = leadspan_cache::verify(&Cache::open(&pipeline.cache_dir()).unwrap(), &mut |_| {}).unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    // A run that is killed in between leaves no manifest that states more than there is.
    removed();
    let (outcome, _) = run_for(pipeline, 1);
    assert!(matches!(outcome, Outcome::Stopped(_)) && !layer.manifest_path().exists());
    run_to_end(pipeline);
    assert_eq!(files(&pipeline.cache_dir()), sound);
}

#[test]
fn a_foreign_claim_to_preparing_holds_up_nobody_who_has_nothing_to_prepare() {
    let project = Project::new();
    let half = project.another("one", |pipeline| {
        pipeline.cache.lead_span_proportion = "0.5".parse().unwrap();
    });
    let pipeline = &project.pipeline;
    run_to_end(&half);
    let layer = Cache::open(&pipeline.cache_dir()).unwrap().layers().unwrap().remove(0);
    let claims = pipeline.cache_dir().join(".claims");
    let claim = claims.join("prepare");
    fs::create_dir(&claims).unwrap();
    fs::write(&claim, "x").unwrap();
    fs::remove_file(layer.shard_path(&layer.corpus().units()[1])).unwrap();
    // One captures a unit anew, the other adds a layer.
    for pipeline in [&half, pipeline] {
        let stop = AtomicBool::new(false);
        let outcome = run(pipeline, Worker::ALONE, &stop, &mut |event| {
            assert!(!matches!(event, Event::WaitingForLock(_)), "{event:?}");
        });
        assert!(matches!(outcome.unwrap(), Outcome::Done(_)));
    }
    prepare(pipeline, &mut |event| {
        assert!(!matches!(event, Event::WaitingForLock(_)));
    })
    .unwrap();
    assert!(claim.exists(), "it is not this process's to remove");
    // Who has to wait is told for which claim.
    fs::write(claims.join("inventory"), "x").unwrap();
    fs::remove_file(layer.shard_path(&layer.corpus().units()[1])).unwrap();
    let mut awaited = Vec::new();
    let outcome = run(pipeline, Worker::ALONE, &AtomicBool::new(false), &mut |event| {
        if let Event::WaitingForLock(by) = event {
            let _ = fs::remove_file(&by.claim);
            awaited.push(by.to_string());
        }
    });
    assert!(matches!(outcome.unwrap(), Outcome::Done(_)));
    assert!(awaited[0].contains("takes the inventory of this cache") && awaited[0].contains(".claims/inventory"));
}

#[test]
fn events_add_up_to_what_was_left() {
    let project = Project::new();
    let events = events_of(&project.pipeline);
    let Event::Begun(remaining) = events.iter().find(|event| matches!(event, Event::Begun(_))).unwrap() else {
        unreachable!()
    };
    let (mut batches, mut shard_totals, mut bytes) = ((0, 0), (0, 0), 0);
    for event in &events {
        match event {
            Event::Batch { tokens, positions, .. } => {
                batches = (batches.0 + tokens, batches.1 + positions);
            }
            Event::UnitCommitted {
                tokens,
                positions,
                bytes: size,
                unit,
                ..
            } => {
                shard_totals = (shard_totals.0 + tokens, shard_totals.1 + positions);
                bytes += size;
                assert!(
                    shards(&project.pipeline)
                        .keys()
                        .any(|path| path.ends_with(format!("{unit}.parquet")))
                );
            }
            _ => {}
        }
    }
    assert_eq!(batches, (remaining.tokens, remaining.positions));
    assert_eq!(shard_totals, batches);
    assert!(
        bytes > remaining.positions * 16 * 2,
        "{bytes} bytes cannot hold {} positions",
        remaining.positions
    );
    assert!(matches!(events[events.len() - 1], Event::UnitCommitted { .. }));
}

/// Prepares with every write operation failing in turn, each time from the state that `begin` makes, and again without a
/// failure: the cache must have the files of `expected`. Returns how many operations there were.
fn fail_at_every_write(pipeline: &Pipeline, begin: &dyn Fn(), expected: &BTreeMap<PathBuf, Vec<u8>>) -> u32 {
    for number in 0.. {
        let _ = fs::remove_dir_all(pipeline.cache_dir());
        begin();
        let (result, reached) = faults::failing_at(number, || prepare(pipeline, &mut |_| ()));
        if let Err(error) = result {
            assert!(reached && matches!(error, PrecomputeError::Cache(_)), "{error}");
        }
        prepare(pipeline, &mut |_| ()).unwrap();
        let found = without_records(files(&pipeline.cache_dir()));
        assert_eq!(&found, expected, "after a failure at {number}");
        if !reached {
            return number;
        }
    }
    unreachable!("the operations are fewer")
}

#[test]
fn preparing_and_extending_that_fail_at_any_write_end_in_the_same_bytes() {
    let project = Project::new();
    let whole = project.another("whole", |_| ());
    let rows = project.folder.path().join("rows.jsonl");
    let first = fs::read_to_string(&rows).unwrap();
    let more = first.clone() + &appended_row("one") + &appended_row("two");

    prepare(&whole, &mut |_| ()).unwrap();
    let prepared = without_records(files(&whole.cache_dir()));
    let writes = fail_at_every_write(&project.pipeline, &|| (), &prepared);
    assert!(writes > 20, "{writes} operations");

    // The data is one file whose inode stays; its time must not differ between the caches.
    let time = fs::metadata(&rows).unwrap().modified().unwrap();
    let write = |text: &str, later: u64| {
        fs::write(&rows, text).unwrap();
        let file = fs::File::options().write(true).open(&rows).unwrap();
        file.set_modified(time + std::time::Duration::from_secs(later)).unwrap();
    };
    write(&more, 1);
    prepare(&whole, &mut |_| ()).unwrap();
    let extended = without_records(files(&whole.cache_dir()));
    assert!(extended.contains_key(Path::new("corpus/prepared-001.json")));
    let begin = || {
        write(&first, 0);
        prepare(&project.pipeline, &mut |_| ()).unwrap();
        write(&more, 1);
    };
    let writes = fail_at_every_write(&project.pipeline, &begin, &extended);
    assert!(writes > 10, "{writes} operations");
}
