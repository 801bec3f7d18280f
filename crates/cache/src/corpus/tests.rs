//! The parts of a corpus on disk: they read back as written, and damaged or misplaced files give their named errors.

use std::{fs, path::Path};

use leadspan_diagnosis::Diagnosis as _;
use serde_json::Value;

use super::{
    description::{described_part, description_name, table_name, tokens_name},
    parts::{NewPart, read, verify_tokens, write_part},
    prepared::PreparedCorpus,
};
use crate::{CacheError, json, tests::synthetic};

/// Writes the newest part of a corpus.
fn write_newest_part(folder: &Path, corpus: &PreparedCorpus) -> Result<(), CacheError> {
    let newest = corpus.newest_part();
    let part = NewPart {
        number: corpus.parts().len() - 1,
        units: &corpus.units()[newest.units.clone()],
        samples_per_shard: corpus.samples_per_shard(),
        provenance: newest.provenance.clone(),
    };
    write_part(folder, part, &mut |files| {
        let mut indices = newest.samples.clone();
        indices.try_for_each(|index| files.push(corpus.sample(index), corpus.tokens(index)?, corpus.row_hash(index)))
    })
}

/// A folder with a corpus of this many parts.
fn written(parts: usize) -> (tempfile::TempDir, PreparedCorpus) {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = synthetic::corpus(9, 4, 4);
    write_newest_part(folder.path(), &corpus).unwrap();
    for part in 1..parts {
        append(folder.path(), &mut corpus, part);
    }
    (folder, corpus)
}

/// Appends a part of five samples to a corpus, in memory and on disk.
fn append(folder: &Path, corpus: &mut PreparedCorpus, provenance: usize) {
    let samples = synthetic::appended(corpus.len(), 5);
    corpus
        .append(&samples, &synthetic::row_hashes(&samples), provenance.into())
        .unwrap();
    write_newest_part(folder, corpus).unwrap();
}

fn assert_same(read: &PreparedCorpus, corpus: &PreparedCorpus) {
    assert_eq!(synthetic::samples_of(read), synthetic::samples_of(corpus));
    assert_eq!(synthetic::row_hashes_of(read), synthetic::row_hashes_of(corpus));
    let largest =
        |corpus: &PreparedCorpus| -> Vec<u32> { (0..corpus.len()).map(|index| corpus.largest_token(index)).collect() };
    assert_eq!(largest(read), largest(corpus));
    assert_eq!(read.units(), corpus.units());
    assert_eq!(read.parts(), corpus.parts());
    assert_eq!(read.samples_per_shard(), corpus.samples_per_shard());
}

#[test]
fn a_corpus_of_any_number_of_parts_reads_back_as_it_was_written() {
    for parts in 1..=4 {
        let (folder, corpus) = written(parts);
        let read = read(folder.path(), None).unwrap().unwrap();
        assert_eq!(read.parts().len(), parts);
        assert_same(&read, &corpus);
    }
}

#[test]
fn a_part_without_samples_reads_back_too() {
    let (folder, mut corpus) = written(1);
    corpus.append(&[], &[], "nothing new".into()).unwrap();
    write_newest_part(folder.path(), &corpus).unwrap();
    append(folder.path(), &mut corpus, 2);
    let read = read(folder.path(), None).unwrap().unwrap();
    assert_eq!(read.parts()[1].samples, 13..13);
    assert_same(&read, &corpus);
}

/// Writes a corpus of one part, or the newest part of one, whose samples keep so many tokens as `column` says.
fn write_with_lead_spans(
    folder: &Path,
    corpus: &PreparedCorpus,
    column: &str,
    kept: &dyn Fn(usize) -> Option<u32>,
) -> Result<(), CacheError> {
    let newest = corpus.newest_part();
    let part = NewPart {
        number: corpus.parts().len() - 1,
        units: &corpus.units()[newest.units.clone()],
        samples_per_shard: corpus.samples_per_shard(),
        provenance: newest.provenance.clone(),
    };
    write_part(folder, part, &mut |files| {
        newest.samples.clone().try_for_each(|index| {
            files.push(corpus.sample(index), corpus.tokens(index)?, corpus.row_hash(index))?;
            if let Some(kept) = kept(index) {
                files.push_lead_span(column, kept);
            }
            Ok(())
        })
    })
}

