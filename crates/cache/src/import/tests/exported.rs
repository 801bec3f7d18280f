//! Folders of exports.

use std::fs;

use leadspan_diagnosis::Diagnosis as _;
use leadspan_sequence::{LeadSpanProportion, Section, SectionSet};

use super::*;
use crate::{export_dataset, export_distillkit, foreign_to_export};

#[test]
fn an_export_is_imported_as_it_was_captured() {
    for (proportion, sections) in [
        ("1.0", SectionSet::ALL),
        ("0.5", SectionSet::ALL),
        (
            "0.7",
            SectionSet::new([Section::ChainOfThought, Section::Answer]).unwrap(),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let asked = synthetic::coverage(proportion, sections);
        let cache = captured(&at("cache"), asked);
        let exported = export_dataset(&cache, &at("export"), &folder_settings(), &mut |_| {}).unwrap();
        assert_eq!(foreign_to_export(&at("export")).unwrap(), None);
        assert!(exported.files >= 4, "{exported:?}");
        let result = imported(&at("again"), &[at("export")]).unwrap().unwrap();
        assert_eq!(
            (result.positions, result.samples, result.bounded_targets),
            (exported.rows, 14, 0)
        );
        let again = Cache::open(&at("again")).unwrap();
        assert_eq!(spans(&again, asked), spans(&cache, asked));
        let corpora = [&cache, &again].map(|cache| synthetic::samples_of(&cache.require_corpus().unwrap()));
        assert_eq!(corpora[0], corpora[1]);
        assert!(crate::verify(&again, &mut |_| {}).unwrap().problems.is_empty());
        // Nothing takes it for a capture.
        let error = Cache::create_or_open(&at("again"), cache.identity(), &[]).unwrap_err();
        assert!(
            matches!(error, CacheError::Imported { .. }) && error.hint().is_some(),
            "{error}"
        );
        // An export of the import is that of the cache.
        export_dataset(&again, &at("second"), &folder_settings(), &mut |_| {}).unwrap();
        for name in [
            "data/train-00000-of-00003.parquet",
            "samples/validation-00000-of-00001.parquet",
        ] {
            if at("export").join(name).exists() {
                assert_eq!(
                    fs::read(at("export").join(name)).unwrap(),
                    fs::read(at("second").join(name)).unwrap()
                );
            }
        }
    }
}

#[test]
fn files_are_bounded_and_the_description_names_their_splits() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("export");
    let cache = captured(
        &folder.path().join("cache"),
        synthetic::coverage("1.0", SectionSet::ALL),
    );
    let exported = export_dataset(&cache, &out, &folder_settings(), &mut |_| {}).unwrap();
    let (list, _) = ExportList::read(&out).unwrap().unwrap();
    assert_eq!(list.files.len() as u64, exported.files);
    let rows = list
        .files
        .iter()
        .filter(|file| file.folder == "data")
        .map(|file| file.rows);
    assert!(rows.clone().all(|rows| rows <= 100) && rows.sum::<u64>() == exported.rows);
    assert_eq!(list.files.iter().map(|file| file.bytes).sum::<u64>(), exported.bytes);
    let readme = fs::read_to_string(out.join("README.md")).unwrap();
    let configs = "configs:\n- config_name: positions\n  data_files:\n  - split: train\n    path: data/train-*\n  \
                   - split: validation\n    path: data/validation-*\n  default: true\n- config_name: samples\n";
    assert!(readme.contains(configs), "{readme}");
    // An export is replaced whole, and only if that is asked for.
    fs::write(out.join("note"), b"mine").unwrap();
    assert_eq!(foreign_to_export(&out).unwrap(), Some(out.join("note")));
    fs::rename(out.join("note"), out.join("data/note")).unwrap();
    assert_eq!(foreign_to_export(&out).unwrap(), Some(out.join("data/note")));
    fs::remove_file(out.join("data/note")).unwrap();
    assert_eq!(
        foreign_to_export(folder.path()).unwrap().as_deref(),
        Some(folder.path())
    );
    let half = FolderSettings {
        proportion: Some("0.5".parse::<LeadSpanProportion>().unwrap()),
        overwrite: true,
        ..folder_settings()
    };
    let replaced = export_dataset(&cache, &out, &half, &mut |_| {}).unwrap();
    let (list, _) = ExportList::read(&out).unwrap().unwrap();
    assert!(list.rows == replaced.rows && replaced.rows < exported.rows);
    let refused = FolderSettings {
        overwrite: false,
        ..half
    };
    assert!(export_dataset(&cache, &out, &refused, &mut |_| {}).is_err());
    assert_eq!(ExportList::read(&out).unwrap().unwrap().0, list);
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "nothing else is left: {names:?}");
}

#[test]
fn rows_for_distillkit_are_lossless_but_for_the_tails() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let cache = captured(&at("cache"), synthetic::coverage("1.0", SectionSet::ALL));
    export_distillkit(&cache, &at("export"), &folder_settings(), VOCABULARY, &mut |_| {}).unwrap();
    let result = imported(&at("again"), &[at("export")]).unwrap().unwrap();
    assert_eq!(result.bounded_targets, 0);
    let again = spans(&Cache::open(&at("again")).unwrap(), Coverage::whole_answers());
    // A sample of one token has no row.
    let mut before = spans(&cache, synthetic::coverage("1.0", SectionSet::ALL));
    before.retain(|span| !span.positions.is_empty());
    assert_eq!(before.len(), again.len());
    for (before, again) in before.iter().zip(&again) {
        assert_eq!((&before.tokens, &before.positions), (&again.tokens, &again.positions));
        for (before, again) in before.distributions.iter().zip(again.distributions.iter()) {
            assert_eq!((before.token_ids, before.logprobs), (again.token_ids, again.logprobs));
            assert_eq!(before.target_logprob, again.target_logprob);
            assert!((before.tail_logprob - again.tail_logprob).abs() < 1e-5);
        }
    }
    let small = export_distillkit(&cache, &at("small"), &folder_settings(), 10, &mut |_| {}).unwrap_err();
    assert!(small.to_string().contains("not in a vocabulary of 10"), "{small}");
    let answers = SectionSet::new([Section::Answer]).unwrap();
    let cache = captured(&at("answers"), synthetic::coverage("1.0", answers));
    let error = export_distillkit(&cache, &at("small"), &folder_settings(), VOCABULARY, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("sections `answer` alone"), "{error}");
    assert!(!at("small").exists());
}

