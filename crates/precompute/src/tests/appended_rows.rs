//! Rows that are appended after a cache was made: they become new work units, or are refused and the cache stays as it was.

use std::{fs, sync::Barrier, thread};

use leadspan_cache::verify;
use leadspan_corpus::CorpusError;
use leadspan_diagnosis::Diagnosis as _;
use leadspan_sequence::Split;

use super::*;
use crate::{PreparedCache, prepare};

/// The rows of the fixture: 32 training samples in units of ten, and eight validation samples.
fn fixture_rows() -> String {
    fs::read_to_string(fixture("tiny-teacher-text.jsonl")).unwrap()
}

/// The same rows, each with an id that does not depend on its line.
fn rows_with_ids() -> String {
    let with_id = |(number, row): (usize, &str)| {
        if row.contains("\"id\": ") {
            row.to_owned() + "\n"
        } else {
            row.replacen('{', &format!("{{\"id\": \"line-{number}\", "), 1) + "\n"
        }
    };
    fixture_rows().lines().enumerate().map(with_id).collect()
}

fn appended_rows(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| appended_row(&format!("more-{number}"))).collect()
}

impl Project {
    fn write(&self, name: &str, rows: &str) {
        fs::write(self.folder.path().join(name), rows).unwrap();
    }

    fn cache_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(&self.pipeline.cache_dir())
    }

    fn prepare(&self) -> PreparedCache {
        prepare(&self.pipeline, &mut |_| ()).unwrap()
    }

    /// Checks that a run is refused with an expected error and a hint, and leaves the cache as it was.
    fn refused_untouched(&self) -> PrecomputeError {
        let before = self.cache_files();
        let error = refused(&self.pipeline);
        assert!(!error.is_unexpected() && error.hint().is_some(), "{error}");
        assert_eq!(self.cache_files(), before, "{error}");
        error
    }

    fn assert_sound(&self) {
        let cache = Cache::open(&self.pipeline.cache_dir()).unwrap();
        let found = verify(&cache, &mut |_| ()).unwrap();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
    }
}

/// Checks that every file of `before` is the same in `after`, except the manifests, which sum up the shards, the inventory,
/// which lists them, and the hashes of data and weights. Returns the names of the files that only `after` has.
fn added(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<String> {
    let records = [".data.json", ".weights.json", "manifest.json", "inventory.json"];
    let may_change = |path: &Path| records.iter().any(|record| path.ends_with(record));
    for (path, bytes) in before.iter().filter(|(path, _)| !may_change(path)) {
        assert_eq!(after.get(path), Some(bytes), "`{}` changed", path.display());
    }
    let new = after.keys().filter(|path| !before.contains_key(*path));
    new.map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn only_the_work_units_of_appended_rows_are_captured() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    let (before, spans) = (project.cache_files(), read(&project.pipeline, "1"));

    project.write("rows.jsonl", &(fixture_rows() + &appended_rows(0..13)));
    let events = events_of(&project.pipeline);
    let prepared = events.iter().find_map(|event| match event {
        Event::Prepared { report, origin } => Some((report.clone(), *origin)),
        _ => None,
    });
    let (report, origin) = prepared.unwrap();
    assert_eq!(origin, Origin::Extended { samples: 13, units: 2 });
    assert_eq!((report.rows, report.kept_train, report.kept_validation), (53, 45, 8));
    let committed = events.iter().filter_map(|event| match event {
        Event::UnitCommitted { unit, .. } => Some(unit.to_string()),
        _ => None,
    });
    // Unit 3 has two samples and is not filled up, because its shard exists.
    assert_eq!(committed.collect::<Vec<_>>(), ["train-000004", "train-000005"]);

    let after = project.cache_files();
    assert_eq!(
        added(&before, &after),
        [
            "prepared-001.json",
            "samples-001.arrow",
            "tokens-001.u32",
            "train-000004.json",
            "train-000004.parquet",
            "train-000005.json",
            "train-000005.parquet"
        ]
    );
    project.assert_sound();
    let all = read(&project.pipeline, "1");
    assert_eq!(
        all[..40],
        spans[..],
        "indices, order, tokens and distributions are what they were"
    );
    assert_eq!(all.len(), 53);

    let again = run_to_end(&project.pipeline);
    assert_eq!((again.units_written, again.units_skipped), (0, 7));
    assert_eq!(project.prepare().origin, Origin::Found);
    assert_eq!(without_records(project.cache_files()), without_records(after));
}

#[test]
fn appended_samples_are_all_for_training_whatever_share_is_held_out() {
    for validation in ["0", "0.5", "8"] {
        let project = Project::new();
        let pipeline = project.another("one", |pipeline| pipeline.data.validation = from_json(validation));
        let before = prepare(&pipeline, &mut |_| ()).unwrap().corpus;
        project.write("more.jsonl", &appended_rows(0..30));
        let corpus = prepare(&pipeline, &mut |_| ()).unwrap().corpus;
        let samples = samples_of(&corpus);
        assert_eq!(samples[..40], samples_of(&before));
        assert!(samples[40..].iter().all(|sample| sample.split == Split::Train));
        assert_eq!(
            corpus.of_split(Split::Validation).collect::<Vec<_>>(),
            before.of_split(Split::Validation).collect::<Vec<_>>()
        );
    }
}

#[test]
fn what_is_captured_of_an_appended_row_is_what_a_cache_of_its_own_has() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    project.write("rows.jsonl", &(fixture_rows() + &appended_rows(0..13)));
    run_to_end(&project.pipeline);
    let whole = project.another("whole", |_| ());
    run_to_end(&whole);
    let (extended, whole) = (read(&project.pipeline, "1"), read(&whole, "1"));
    assert_eq!(extended.len(), whole.len());
    let whole: BTreeMap<String, Span> = whole.into_iter().collect();
    for (id, span) in &extended {
        assert_close(span, &whole[id], id);
    }
}