#[test]
fn lead_spans_of_the_data_are_read_back_with_the_name_of_their_column() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = synthetic::corpus(9, 4, 4);
    let kept = |index: usize| Some(1 + index as u32 % 2);
    write_with_lead_spans(folder.path(), &corpus, "keep", &kept).unwrap();
    corpus.append(&[], &[], "nothing new".into()).unwrap();
    write_with_lead_spans(folder.path(), &corpus, "keep", &kept).unwrap();
    let found = read(folder.path(), None).unwrap().unwrap();
    assert_same(&found, &corpus);
    assert_eq!(found.lead_span_column(), Some("keep"));
    for index in 0..found.len() {
        assert_eq!(found.lead_span_tokens(index), kept(index));
    }
    // Without them the table is as it was before they existed.
    assert_eq!(corpus.lead_span_column(), None);
    let (other, _) = written(1);
    let plain = read(other.path(), None).unwrap().unwrap();
    assert_eq!((plain.lead_span_column(), plain.lead_span_tokens(0)), (None, None));
    // A part without them leaves some samples without.
    append(folder.path(), &mut corpus, 2);
    assert_eq!(read(folder.path(), None).unwrap().unwrap().lead_span_column(), None);
}

#[test]
fn lead_spans_that_no_sample_can_have_are_refused() {
    let corpus = synthetic::corpus(3, 0, 4);
    for (kept, told) in [(0, "keeps 0 of"), (10_000, "keeps 10000 of")] {
        let folder = tempfile::tempdir().unwrap();
        write_with_lead_spans(folder.path(), &corpus, "keep", &|_| Some(kept)).unwrap();
        let error = read(folder.path(), None).unwrap_err();
        assert!(
            matches!(&error, CacheError::Inconsistent { problem, .. } if problem.contains(told)),
            "{error}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let some = |index: usize| (index > 0).then_some(1);
    let error = write_with_lead_spans(folder.path(), &corpus, "keep", &some).unwrap_err();
    assert!(matches!(error, CacheError::UnstorableCorpus { .. }), "{error}");
}

#[test]
fn the_same_corpus_gives_the_same_bytes() {
    let ((one, _), (other, _)) = (written(3), written(3));
    for part in 0..3 {
        for name in [table_name(part), tokens_name(part), description_name(part)] {
            assert_eq!(
                fs::read(one.path().join(&name)).unwrap(),
                fs::read(other.path().join(&name)).unwrap(),
                "{name}"
            );
        }
    }
}

#[test]
fn an_appended_part_leaves_the_files_of_the_earlier_ones_as_they_are() {
    let (folder, mut corpus) = written(2);
    let contents = || {
        (0..2)
            .flat_map(|part| [table_name(part), tokens_name(part), description_name(part)])
            .map(|name| fs::read(folder.path().join(name)).unwrap())
            .collect::<Vec<_>>()
    };
    let before = contents();
    append(folder.path(), &mut corpus, 2);
    assert_eq!(contents(), before);
}

#[test]
fn a_table_without_its_description_is_no_part() {
    let (folder, corpus) = written(2);
    fs::remove_file(folder.path().join("prepared-001.json")).unwrap();
    let only_first = read(folder.path(), None).unwrap().unwrap();
    assert_eq!(only_first.parts(), &corpus.parts()[..1]);
    assert_eq!(synthetic::samples_of(&only_first), synthetic::samples_of(&corpus)[..13]);
    fs::remove_file(folder.path().join("prepared.json")).unwrap();
    assert!(read(folder.path(), None).unwrap().is_none());
}

#[test]
fn a_part_that_is_missing_before_others_is_named() {
    for (missing, last) in [("prepared.json", 1), ("prepared-001.json", 2), ("prepared-002.json", 3)] {
        let (folder, _) = written(last + 1);
        fs::remove_file(folder.path().join(missing)).unwrap();
        let error = read(folder.path(), None).unwrap_err();
        assert!(
            matches!(&error, CacheError::MissingPart { path } if path.ends_with(missing)),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("restore") && !error.is_unexpected());
    }
}

#[test]
fn descriptions_that_do_not_follow_each_other_are_refused() {
    // The description after the changed one is refused: a part with another provenance, the first part of another
    // corpus, a part in the place of another.
    type Change = fn(&Path);
    let changes: [(Change, &str); 4] = [
        (
            |folder| {
                let path = folder.join("prepared-001.json");
                let text = fs::read_to_string(&path).unwrap();
                assert!(text.contains("\"facts\": 1"));
                fs::write(&path, text.replace("\"facts\": 1", "\"facts\": 7")).unwrap();
            },
            "prepared-002.json",
        ),
        (
            |folder| {
                let path = folder.join("prepared.json");
                fs::write(&path, fs::read_to_string(&path).unwrap() + "\n").unwrap();
            },
            "prepared-001.json",
        ),
        (
            |folder| {
                fs::copy(folder.join("prepared-002.json"), folder.join("prepared-001.json")).unwrap();
            },
            "prepared-001.json",
        ),
        (
            |folder| {
                fs::copy(folder.join("prepared-001.json"), folder.join("prepared.json")).unwrap();
            },
            "prepared.json",
        ),
    ];
    for (change, refused) in changes {
        let (folder, _) = written(3);
        change(folder.path());
        let error = read(folder.path(), None).unwrap_err();
        assert!(
            matches!(&error, CacheError::ForeignPart { path, .. } if path.ends_with(refused)),
            "{error}"
        );
        assert!(!error.is_unexpected() && error.hint().is_some(), "{error}");
    }
}

#[test]
fn the_table_of_another_part_is_refused() {
    for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
        let (folder, _) = written(3);
        fs::copy(folder.path().join(table_name(from)), folder.path().join(table_name(to))).unwrap();
        let error = read(folder.path(), None).unwrap_err();
        assert!(
            matches!(&error, CacheError::WrongSize { path, .. } | CacheError::Damaged { path, .. }
                if path.ends_with(table_name(to))),
            "{error}"
        );
    }
    for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
        let (folder, _) = written(3);
        let name = folder.path().join(tokens_name(to));
        fs::copy(folder.path().join(tokens_name(from)), &name).unwrap();
        let error = match read(folder.path(), None) {
            // A file of the same size is found when the samples are read.
            Ok(corpus) => {
                let corpus = corpus.unwrap();
                corpus.check_tokens(0..corpus.len()).unwrap_err()
            }
            Err(error) => error,
        };
        assert!(
            matches!(&error, CacheError::WrongSize { path, .. } | CacheError::Damaged { path, .. }
                if *path == name),
            "{error}"
        );
    }
}

