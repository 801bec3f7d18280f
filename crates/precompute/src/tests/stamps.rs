//! Changes of the raw data: noticed by size, time and inode, or by hashing all of it if that is asked for.

use std::{
    io::Write as _,
    time::{Duration, SystemTime},
};

use leadspan_corpus::CorpusError;

use super::*;
use crate::{PreparedCache, prepare};

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
fn a_change_that_keeps_size_time_and_inode_is_found_only_by_hashing_all_data() {
    let (project, path, [from, to]) = project();
    overwrite_unnoticed(&path, &from, &to);
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
