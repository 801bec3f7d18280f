//! Changes of the raw data and of the teacher: noticed by the stamps of their files, or by hashing all of it.

use std::{
    io::Write as _,
    time::{Duration, SystemTime},
};

use leadspan_corpus::CorpusError;

use super::*;
use crate::{AuditOutcome, AuditSettings, PreparedCache, audit, prepare, stamp::forge};

/// A time long before the test.
fn set_time(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        .unwrap();
}

/// Writes over a file without another inode, size or time.
fn overwrite_unnoticed(path: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let rows = fs::read_to_string(path).unwrap();
    assert!(rows.contains(from));
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.write_all(rows.replacen(from, to, 1).as_bytes()).unwrap();
    file.set_modified(modified).unwrap();
}

fn prepared(pipeline: &Pipeline) -> Result<PreparedCache, PrecomputeError> {
    prepare(pipeline, &mut |_| ())
}

fn is_changed(result: &Result<PreparedCache, PrecomputeError>) -> bool {
    matches!(
        result,
        Err(PrecomputeError::Corpus(CorpusError::ChangedSamples { others: 0, .. }))
    )
}

/// A prepared project, the path of its rows, and a row's text with another of the same length.
fn project() -> (Project, PathBuf, [String; 2]) {
    let project = Project::with_rows(
        &(0..20)
            .map(|row| appended_row(&format!("row-{row}")))
            .collect::<String>(),
    );
    let path = project.folder.path().join("rows.jsonl");
    set_time(&path, 1_000_000);
    assert_eq!(prepared(&project.pipeline).unwrap().origin, Origin::Made);
    let answer = |text: &str| format!(r#""answer": "{text}"}}"#);
    (project, path, [answer("row-7"), answer("row-8")])
}

#[test]
fn a_changed_row_is_noticed_by_the_time_or_size_of_its_file() {
    let (project, path, [from, to]) = project();
    overwrite_unnoticed(&path, &from, &to);
    set_time(&path, 1_000_001);
    assert!(is_changed(&prepared(&project.pipeline)));

    let (project, path, [from, to]) = self::project();
    let rows = fs::read_to_string(&path).unwrap();
    fs::write(&path, rows.replacen(&from, &to.replace("row-8", "row-88"), 1)).unwrap();
    set_time(&path, 1_000_000);
    assert!(is_changed(&prepared(&project.pipeline)));
}

#[test]
fn a_change_that_keeps_size_time_and_inode_is_found() {
    let (project, path, [from, to]) = project();
    overwrite_unnoticed(&path, &from, &to);
    assert!(is_changed(&prepared(&project.pipeline)));
}

#[test]
fn a_change_that_keeps_the_whole_stamp_is_found_only_by_hashing_all_data() {
    let (project, path, [from, to]) = project();
    overwrite_unnoticed(&path, &from, &to);
    forge(&project.pipeline.cache_dir().join(".data.json"), &[&path], |_| ());
    assert_eq!(prepared(&project.pipeline).unwrap().origin, Origin::Found);
    let verifying = project.another("one", |pipeline| pipeline.data_check = DataCheck::Contents);
    assert!(is_changed(&prepared(&verifying)));
    // The remembered hash is known to be wrong, so nothing trusts it any more.
    for _ in 0..2 {
        assert!(is_changed(&prepared(&project.pipeline)));
    }
    // A failed call remembers nothing; with the row as it was, both find the corpus.
    overwrite_unnoticed(&path, &to, &from);
    assert_eq!(prepared(&verifying).unwrap().origin, Origin::Found);
    assert_eq!(prepared(&project.pipeline).unwrap().origin, Origin::Found);
}

#[test]
fn data_that_was_only_touched_is_hashed_and_remembered_again() {
    let (project, path, _) = project();
    let stored = || fs::read(project.pipeline.cache_dir().join(".data.json")).unwrap();
    let before = stored();
    assert_eq!(prepared(&project.pipeline).unwrap().origin, Origin::Found);
    assert_eq!(stored(), before);
    set_time(&path, 2_000_000);
    assert_eq!(prepared(&project.pipeline).unwrap().origin, Origin::Found);
    assert_ne!(stored(), before);
}

/// A project whose teacher may be changed, with the path of its weights.
fn with_teacher() -> (Project, PathBuf) {
    let mut project = Project::new();
    let model = project.folder.path().join("teacher");
    fs::create_dir(&model).unwrap();
    for entry in fs::read_dir(fixture("tiny-teacher")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    project.pipeline.teacher.model = model.clone();
    (project, model.join("model.safetensors"))
}

/// Changes the weights in the file, or changes them back, and leaves its size and time as they were.
fn change_weights(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    // The signs of every fifth number.
    for sign in bytes[8 + header..].chunks_exact_mut(4).step_by(5) {
        sign[3] ^= 0x80;
    }
    fs::write(path, bytes).unwrap();
    set_time(path, 1_000_000);
}

fn is_other_teacher(error: &PrecomputeError) -> bool {
    matches!(
        error,
        PrecomputeError::Cache(leadspan_cache::CacheError::IdentityMismatch { .. })
    ) && error.to_string().contains("weights")
}

fn half(index: u32) -> Worker {
    format!("{index}/2").parse().unwrap()
}

#[test]
fn workers_with_different_weights_of_equal_size_and_time_do_not_fill_one_cache() {
    let (project, path) = with_teacher();
    set_time(&path, 1_000_000);
    run_as(&project.pipeline, half(0));
    let other = || run(&project.pipeline, half(1), &AtomicBool::new(false), &mut |_| ()).unwrap_err();
    change_weights(&path);
    assert!(is_other_teacher(&other()));
    // On another machine the whole stamp may be the same, so a worker there does not trust this one's.
    let record = project.pipeline.cache_dir().join(".weights.json");
    let set = |key: &'static str, value: &'static str| move |record: &mut serde_json::Value| record[key] = value.into();
    forge(&record, &[&path], set("boot_id", "another"));
    assert!(is_other_teacher(&other()));
    // It trusts `prepare`, unless one of the blocks that it reads is another.
    forge(&record, &[&path], |record| {
        set("boot_id", "another")(record);
        set("made_by", "prepare")(record);
        record["files"][0]["sample_blake3"] = "00".into();
    });
    assert!(is_other_teacher(&other()));
    change_weights(&path);
    run_as(&project.pipeline, half(1));
}

#[test]
fn an_audit_fails_if_a_work_unit_was_captured_with_other_weights() {
    let (project, path) = with_teacher();
    let settings = AuditSettings {
        positions: 600,
        seed: 0,
    };
    let audited = || match audit(&project.pipeline, &settings, &AtomicBool::new(false), &mut |_| ()).unwrap() {
        AuditOutcome::Done(audit) => audit,
        AuditOutcome::Stopped => panic!("nobody asked it to stop"),
    };
    run_as(&project.pipeline, half(0));
    let sound = audited();
    sound.check(&project.pipeline.cache_dir()).unwrap();
    assert_eq!(sound.captured_on.len(), 1);
    assert!(sound.captured_on.contains(&sound.device_class));
    // The other half with other weights, whose hash the cache takes for that of the first.
    change_weights(&path);
    forge(&project.pipeline.cache_dir().join(".weights.json"), &[&path], |_| ());
    run_as(&project.pipeline, half(1));
    let mixed = audited();
    let error = mixed.check(&project.pipeline.cache_dir()).unwrap_err();
    let worst = mixed.worst.unwrap();
    assert!(worst.mean_kl > 0.1, "{worst:?}");
    assert!(
        error
            .to_string()
            .contains(&format!("sample `{}` of work unit `{}`", worst.id, worst.unit)),
        "{error}"
    );
}