#[test]
fn a_stopped_import_continues_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let cache = captured(&at("cache"), synthetic::coverage("1.0", SectionSet::ALL));
    export_dataset(&cache, &at("export"), &folder_settings(), &mut |_| {}).unwrap();
    let files = [at("export")];
    imported(&at("whole"), &files).unwrap().unwrap();
    let stop = AtomicBool::new(false);
    let mut seen = 0;
    let stopped = import(
        &at("parts"),
        &settings(&files, &[]),
        &stop,
        &mut |_| {},
        &mut |progress| {
            seen = progress.done;
            stop.store(progress.done == 7, Ordering::Relaxed);
        },
    );
    assert!(stopped.unwrap().is_none() && seen == 7);
    let rest = imported(&at("parts"), &files).unwrap().unwrap();
    assert!(rest.written < rest.positions);
    let manifests = ["whole", "parts"].map(|name| {
        let layer = Cache::open(&at(name)).unwrap().layers().unwrap().remove(0);
        layer.manifest().unwrap().unwrap()
    });
    assert_eq!(manifests[0], manifests[1]);
    // Files of another import do not go into the same cache.
    fs::remove_dir_all(at("export")).unwrap();
    let half = FolderSettings {
        proportion: Some("0.5".parse().unwrap()),
        ..folder_settings()
    };
    export_dataset(&cache, &at("export"), &half, &mut |_| {}).unwrap();
    let error = imported(&at("parts"), &files).unwrap_err();
    assert!(
        error.to_string().contains("was imported") && error.hint().unwrap().contains("another folder"),
        "{error}"
    );
}

#[test]
fn an_export_with_another_file_tokenizer_or_hole_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let cache = captured(&at("cache"), synthetic::coverage("1.0", SectionSet::ALL));
    export_dataset(&cache, &at("export"), &folder_settings(), &mut |_| {}).unwrap();
    let files = [at("export")];
    let refused = |said: &str| {
        let error = imported(&at("again"), &files).unwrap_err();
        assert!(error.to_string().contains(said) && error.hint().is_some(), "{error}");
        assert!(!error.is_unexpected() && !at("again").exists());
    };
    let other = ImportSettings {
        tokenizer: "other",
        ..settings(&files, &[])
    };
    let error = import(&at("again"), &other, &AtomicBool::new(false), &mut |_| {}, &mut |_| {}).unwrap_err();
    assert!(matches!(error, ImportError::OtherTokenizer { .. }), "{error}");
    let data = at("export").join("data/validation-00000-of-00001.parquet");
    let sound = fs::read(&data).unwrap();
    fs::write(&data, &sound[..sound.len() - 1]).unwrap();
    refused("its contents have another hash");
    fs::remove_file(&data).unwrap();
    refused("it is missing");
    fs::write(&data, sound).unwrap();
    let list = at("export").join(ExportList::NAME);
    let text = fs::read_to_string(&list).unwrap();
    fs::write(
        &list,
        text.replace("data/validation-00000", "data/../../validation-00000"),
    )
    .unwrap();
    refused("is no file of an export");
    fs::write(&list, text.replace("\"complete\": true", "\"complete\": false")).unwrap();
    refused("incomplete cache");
    fs::write(&list, text).unwrap();
    imported(&at("again"), &files).unwrap().unwrap();
}

#[test]
fn what_a_killed_export_left_is_removed_by_the_next_one_to_the_same_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let cache = captured(&at("cache"), synthetic::coverage("1.0", SectionSet::ALL));
    let left = |name: &str, inside: &str| {
        fs::create_dir_all(at(name).join(inside)).unwrap();
        fs::write(at(name).join("lock"), b"").unwrap();
        fs::File::options().write(true).open(at(name).join("lock")).unwrap()
    };
    drop(left(".out.export-Ab12cd", "export/data"));
    // It was killed while it replaced an earlier export, which is nowhere else.
    drop(left(".out.export-Re12pl", "replaced"));
    fs::create_dir(at(".out.export-000000")).unwrap();
    let live = left(".out.export-Ef34gh", "export");
    assert_eq!(
        leadspan_files::try_lock(&live).unwrap(),
        leadspan_files::Locking::Locked
    );
    // Folders of other names are not its own.
    drop(left(".other.export-Ab12cd", "export"));
    drop(left(".out.export-mine", "export"));
    let export = |overwrite| {
        let settings = FolderSettings {
            overwrite,
            ..folder_settings()
        };
        export_dataset(&cache, &at("out"), &settings, &mut |_| {}).unwrap();
        let names = fs::read_dir(folder.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with('.')).collect();
        names.sort();
        names
    };
    let others = [".other.export-Ab12cd", ".out.export-mine"];
    let [other, mine] = others;
    assert_eq!(export(false), [other, ".out.export-Ef34gh", ".out.export-Re12pl", mine]);
    drop(live);
    assert_eq!(export(true), others);
}
