//! What a name holds before, during and after a commit, and what becomes of temporaries of dead processes.

use leadspan_diagnosis::Diagnosis as _;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    commit_bytes(&path, b"old").unwrap();
    let failed = commit_file(&path, |file| -> io::Result<()> {
        file.write_all(b"half of the n")?;
        Err(io::ErrorKind::StorageFull.into())
    });
    assert!(matches!(failed, Err(FileError { action: "write", .. })));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["state.json"]);
}

#[test]
fn nothing_is_visible_under_the_name_or_a_readable_one_before_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let mut pending = PendingFile::create(&folder.path().join("train-000000.parquet")).unwrap();
    pending.write_all(b"rows").unwrap();
    let during = names(folder.path());
    assert_eq!(during.len(), 1);
    assert_eq!(Path::new(&during[0]).extension().unwrap(), "tmp");
    pending.commit().unwrap();
    assert_eq!(names(folder.path()), ["train-000000.parquet"]);
}

#[test]
fn the_next_writer_removes_temporaries_of_dead_ones_but_not_of_living_ones_or_of_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.json");
    fs::write(folder.path().join(".a.json.dead00.tmp"), b"x").unwrap();
    fs::write(folder.path().join(".b.json.dead00.tmp"), b"x").unwrap();
    let mut living = PendingFile::create(&target).unwrap();
    living.write_all(b"first").unwrap();
    commit_bytes(&target, b"second").unwrap();
    living.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"first");
    assert_eq!(names(folder.path()), [".b.json.dead00.tmp", "a.json"]);
}

#[test]
fn a_folder_of_many_files_is_not_listed_for_each_of_them() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..200 {
        fs::write(folder.path().join(format!("{number}.json")), b"{}").unwrap();
    }
    let clearing = Clearing::default();
    let stale = folder.path().join(".a.json.dead00.tmp");
    let mut removed = Vec::new();
    for write in 0..8 {
        fs::write(&stale, b"x").unwrap();
        commit_bytes_in(&folder.path().join("a.json"), b"{}", &clearing).unwrap();
        removed.extend((!stale.exists()).then_some(write));
    }
    assert_eq!(removed, [0, 4], "of 200 names, every fourth write");
}

#[cfg(unix)]
#[test]
fn a_committed_file_has_ordinary_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    commit_bytes(&path, b"{}").unwrap();
    fs::write(folder.path().join("ordinary"), b"").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&folder.path().join("ordinary")));
}

#[test]
fn a_missing_folder_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("a.json");
    let error = commit_bytes(&path, b"{}").unwrap_err();
    assert!(
        error.to_string().contains("a.json") && !error.is_unexpected(),
        "{error}"
    );
}
