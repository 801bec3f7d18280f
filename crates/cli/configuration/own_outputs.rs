//! Checks that patterns of files to read match no file that leadspan itself wrote: a second run would learn from the results of the
//! first.

use std::path::{Path, PathBuf};

use leadspan_corpus::matching_files;

use crate::{configuration_error::ConfigurationError, outputs::without_links, tables::Tables};

/// Checks the patterns of `data.files` and `replay.files`.
///
/// # Errors
///
/// The first pattern with a file in a folder that a command writes.
pub(super) fn check_rows(base: &Path, tables: &Tables) -> Result<(), ConfigurationError> {
    if let Some(data) = &tables.data {
        check("data.files", &data.files, base, tables)?;
    }
    check("replay.files", tables.replay.sources().0, base, tables)
}

/// Checks the patterns of `evaluate.files`.
///
/// # Errors
///
/// As [`check_rows`].
pub(super) fn check_problems(base: &Path, tables: &Tables) -> Result<(), ConfigurationError> {
    match &tables.evaluate {
        Some(evaluate) => check("evaluate.files", &evaluate.files, base, tables),
        None => Ok(()),
    }
}

/// Checks patterns. A pattern that names the folder itself, or one inside it, means the files there.
fn check(key: &'static str, patterns: &[String], base: &Path, tables: &Tables) -> Result<(), ConfigurationError> {
    let written: Vec<(&'static str, &Path, PathBuf)> = written(tables)
        .into_iter()
        .map(|(key, dir)| (key, dir, without_links(&base.join(dir))))
        .collect();
    for pattern in patterns {
        let start = without_links(&base.join(literal_part(pattern)));
        let outputs: Vec<_> = written
            .iter()
            .filter(|(_, _, place)| place.starts_with(&start) && *place != start)
            .collect();
        if outputs.is_empty() {
            continue;
        }
        // What is wrong with the pattern itself is said when it is read.
        let files = matching_files(base, std::slice::from_ref(pattern)).unwrap_or_default();
        for file in files {
            let place = without_links(&file);
            if let Some((output_key, output, _)) = outputs.iter().find(|(_, _, output)| place.starts_with(output)) {
                return Err(ConfigurationError::OwnOutput {
                    input_key: key,
                    pattern: pattern.clone(),
                    file: file.strip_prefix(base).unwrap_or(&file).to_owned(),
                    output_key,
                    output: output.to_path_buf(),
                });
            }
        }
    }
    Ok(())
}

/// The folders that commands write, with their keys.
fn written(tables: &Tables) -> Vec<(&'static str, &Path)> {
    let cache = tables.cache.iter().map(|cache| ("cache.dir", cache.dir.as_path()));
    let train = tables.train.iter().map(|train| ("train.dir", train.dir.as_path()));
    let sweep = tables.sweep.iter().map(|sweep| ("sweep.dir", sweep.own.dir.as_path()));
    let evaluate = tables.evaluate.iter().filter_map(|evaluate| evaluate.dir.as_deref());
    let evaluate = evaluate.map(|dir| ("evaluate.dir", dir));
    cache.chain(train).chain(sweep).chain(evaluate).collect()
}

/// The folders of a pattern before the first that has special characters.
fn literal_part(pattern: &str) -> PathBuf {
    let parts = Path::new(pattern).components();
    let is_literal = |part: &std::path::Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    parts.take_while(is_literal).collect()
}

#[cfg(test)]
mod tests {
    use leadspan_diagnosis::Diagnosis as _;

    use crate::configuration::Configuration;

    const PIPELINE: &str = r#"
        [teacher]
        model = "teacher"
        [data]
        files = ["**/*.jsonl"]
        [cache]
        dir = "cache"
        [train]
        dir = "runs/half"
        [evaluate]
        files = ["*/*.jsonl"]
        dir = "answers"
    "#;

    #[test]
    fn a_pattern_does_not_read_what_leadspan_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        let file = folder.path().join("pipeline.toml");
        let parse = |text: &str| Configuration::parse(&file, text, &[]);
        let rows = |text: &str| parse(text)?.stage_one(None).map(drop);
        let problems = |text: &str| parse(text)?.evaluation(None).map(drop);
        write("data/rows.jsonl");
        rows(PIPELINE).unwrap();
        problems(PIPELINE).unwrap();

        write("runs/half/metrics.jsonl");
        let error = rows(PIPELINE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`data.files` (`**/*.jsonl`) matches `runs/half/metrics.jsonl`, which is in `train.dir` (`runs/half`)"
        );
        assert!(error.hint().unwrap().contains("`data.files`"));
        // The pattern of the problems does not reach so deep.
        problems(PIPELINE).unwrap();
        write("answers/answers.jsonl");
        let error = problems(PIPELINE).unwrap_err().to_string();
        assert!(
            error.contains("matches `answers/answers.jsonl`, which is in `evaluate.dir`"),
            "{error}"
        );
        // Files that are named closely are read.
        rows(&PIPELINE.replace("**/*", "data/*")).unwrap();
        let replayed = format!(
            "{}[replay]\nfiles = [\"*/*.jsonl\"]\n",
            PIPELINE.replace("**/*", "data/*")
        );
        assert!(rows(&replayed).unwrap_err().to_string().starts_with("`replay.files`"));
    }
}