#[test]
fn an_added_file_in_front_of_the_others_is_appended_all_the_same() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    let before = project.cache_files();
    project.write("a.jsonl", &appended_rows(0..5));
    assert_eq!(run_to_end(&project.pipeline).units_written, 1);
    assert_eq!(
        added(&before, &project.cache_files()),
        [
            "prepared-001.json",
            "samples-001.arrow",
            "tokens-001.u32",
            "train-000004.json",
            "train-000004.parquet"
        ]
    );
    project.assert_sound();
}

#[test]
fn rows_are_appended_any_number_of_times() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    project.write("rows.jsonl", &(fixture_rows() + &appended_rows(0..13)));
    run_to_end(&project.pipeline);
    let before = project.cache_files();
    project.write("rows.jsonl", &(fixture_rows() + &appended_rows(0..14)));
    project.write("more.jsonl", &appended_rows(14..16));
    // Preparing first and capturing later gives the same.
    let prepared = project.prepare();
    assert_eq!(prepared.origin, Origin::Extended { samples: 3, units: 1 });
    assert_eq!(prepared.corpus.parts().len(), 3);
    assert_eq!(
        (run_to_end(&project.pipeline).samples, project.prepare().report.rows),
        (3, 56)
    );
    assert_eq!(
        added(&before, &project.cache_files()),
        [
            "prepared-002.json",
            "samples-002.arrow",
            "tokens-002.u32",
            "train-000006.json",
            "train-000006.parquet"
        ]
    );
    project.assert_sound();
    let parts = read(&project.pipeline, "1");
    let appended: Vec<&str> = parts[53..].iter().map(|(id, _)| id.as_str()).collect();
    assert!(
        appended.iter().all(|id| ["more-13", "more-14", "more-15"].contains(id)),
        "{appended:?}"
    );
}

#[test]
fn changed_and_removed_rows_are_refused_by_id_in_every_part() {
    let project = Project::with_rows(&rows_with_ids());
    run_to_end(&project.pipeline);
    let rows = rows_with_ids() + &appended_rows(0..3);
    project.write("rows.jsonl", &rows);
    run_to_end(&project.pipeline);
    let first = project.prepare().corpus.sample(0).id.to_owned();

    let line = |id: &str| {
        let line = rows
            .lines()
            .find(|row| row.contains(&format!("\"id\": \"{id}\"")))
            .unwrap();
        line.to_owned() + "\n"
    };
    for id in [first.as_str(), "more-1"] {
        let changed = line(id).replacen("\"question\": \"", "\"question\": \"Well, ", 1);
        project.write("rows.jsonl", &rows.replacen(&line(id), &changed, 1));
        let error = project.refused_untouched();
        let expected = matches!(&error, PrecomputeError::Corpus(CorpusError::ChangedSamples { id: named, others: 0 })
            if named == id);
        assert!(expected, "{error}");
        assert!(error.hint().unwrap().contains("`cache.dir`"));

        project.write("rows.jsonl", &(rows.replacen(&line(id), "", 1) + &appended_rows(3..9)));
        let error = project.refused_untouched();
        let expected = matches!(&error, PrecomputeError::Corpus(CorpusError::RemovedSamples { id: named, others: 0 })
            if named == id);
        assert!(expected, "{error}");
    }
    // If all rows are gone, the error has their number.
    project.write("rows.jsonl", &appended_rows(0..3));
    let error = project.refused_untouched();
    assert!(
        error.to_string().contains(&format!("`{first}` (and 39 more)")),
        "{error}"
    );

    project.write("rows.jsonl", &rows);
    assert_eq!(run_to_end(&project.pipeline).units_written, 0);
}

#[test]
fn rows_that_were_dropped_may_stay_and_are_appended_once_they_can_be_kept() {
    let long = appended_row("long").replace("one and", &"one and ".repeat(3000));
    let project = Project::with_rows(&(fixture_rows() + &long));
    let prepared = project.prepare();
    assert_eq!((prepared.report.rows, prepared.report.dropped.len()), (41, 1));
    project.write("rows.jsonl", &(fixture_rows() + &long + &appended_rows(0..2)));
    let prepared = project.prepare();
    assert_eq!(prepared.origin, Origin::Extended { samples: 2, units: 1 });
    assert_eq!(prepared.report.dropped.len(), 1);
    project.write(
        "rows.jsonl",
        &(fixture_rows() + &appended_row("long") + &appended_rows(0..2)),
    );
    let prepared = project.prepare();
    assert_eq!(prepared.origin, Origin::Extended { samples: 1, units: 1 });
    assert!(prepared.report.dropped.is_empty());
    assert_eq!(prepared.corpus.samples().last().unwrap().id, "long");
}