#[test]
fn other_names_in_the_folder_are_no_parts() {
    let (folder, corpus) = written(2);
    for name in [
        "prepared-1.json",
        "prepared-0002.json",
        "prepared-000.json",
        "prepared-+02.json",
        ".prepared-002.json.x.tmp",
        "prepared-002.json.bak",
    ] {
        fs::write(folder.path().join(name), b"{}").unwrap();
    }
    assert_same(&read(folder.path(), None).unwrap().unwrap(), &corpus);
    assert_eq!(described_part("prepared-1000.json"), Some(1000));
}

#[test]
fn a_damaged_table_or_description_is_found() {
    let (folder, _) = written(2);
    let (table, description) = (
        folder.path().join(table_name(1)),
        folder.path().join(description_name(1)),
    );
    let sound = fs::read(&table).unwrap();
    for bit in (0..sound.len() * 8).step_by(97) {
        let mut flipped = sound.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&table, flipped).unwrap();
        assert!(
            matches!(read(folder.path(), None), Err(CacheError::Damaged { .. })),
            "bit {bit}"
        );
    }
    fs::write(&table, &sound[..sound.len() - 1]).unwrap();
    assert!(matches!(read(folder.path(), None), Err(CacheError::WrongSize { .. })));
    fs::write(&table, &sound).unwrap();
    let tokens = folder.path().join(tokens_name(1));
    let sound = fs::read(&tokens).unwrap();
    fs::write(&tokens, &sound[..sound.len() - 4]).unwrap();
    assert!(matches!(read(folder.path(), None), Err(CacheError::WrongSize { .. })));
    fs::write(&tokens, &sound).unwrap();
    assert!(read(folder.path(), None).unwrap().is_some());
    fs::remove_file(&tokens).unwrap();
    assert!(matches!(read(folder.path(), None), Err(CacheError::Io { .. })));
    fs::write(&tokens, &sound).unwrap();
    fs::remove_file(&table).unwrap();
    assert!(matches!(read(folder.path(), None), Err(CacheError::Io { .. })));
    fs::write(&description, b"{\"format\": 1").unwrap();
    assert!(matches!(read(folder.path(), None), Err(CacheError::BadJson { .. })));
    fs::write(&description, b"{\"format\": 99}").unwrap();
    let error = read(folder.path(), None).unwrap_err();
    assert!(matches!(error, CacheError::UnsupportedVersion { found: 99, .. }));
    assert!(
        error
            .to_string()
            .ends_with("has format version 99, but this program reads versions 2 and 3"),
        "{error}"
    );
}

