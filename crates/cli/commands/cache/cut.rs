//! `leadspan cache cut` and `leadspan cache merge`: caches made of others, by copying.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use leadspan_cache::{Cache, CacheError, CutSettings, Following, Made};
use leadspan_diagnosis::Diagnosis;
use leadspan_sequence::SectionSet;
use serde::Serialize;
use serde_json::json;

use crate::{
    amounts::{bytes, grouped},
    arguments::{CutArguments, KeepArguments, MergeArguments},
    commands::{Ending, Showing, prepare::Waited, stopped},
    failure::{Context as _, Result},
    last_line,
    outputs::{self, OutputRefusal},
    path_text,
    progress::{Counted, ProgressMeter},
    signals,
};

/// The most bytes that a file of ids may have.
const MOST_BYTES_OF_IDS: u64 = 1 << 30;

/// A file of ids that cannot be used.
#[derive(Debug, thiserror::Error)]
enum IdsError {
    /// It cannot be read.
    #[error("could not read `{}`", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is no text.
    #[error("`{}` is not UTF-8: line {line}", path.display())]
    NotText { path: PathBuf, line: usize },
}

impl Diagnosis for IdsError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { path, source } => leadspan_files::hint(source, path),
            Self::NotText { .. } => Some("write one id on each line, in UTF-8".to_owned()),
        }
    }
}

pub(super) fn run(cache: &Cache, arguments: &CutArguments, showing: Showing) -> Result<Ending> {
    let out = &arguments.out;
    check_out(out)?;
    let settings = settings(&arguments.keep)?;
    let attempt = || format!("could not cut `{}` to `{}`", cache.dir().display(), out.display());
    followed(out, attempt, showing, |following| {
        leadspan_cache::cut(cache, out, &settings, following)
    })
}

/// What a cut keeps. Reads the file of ids.
pub(super) fn settings(keep: &KeepArguments) -> Result<CutSettings> {
    let sections = keep.sections.as_ref();
    Ok(CutSettings {
        proportion: keep.proportion,
        sections: sections.and_then(|named| SectionSet::new(named.iter().copied())),
        samples: keep.samples.as_deref().map(ids).transpose()?,
        top_k: keep.top_k,
    })
}

pub(super) fn run_merge(arguments: &MergeArguments, showing: Showing) -> Result<Ending> {
    let out = &arguments.out;
    check_out(out)?;
    let caches: Vec<Cache> = arguments
        .dirs
        .iter()
        .map(|dir| Cache::open(dir))
        .collect::<Result<_, _>>()?;
    let attempt = || format!("could not merge {} caches to `{}`", caches.len(), out.display());
    followed(out, attempt, showing, |following| {
        leadspan_cache::merge(&caches, out, following)
    })
}

/// Refuses a folder inside a cache. The folder itself may be the cache that is being made.
fn check_out(out: &Path) -> Result<()> {
    let around = outputs::without_links(out);
    match around.parent().and_then(outputs::cache_around) {
        Some(cache) => {
            let path = out.to_owned();
            Err(OutputRefusal::InCache { path, cache }.into())
        }
        None => Ok(()),
    }
}

/// The ids in a file. Empty lines are no ids.
fn ids(path: &Path) -> Result<Vec<String>, IdsError> {
    let text = leadspan_files::read_regular(path, MOST_BYTES_OF_IDS).map_err(|source| IdsError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let text = String::from_utf8(text).map_err(|error| {
        let sound = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        IdsError::NotText {
            path: path.to_owned(),
            line: sound.split(|&byte| byte == b'\n').count(),
        }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(text
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

/// Makes a cache, shows the progress and then what was made.
fn followed(
    out: &Path,
    attempt: impl FnOnce() -> String,
    showing: Showing,
    make: impl FnOnce(&mut Following<'_>) -> Result<Made, CacheError>,
) -> Result<Ending> {
    let stop: std::sync::Arc<AtomicBool> = signals::stop_on_signals("ending after the shards that are being written");
    let mut bar = None;
    let made = make(&mut Following {
        stop: &|| stop.load(Ordering::Relaxed),
        progress: &mut |progress| {
            let bar = bar.get_or_insert_with(|| ProgressMeter::new(showing.progress, Counted::Shards, progress.total));
            bar.advance(progress.done, true, || "copying".to_owned());
        },
        waiting: &mut Waited::telling(),
    })
    .with_context(attempt)?;
    drop(bar);
    last_line::note(json!({ "cache": path_text::text(out), "made": made }));
    if !made.complete {
        return Ok(stopped(out, showing));
    }
    showing.result(&Written {
        out: out.to_owned(),
        made,
    })?;
    Ok(Ending::Done)
}

/// The result of the command.
#[derive(Serialize)]
struct Written {
    #[serde(serialize_with = "path_text::as_text")]
    out: PathBuf,
    #[serde(flatten)]
    made: Made,
}

impl fmt::Display for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Made {
            samples,
            shards,
            shards_made,
            positions,
            shard_bytes,
            bytes_read,
            ..
        } = self.made;
        write!(
            formatter,
            "`{}` has {} samples and {} positions in {} shards, {}: {} shards made from {} of other shards",
            self.out.display(),
            grouped(samples),
            grouped(positions),
            grouped(shards),
            bytes(shard_bytes),
            grouped(shards_made),
            bytes(bytes_read)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn ids_are_the_lines_of_a_file_and_other_bytes_are_refused_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.txt");
        fs::write(&path, "a 1\r\n\nrows.jsonl:7\n b").unwrap();
        assert_eq!(ids(&path).unwrap(), ["a 1", "rows.jsonl:7", " b"]);
        // A byte order mark is no part of the first id.
        fs::write(&path, "\u{feff}a\nb\u{feff}").unwrap();
        assert_eq!(ids(&path).unwrap(), ["a", "b\u{feff}"]);
        fs::write(&path, b"a\nb\n\xff\n").unwrap();
        assert!(ids(&path).unwrap_err().to_string().ends_with("is not UTF-8: line 3"));
        let missing = ids(&folder.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("none"));
    }

    #[test]
    fn a_cache_is_made_in_no_other_cache() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        fs::create_dir_all(cache.join("corpus")).unwrap();
        fs::write(cache.join("identity.json"), b"{}").unwrap();
        check_out(&cache).unwrap();
        assert!(check_out(&cache.join("half")).is_err());
        check_out(&folder.path().join("half")).unwrap();
    }
}
