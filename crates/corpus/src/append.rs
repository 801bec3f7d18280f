//! Finds the samples of rows that were appended since a corpus was prepared.
//!
//! All rows are read and made into samples again, and compared with the corpus by id and row hash. The data must still
//! give every sample of the corpus, unchanged, because its distributions are already captured in that order. Every
//! other sample counts as appended. This includes a row that was dropped before, was changed since, and is kept now. An appended
//! copy of a held-out sample is dropped, because all appended samples are for training.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use leadspan_sequence::{Sample, Split};
use tokenizers::Tokenizer;

use crate::{
    Arrangement, ChatTemplate, CorpusError, DataSettings, DropReason, PrepareProgress, PrepareReport, Prepared,
    PreparedSample, RowRules, SectionSettings,
    copies::content,
    order::Arranging,
    prepare::{collected, drawn_and_ordered},
    reading::{HowRead, read_samples},
};

/// A sample that a prepared corpus already has.
#[derive(Clone, Copy, Debug)]
pub struct KnownSample<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its split.
    pub split: Split,
    /// The hash of its content; see [`Prepared::row_hashes`](crate::Prepared::row_hashes).
    pub row_hash: &'a [u8; 32],
}

/// The samples that a prepared corpus already has, and how they were made.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The samples, in the order of the corpus.
    pub samples: &'a [KnownSample<'a>],
    /// The rules by which their rows became conversations.
    pub rules: RowRules,
}

/// The samples to add at the end of a prepared corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The new samples, in seeded order. All of them are training samples: the held-out samples stay the same, so that
    /// held-out losses remain comparable.
    pub samples: Vec<Sample>,
    /// The hash of each sample's content, in the same order.
    pub row_hashes: Vec<[u8; 32]>,
    /// Counts of all rows, including those of known samples.
    pub report: PrepareReport,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// Reads the files of `data`, relative to `base`, and hands the samples of rows that are not `known` to `sink`, in the
/// order of the rows.
///
/// Settings, template and tokenizer must be those with which it
/// was prepared. If the corpus has as many training samples as `data.training` allows, no sample gets a place.
/// `progress` and `sink` are called on this thread, `progress` after every chunk of rows.
///
/// All samples of the arrangement are training samples. Its report counts the known samples as well.
///
/// # Errors
///
/// [`CorpusError::ChangedSamples`] and [`CorpusError::RemovedSamples`] if the rows do not give every known sample
/// unchanged; the errors of `sink`; the errors of [`prepare`](crate::prepare()) that concern settings, files and single
/// rows.
#[expect(clippy::too_many_arguments, reason = "those of `prepare_into`, and what is known")]
pub fn append_into<E: From<CorpusError>>(
    base: &Path,
    data: &DataSettings,
    sections: &SectionSettings,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    known: Known<'_>,
    progress: &dyn Fn(PrepareProgress),
    sink: &mut dyn FnMut(PreparedSample) -> Result<(), E>,
) -> Result<Arrangement, E> {
    let Known { samples: known, rules } = known;
    let numbers: HashMap<&str, usize> = known.iter().enumerate().map(|(number, one)| (one.id, number)).collect();
    // Whether each known sample is unchanged; `None` until its row is read.
    let mut same: Vec<Option<bool>> = vec![None; known.len()];
    let mut arranging = Arranging::default();
    let (mut contents, mut held_out, mut duplicates) = (HashSet::new(), HashSet::new(), 0);
    let mut take = |sample: PreparedSample| {
        let content = content(&sample.tokens);
        duplicates += u64::from(!contents.insert(content));
        let Some(&number) = numbers.get(sample.id.as_str()) else {
            arranging.add(&sample.id, sample.bounds, content);
            return sink(sample);
        };
        same[number] = Some(sample.row_hash == *known[number].row_hash);
        if known[number].split == Split::Validation {
            held_out.insert(content);
        }
        Ok(())
    };
    let how = HowRead {
        base,
        data,
        sections,
        template,
        tokenizer,
        rules,
    };
    let (mut report, files) = read_samples(how, progress, &mut take)?;
    report.duplicates = duplicates;
    let first_of = |state: Option<bool>| {
        let mut those = same.iter().zip(known).filter(|&(found, _)| *found == state);
        let id = those.next().map(|(_, one)| one.id.to_owned())?;
        Some((id, those.count() as u64))
    };
    if let Some((id, others)) = first_of(Some(false)) {
        return Err(CorpusError::ChangedSamples { id, others }.into());
    }
    if let Some((id, others)) = first_of(None) {
        return Err(CorpusError::RemovedSamples { id, others }.into());
    }
    let known_train = known.iter().filter(|one| one.split == Split::Train).count();
    report.kept_validation = (known.len() - known_train) as u64;
    let most = data.training.map(|most| most.saturating_sub(known_train));
    let is_copy = |sample: usize| held_out.contains(&arranging.content(sample));
    let (copies, new): (Vec<_>, Vec<_>) = arranging
        .all_for_training()
        .into_iter()
        .partition(|place| is_copy(place.sample));
    let bounds = copies.iter().map(|place| arranging.bounds(place.sample));
    report.leave_out(DropReason::CopyOfHeldOut, bounds);
    let places = drawn_and_ordered(&arranging, new, most, data.seed, &mut report);
    report.kept_train = (known_train + places.len()) as u64;
    Ok(Arrangement { places, report, files })
}

/// Reads the files of `data`, relative to `base`, and makes samples of the rows whose samples are not `known`.
///
/// At the end, all new samples are in memory; [`append_into`] takes the same arguments and does not keep them.
///
/// # Errors
///
/// Those of [`append_into`].
pub fn append(
    base: &Path,
    data: &DataSettings,
    sections: &SectionSettings,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    known: Known<'_>,
    progress: &dyn Fn(PrepareProgress),
) -> Result<Appended, CorpusError> {
    let Prepared {
        samples,
        row_hashes,
        report,
        files,
    } = collected(|sink| append_into(base, data, sections, template, tokenizer, known, progress, sink))?;
    Ok(Appended {
        samples,
        row_hashes,
        report,
        files,
    })
}

#[cfg(test)]
pub(crate) mod tests;