#[test]
fn a_flipped_bit_in_the_tokens_is_found_when_its_sample_is_read_and_by_verifying() {
    let (folder, corpus) = written(2);
    let path = folder.path().join(tokens_name(1));
    let sound = fs::read(&path).unwrap();
    let first = corpus.newest_part().samples.start;
    for bit in (0..sound.len() * 8).step_by(31) {
        let mut flipped = sound.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, flipped).unwrap();
        let read = read(folder.path(), None).unwrap().unwrap();
        let mut damaged = Vec::new();
        let mut tokens_before = 0;
        for index in 0..read.len() {
            match read.tokens(index) {
                Ok(tokens) => assert_eq!(tokens, corpus.tokens(index).unwrap()),
                Err(error) => {
                    assert!(matches!(&error, CacheError::Damaged { path: found, .. } if *found == path));
                    damaged.push(index);
                }
            }
            if index >= first {
                let end = tokens_before + read.sample(index).token_count();
                assert_eq!(
                    damaged.contains(&index),
                    (tokens_before..end).contains(&(bit / 32)),
                    "bit {bit}"
                );
                tokens_before = end;
            }
        }
        assert_eq!(damaged.len(), 1, "bit {bit}");
        let problems = verify_tokens(folder.path(), &read);
        assert!(matches!(&problems[..], [CacheError::Damaged { path: found, .. }] if *found == path));
    }
    fs::write(&path, sound).unwrap();
    let sound = read(folder.path(), None).unwrap().unwrap();
    assert!(verify_tokens(folder.path(), &sound).is_empty());
}

#[test]
fn a_description_that_names_the_files_of_another_format_is_refused() {
    let (folder, _) = written(1);
    let path = folder.path().join(description_name(0));
    let sound = fs::read_to_string(&path).unwrap();
    assert!(sound.contains("\"format\": 3"));
    fs::write(&path, sound.replace("\"format\": 3", "\"format\": 2")).unwrap();
    assert!(matches!(
        read(folder.path(), None),
        Err(CacheError::Inconsistent { .. })
    ));
    let mut stated: Value = serde_json::from_str(&sound).unwrap();
    stated.as_object_mut().unwrap().remove("tokens");
    fs::write(&path, json::to_bytes(&stated)).unwrap();
    assert!(matches!(
        read(folder.path(), None),
        Err(CacheError::Inconsistent { .. })
    ));
}
