//! `leadspan cache import`: a cache made of what another program captured, or of an export.

use std::{fmt, num::NonZeroU32, path::Path, path::PathBuf};

use leadspan_cache::{ImportSettings, Imported, Vocabulary, import};
use leadspan_diagnosis::Diagnosis;
use leadspan_files::read_regular;
use leadspan_model::TokenizerBundle;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    amounts::{bytes, grouped},
    arguments::ImportArguments,
    commands::{Ending, Showing, prepare::Waited, stopped},
    failure::{Context as _, Result},
    last_line,
    outputs::{OutputRefusal, cache_around, obstacle, without_links},
    path_text,
    progress::{Counted, ProgressMeter},
    signals,
};

/// The samples of a work unit: what an interruption loses at most.
const SAMPLES_PER_SHARD: NonZeroU32 = NonZeroU32::new(256).expect("it is not 0");

/// The most bytes of a model's `config.json`.
const MOST_BYTES: u64 = 16 << 20;

/// A file was named as the tokenizer's folder.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is a file, but `--tokenizer` takes a folder", path.display())]
struct TokenizerIsAFile {
    path: PathBuf,
}

impl Diagnosis for TokenizerIsAFile {
    fn hint(&self) -> Option<String> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        Some(format!("name the folder that it is in: `{}`", folder.display()))
    }
}

pub(super) fn run(arguments: &ImportArguments, showing: Showing) -> Result<Ending> {
    let out = &arguments.out;
    check(out)?;
    if arguments.tokenizer.is_file() {
        let path = arguments.tokenizer.clone();
        return Err(TokenizerIsAFile { path }.into());
    }
    let bundle = TokenizerBundle::from_dir(&arguments.tokenizer)
        .with_context(|| format!("could not read the tokenizer `{}`", arguments.tokenizer.display()))?;
    let of_tokenizer = tokens_of(&bundle);
    let settings = ImportSettings {
        files: &arguments.files,
        compression_config: arguments.compression_config.as_deref(),
        tokenizer_files: &bundle.files,
        tokenizer: &bundle.fingerprint,
        chat_template: bundle.chat_template.as_deref().unwrap_or_default(),
        vocabulary: Vocabulary {
            of_tokenizer,
            of_model: of_tokenizer.max(tokens_of_model(&arguments.tokenizer)),
            given: arguments.vocabulary,
        },
        precision: arguments.precision,
        samples_per_shard: SAMPLES_PER_SHARD,
    };
    let stop = signals::stop_on_signals("keeping the finished work units");
    let mut bar = None;
    let imported = import(out, &settings, &stop, &mut Waited::telling(), &mut |progress| {
        let bar = bar.get_or_insert_with(|| ProgressMeter::new(showing.progress, Counted::Samples, progress.total));
        bar.advance(progress.done, true, || "importing".to_owned());
    })
    .with_context(|| format!("could not import into `{}`", out.display()))?;
    drop(bar);
    let Some(imported) = imported else {
        return Ok(stopped(out, showing));
    };
    if imported.above_one > 0 {
        tracing::warn!(
            "the entries of {} positions summed to more than one, as rounded values may: they were scaled to one, and these \
             positions have no tail",
            grouped(imported.above_one)
        );
    }
    let made = Made {
        dir: out.clone(),
        imported,
    };
    last_line::note(json!(made));
    showing.result(&made)?;
    Ok(Ending::Done)
}

/// Refuses a folder inside another cache, or where no folder can be.
fn check(out: &Path) -> Result<(), OutputRefusal> {
    let (place, path) = (without_links(out), out.to_owned());
    if let Some(cache) = cache_around(out).filter(|cache| *cache != place) {
        return Err(OutputRefusal::InCache { path, cache });
    }
    match obstacle(&place) {
        Some(found) => Err(OutputRefusal::NotAFolder { path, found }),
        None => Ok(()),
    }
}

/// The number of a tokenizer's tokens: one more than its largest id.
pub(super) fn tokens_of(bundle: &TokenizerBundle) -> u32 {
    let vocabulary = bundle.tokenizer.get_vocab(true);
    vocabulary.values().max().map_or(1, |largest| largest.saturating_add(1))
}

/// The tokens that the `config.json` beside a tokenizer states; 0 if it states none. A model may have more than its tokenizer.
fn tokens_of_model(dir: &Path) -> u32 {
    let bytes = read_regular(&dir.join("config.json"), MOST_BYTES).unwrap_or_default();
    let config: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let stated = [&config["vocab_size"], &config["text_config"]["vocab_size"]];
    let stated = stated.into_iter().filter_map(Value::as_u64);
    stated
        .filter_map(|number| u32::try_from(number).ok())
        .max()
        .unwrap_or(0)
}

/// The result of the command.
#[derive(Serialize)]
struct Made {
    #[serde(serialize_with = "path_text::as_text")]
    dir: PathBuf,
    #[serde(flatten)]
    imported: Imported,
}

impl fmt::Display for Made {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Imported {
            samples,
            positions,
            shard_bytes,
            written,
            bounded_targets,
            ..
        } = self.imported;
        write!(
            formatter,
            "`{}` has {} positions of {} samples in {}, {} of them new; its teacher is unknown",
            self.dir.display(),
            grouped(positions),
            grouped(samples),
            bytes(shard_bytes),
            grouped(written)
        )?;
        if bounded_targets > 0 {
            write!(
                formatter,
                "\nof the probability of {} targets outside the entries only a bound is known",
                grouped(bounded_targets)
            )?;
        }
        Ok(())
    }
}
