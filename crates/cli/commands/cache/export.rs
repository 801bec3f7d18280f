//! `leadspan cache export`: the stored positions for other programs, as a Parquet file or as a folder of them.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use leadspan_cache::{
    Cache, Exported, FileLimits, FolderSettings, Progress, export_dataset, export_distillkit, foreign_to_export,
    is_export,
};
use leadspan_model::TokenizerBundle;
use serde::Serialize;
use serde_json::json;

use super::{audited, import::tokens_of};
use crate::{
    amounts::{bytes, grouped},
    arguments::{ExportArguments, ExportFormat},
    commands::{Ending, Showing, missing},
    failure::{Context as _, Result},
    last_line,
    outputs::{self, OutputRefusal, cache_around, obstacle, without_links},
    path_text,
    progress::{Counted, ProgressMeter},
};

/// The most rows of a file, and about the most MiB, unless the user says otherwise.
const FILE_ROWS: u64 = 1_000_000;
const FILE_MIB: u64 = 256;

pub(super) fn run(cache: &Cache, export: &ExportArguments, showing: Showing) -> Result<Ending> {
    let out = &export.out;
    match export.format {
        ExportFormat::File => check_file(export)?,
        ExportFormat::Dataset | ExportFormat::Distillkit => check_folder(out, export.overwrite)?,
    }
    let mut bar = None;
    let mut progress = |progress: Progress| {
        let bar = bar.get_or_insert_with(|| ProgressMeter::new(showing.progress, Counted::Samples, progress.total));
        bar.advance(progress.done, true, || "exporting".to_owned());
    };
    let attempt = || format!("could not export `{}` to `{}`", cache.dir().display(), out.display());
    let exported = match export.format {
        ExportFormat::File => {
            let missing = missing(export.allow_incomplete);
            leadspan_cache::export(cache, out, export.proportion, missing, &mut progress).with_context(attempt)
        }
        ExportFormat::Dataset => {
            export_dataset(cache, out, &settings(cache, export)?, &mut progress).with_context(attempt)
        }
        ExportFormat::Distillkit => {
            let vocabulary = if let Some(vocabulary) = export.of_folder.vocabulary {
                vocabulary
            } else {
                let files = cache.tokenizer_contents()?;
                let tokens = tokens_of(&TokenizerBundle::from_files(&cache.tokenizer_dir(), files)?);
                // A teacher may have more tokens than its tokenizer, and these take no more bits.
                tokens.checked_next_power_of_two().unwrap_or(tokens)
            };
            export_distillkit(cache, out, &settings(cache, export)?, vocabulary, &mut progress).with_context(attempt)
        }
    }?;
    drop(bar);
    let written = Written {
        out: out.clone(),
        exported,
    };
    last_line::note(json!(written));
    showing.result(&written)?;
    Ok(Ending::Done)
}

fn settings(cache: &Cache, export: &ExportArguments) -> Result<FolderSettings> {
    let of_folder = &export.of_folder;
    let fidelity = of_folder
        .audit
        .as_deref()
        .map(|path| audited::figures(path, cache))
        .transpose()?;
    Ok(FolderSettings {
        proportion: export.proportion,
        missing: missing(export.allow_incomplete),
        limits: FileLimits {
            rows: of_folder.file_rows.unwrap_or(FILE_ROWS),
            bytes: of_folder.file_mib.unwrap_or(FILE_MIB) << 20,
        },
        license: of_folder.license.clone(),
        fidelity,
        overwrite: export.overwrite,
    })
}

/// Checks that the one file may be written.
fn check_file(export: &ExportArguments) -> Result<()> {
    let (out, of_folder) = (&export.out, &export.of_folder);
    let given = [
        ("--file-rows", of_folder.file_rows.is_some()),
        ("--file-mib", of_folder.file_mib.is_some()),
        ("--license", of_folder.license.is_some()),
        ("--audit", of_folder.audit.is_some()),
        ("--vocabulary", of_folder.vocabulary.is_some()),
    ];
    if let Some((flag, _)) = given.into_iter().find(|(_, given)| *given) {
        return Err(OutputRefusal::NoFolderAsked { flag }.into());
    }
    let inputs: Vec<&Path> = export.folder.config.as_deref().into_iter().collect();
    outputs::check_file(out, export.overwrite, &inputs)?;
    if !out.exists() {
        outputs::require_parquet(out)?;
    } else if !is_export(out).with_context(|| "could not see whether it may be replaced".to_owned())? {
        let path = out.clone();
        return Err(OutputRefusal::Foreign { path }.into());
    }
    Ok(())
}

/// Checks that a folder may be made at `out`: it is not inside a cache, and nothing is there, or nothing but an earlier export
/// that may be replaced.
fn check_folder(out: &Path, overwrite: bool) -> Result<()> {
    let path = out.to_owned();
    if let Some(cache) = cache_around(out) {
        return Err(OutputRefusal::InCache { path, cache }.into());
    }
    if out.is_symlink() {
        let found = "a symbolic link".to_owned();
        return Err(OutputRefusal::NotAFolder { path, found }.into());
    }
    if let Some(found) = obstacle(&without_links(out)) {
        return Err(OutputRefusal::NotAFolder { path, found }.into());
    }
    let is_empty = |folder: &Path| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if !out.exists() {
        return Ok(outputs::require_folder_of(out)?);
    }
    if is_empty(out) {
        return Ok(());
    }
    if !overwrite {
        return Err(OutputRefusal::Exists { path }.into());
    }
    match foreign_to_export(out).with_context(|| "could not see whether it may be replaced".to_owned())? {
        None => Ok(()),
        Some(found) if found == *out => Err(OutputRefusal::Foreign { path }.into()),
        Some(found) => Err(OutputRefusal::HasForeign { path, found }.into()),
    }
}

/// The result of the command.
#[derive(Serialize)]
struct Written {
    #[serde(serialize_with = "path_text::as_text")]
    out: PathBuf,
    #[serde(flatten)]
    exported: Exported,
}

impl fmt::Display for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "wrote {} positions of {} samples to `{}`, {}",
            grouped(self.exported.rows),
            grouped(self.exported.samples),
            self.out.display(),
            bytes(self.exported.bytes)
        )?;
        if self.exported.files > 1 {
            write!(formatter, " in {} files", self.exported.files)?;
        }
        Ok(())
    }
}
