//! The prepared corpus in the cache: found and checked, made, or extended by the samples of appended rows.

mod elsewhere;
mod find;
mod make;
mod preparation;
mod preview;
mod row_spool;

use leadspan_cache::{Cache, PreparedCorpus};
use leadspan_corpus::PrepareReport;
use leadspan_model::{ModelSource, TokenizerBundle};

use crate::{Event, Origin, Pipeline, PrecomputeError, TextPipeline, stamp::Maker, teacher::TeacherSource};

pub use self::elsewhere::difference_from;
pub(crate) use self::{preparation::Preparation, preview::Preview};

/// A cache that holds its prepared corpus.
#[derive(Clone, Debug)]
pub struct PreparedCache {
    /// The cache.
    pub cache: Cache,
    /// Its corpus.
    pub corpus: PreparedCorpus,
    /// What became of the rows.
    pub report: PrepareReport,
    /// How the corpus came into the cache.
    pub origin: Origin,
}

/// Makes the cache and its prepared corpus, or finds them and checks that they are what the pipeline asks for.
///
/// If the files of the data have changed since, their rows must still give every sample of the corpus as it is; the samples
/// of appended rows go behind them, all for training. Processes that prepare the same cache at the same time wait for each
/// other, and one of them does the work.
///
/// Tokens go through a temporary file in the cache's folder, so memory holds the ids and bounds of all samples, but only a
/// bounded number of rows.
///
/// # Errors
///
/// Fails if the model, its chat template or the data cannot be used, if the cache was made with others, if a row was changed
/// or removed since, and if the cache cannot be written to. A failed call removes a cache that it made, and leaves one that
/// it found as it was.
pub fn prepare(pipeline: &Pipeline, events: &mut dyn FnMut(Event)) -> Result<PreparedCache, PrecomputeError> {
    let source = TeacherSource::open(pipeline)?;
    source.reach_server(&mut |wait| events(Event::WaitingForServer(wait)))?;
    Preparation::new(pipeline, &source)?.prepare(Maker::Prepare, events)
}

/// Like [`prepare`], for a cache without a teacher: the model only provides its tokenizer and chat template.
///
/// # Errors
///
/// Those of [`prepare`].
pub fn prepare_text(pipeline: &TextPipeline, events: &mut dyn FnMut(Event)) -> Result<PreparedCache, PrecomputeError> {
    let path = pipeline.base.join(&pipeline.tokenizer);
    // A folder with a tokenizer alone is no model, and does not know a context length. Nor is one with the configuration of a model
    // that only a server runs.
    let bare = path.is_dir() && (pipeline.is_served || !path.join("config.json").is_file());
    let source = if bare { None } else { Some(ModelSource::open(&path)?) };
    let tokenizer = || match &source {
        Some(source) => source.tokenizer(),
        None => TokenizerBundle::from_dir(&path),
    };
    Preparation::of_text(pipeline, path.clone(), source.as_ref(), tokenizer)?.prepare(Maker::Prepare, events)
}