#[test]
fn a_file_of_another_name_with_the_same_rows_is_remembered_and_adds_nothing() {
    let project = Project::with_rows(&rows_with_ids());
    run_to_end(&project.pipeline);
    let before = project.cache_files();
    let rename = |from: &str, to: &str| {
        fs::rename(project.folder.path().join(from), project.folder.path().join(to)).unwrap();
    };
    rename("rows.jsonl", "renamed.jsonl");
    assert_eq!(project.prepare().origin, Origin::Extended { samples: 0, units: 0 });
    assert_eq!(
        added(&before, &project.cache_files()),
        ["prepared-001.json", "samples-001.arrow", "tokens-001.u32"]
    );
    assert_eq!(project.prepare().origin, Origin::Found);
    assert_eq!(run_to_end(&project.pipeline).units_written, 0);
    project.assert_sound();
}

#[test]
fn an_extension_killed_before_its_description_is_redone_with_the_same_bytes() {
    let project = Project::new();
    project.prepare();
    let before = project.cache_files();
    project.write("rows.jsonl", &(fixture_rows() + &appended_rows(0..13)));
    assert_eq!(project.prepare().origin, Origin::Extended { samples: 13, units: 2 });
    let whole = project.cache_files();

    let corpus = project.pipeline.cache_dir().join("corpus");
    fs::remove_file(corpus.join("prepared-001.json")).unwrap();
    let cache = Cache::open(&project.pipeline.cache_dir()).unwrap();
    assert_eq!(cache.require_corpus().unwrap().len(), 40, "the table alone is nothing");
    // A kill while the table is written leaves only a temporary file.
    fs::rename(
        corpus.join("samples-001.arrow"),
        corpus.join(".samples-001.arrow.dead00.tmp"),
    )
    .unwrap();
    assert_eq!(project.prepare().origin, Origin::Extended { samples: 13, units: 2 });
    assert_eq!(project.cache_files(), whole);
    fs::remove_file(corpus.join("prepared-001.json")).unwrap();
    assert_eq!(project.prepare().origin, Origin::Extended { samples: 13, units: 2 });
    assert_eq!(project.cache_files(), whole);

    // Without the appended rows, the files of a killed extension are ignored.
    fs::remove_file(corpus.join("prepared-001.json")).unwrap();
    project.write("rows.jsonl", &fixture_rows());
    assert_eq!(project.prepare().origin, Origin::Found);
    assert_eq!(
        added(&before, &project.cache_files()),
        ["samples-001.arrow", "tokens-001.u32"]
    );
}

#[test]
fn an_extension_that_fails_leaves_the_cache_as_it_was() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    project.write(
        "rows.jsonl",
        &(fixture_rows() + &appended_row("fine") + "{\"question\": 1}\n"),
    );
    let error = project.refused_untouched();
    assert!(
        matches!(&error, PrecomputeError::Corpus(CorpusError::BadRow { line: 42, .. })),
        "{error}"
    );
    project.write(
        "rows.jsonl",
        &(fixture_rows() + &appended_row("twice") + &appended_row("twice")),
    );
    let error = project.refused_untouched();
    assert!(
        matches!(&error, PrecomputeError::Corpus(CorpusError::DuplicateId { .. })),
        "{error}"
    );
}

#[test]
fn workers_that_start_together_after_an_append_extend_the_cache_once() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    let alone = project.another("alone", |_| ());
    run_to_end(&alone);
    project.write("rows.jsonl", &(fixture_rows() + &appended_rows(0..23)));
    run_to_end(&alone);

    let barrier = Barrier::new(3);
    let work = |worker: &str| {
        let (worker, mut origin) = (worker.parse().unwrap(), None);
        barrier.wait();
        let outcome = run(&project.pipeline, worker, &AtomicBool::new(false), &mut |event| {
            if let Event::Prepared { origin: how, .. } = event {
                origin = Some(how);
            }
        });
        assert!(matches!(outcome.unwrap(), Outcome::Done(_)));
        origin.unwrap()
    };
    let origins = thread::scope(|scope| {
        let workers = ["0/3", "1/3", "2/3"].map(|worker| scope.spawn(move || work(worker)));
        workers.map(|worker| worker.join().unwrap())
    });
    let count = |origin| origins.iter().filter(|&&one| one == origin).count();
    assert_eq!(count(Origin::Extended { samples: 23, units: 3 }), 1, "{origins:?}");
    assert_eq!(count(Origin::Found), 2, "{origins:?}");
    assert_eq!(project.cache_files(), files(&alone.cache_dir()));
}
