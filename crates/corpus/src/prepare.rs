//! The whole way from files to the prepared corpus: all samples are split and put in order.

use std::path::{Path, PathBuf};

use leadspan_sequence::{Sample, Split};
use tokenizers::Tokenizer;

use crate::{
    ChatTemplate, CorpusError, DataSettings, DropReason, PrepareProgress, PrepareReport, PreparedSample, RowRules,
    SectionSettings, SystemPrompt, ValidationSize,
    copies::content,
    order::{Arranging, Place},
    reading::{HowRead, read_samples},
};

/// The order of a corpus whose samples went to a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrangement {
    /// The samples that the corpus consists of: training samples in seeded order, then held-out samples in seeded order.
    ///
    /// A sample is identified by its number: how many samples the sink took before it. A sample that was not drawn
    /// ([`DropReason::NotDrawn`](crate::DropReason::NotDrawn)) has no place.
    pub places: Vec<Place>,
    /// Counts of the rows by outcome.
    pub report: PrepareReport,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// A corpus that is ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Training samples in seeded order, then held-out samples in seeded order.
    pub samples: Vec<Sample>,
    /// The hash of each sample's content, in the same order.
    ///
    /// BLAKE3 of the id's length (8 bytes), the id, the tokens and `prompt_end`, `chain_of_thought_end`, `tokens` of the
    /// bounds (4 bytes each), and the lead span (4 bytes) if the row has one, all little-endian.
    pub row_hashes: Vec<[u8; 32]>,
    /// Counts of the rows by outcome.
    pub report: PrepareReport,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// Reads the files of `data`, relative to `base`, makes samples of their rows and hands each to `sink`, in the order of
/// the rows.
///
/// Two chunks of rows are in memory at a time. Of the samples that the sink took, only ids and bounds stay. `progress`
/// and `sink` are called on this thread, `progress` after every chunk of rows.
///
/// # Errors
///
/// The errors of `sink` and of [`prepare`].
pub fn prepare_into<E: From<CorpusError>>(
    base: &Path,
    data: &DataSettings,
    sections: &SectionSettings,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    progress: &dyn Fn(PrepareProgress),
    sink: &mut dyn FnMut(PreparedSample) -> Result<(), E>,
) -> Result<Arrangement, E> {
    check_of_a_new_corpus(data, sections, template)?;
    let mut arranging = Arranging::default();
    let how = HowRead {
        base,
        data,
        sections,
        template,
        tokenizer,
        rules: RowRules::CURRENT,
    };
    let (report, files) = read_samples(how, progress, &mut |sample| {
        arranging.add(&sample.id, sample.bounds, content(&sample.tokens));
        sink(sample)
    })?;
    Ok(arrange(
        &arranging,
        report,
        files,
        data.validation,
        data.training,
        data.seed,
    )?)
}

/// Checks that settings have an effect. Corpora that were prepared before are read and extended without this check.
fn check_of_a_new_corpus(
    data: &DataSettings,
    sections: &SectionSettings,
    template: &ChatTemplate,
) -> Result<(), CorpusError> {
    let mut arguments = sections.template_arguments.keys();
    if let Some(name) = arguments.find(|name| !template.names(name)) {
        return Err(CorpusError::TemplateArgument {
            name: name.clone(),
            problem: "which the chat template does not name",
        });
    }
    if data.system_prompt == SystemPrompt::Keep && !data.format().has_system_field() {
        return Err(CorpusError::InvalidSetting {
            key: "data.system_prompt",
            problem: "rows of this `data.format` have their system prompt in their first turn or in `data.system`, and no field \
                      for it is read",
        });
    }
    Ok(())
}

/// Reads the files of `data`, relative to `base`, and makes samples of their rows.
///
/// At the end, all samples are in memory; [`prepare_into`] does not keep them. `progress` is called on this thread
/// after every chunk of rows.
///
/// # Errors
///
/// Settings that cannot work or have no effect (a template argument that the template does not name, `data.system_prompt` for
/// rows without a field for it), files that cannot be found or read, the first malformed row unless those are skipped, an
/// id that occurs twice (also in dropped rows, but not in rows that `data.where` leaves out), a held-out count that
/// leaves nothing, or no training sample.
pub fn prepare(
    base: &Path,
    data: &DataSettings,
    sections: &SectionSettings,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    progress: &dyn Fn(PrepareProgress),
) -> Result<Prepared, CorpusError> {
    collected(|sink| prepare_into(base, data, sections, template, tokenizer, progress, sink))
}

/// Keeps the samples that `arrange` hands to its sink, and puts them in the places that it returns.
///
/// # Errors
///
/// Those of `arrange`.
pub(crate) fn collected(
    arrange: impl FnOnce(&mut dyn FnMut(PreparedSample) -> Result<(), CorpusError>) -> Result<Arrangement, CorpusError>,
) -> Result<Prepared, CorpusError> {
    let mut samples = Vec::new();
    let arrangement = arrange(&mut |sample| {
        samples.push(sample);
        Ok(())
    })?;
    Ok(arrangement.of(samples))
}

/// Splits and orders the samples of all rows. The counts of kept samples in `report` are filled in here.
///
/// # Errors
///
/// A held-out count that leaves nothing, and no training sample.
pub(crate) fn arrange(
    arranging: &Arranging,
    mut report: PrepareReport,
    files: Vec<PathBuf>,
    validation: ValidationSize,
    training: Option<usize>,
    seed: u64,
) -> Result<Arrangement, CorpusError> {
    if arranging.is_empty() {
        return Err(CorpusError::NoTrainingSamples {
            report: Box::new(report),
        });
    }
    report.duplicates = arranging.duplicates();
    let places = arranging.split(validation, seed)?;
    let samples = places.len();
    let places = drawn_and_ordered(arranging, places, training, seed, &mut report);
    report.kept_train = places.iter().filter(|place| place.split == Split::Train).count() as u64;
    report.kept_validation = places.len() as u64 - report.kept_train;
    report.validation_asked = validation.unmet(samples, report.kept_validation);
    if report.kept_train == 0 {
        return Err(CorpusError::NoTrainingSamples {
            report: Box::new(report),
        });
    }
    Ok(Arrangement { places, report, files })
}

/// Leaves out all but `most` training samples of `places`, puts the rest in order, and counts those left out in `report`.
pub(crate) fn drawn_and_ordered(
    arranging: &Arranging,
    mut places: Vec<Place>,
    most: Option<usize>,
    seed: u64,
    report: &mut PrepareReport,
) -> Vec<Place> {
    if let Some(most) = most {
        let left_out = arranging.draw_training(&mut places, most, seed);
        report.leave_out(
            DropReason::NotDrawn,
            left_out.into_iter().map(|sample| arranging.bounds(sample)),
        );
    }
    arranging.order(places, seed)
}

impl Arrangement {
    /// The corpus, given the samples in the order in which the sink took them.
    pub(crate) fn of(self, samples: Vec<PreparedSample>) -> Prepared {
        let mut samples: Vec<Option<PreparedSample>> = samples.into_iter().map(Some).collect();
        let placed = self.places.iter().map(|place| {
            let sample = samples[place.sample].take().expect("a sample has one place");
            let row_hash = sample.row_hash;
            let sample = Sample {
                id: sample.id,
                split: place.split,
                tokens: sample.tokens,
                bounds: sample.bounds,
            };
            (sample, row_hash)
        });
        let (samples, row_hashes) = placed.unzip();
        Prepared {
            samples,
            row_hashes,
            report: self.report,
            files: self.files,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
