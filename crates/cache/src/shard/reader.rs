//! Reading samples with their distributions, at any proportion and set of sections that the layers together hold.

use std::sync::atomic::{AtomicU64, Ordering};

use leadspan_distribution::Distributions;
use leadspan_sequence::{SectionSet, positions_of_kept};

use super::{heads::Heads, layer_reader::LayerReader};
use crate::{
    Cache, CacheError, Coverage, Layer, LayerDir, Missing, PreparedCorpus, SampleRef, WorkUnit,
    layers::{Choice, choose, reach},
};

/// A cache opened for reading. Its shards are mapped when they are first needed.
///
/// It is `Send + Sync`: several threads may read samples at the same time.
#[derive(Debug)]
pub struct Reader {
    corpus: PreparedCorpus,
    asked: Coverage,
    layers: Vec<LayerReader>,
    /// For each work unit, whether all layers have its shard.
    present: Vec<bool>,
    heads: Heads,
    block_bytes_read: AtomicU64,
}

/// One sample as it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The kept tokens: the lead span of a training sample, all of a validation sample.
    pub tokens: Vec<u32>,
    /// The supervised positions, ascending; position i predicts `tokens[i + 1]`.
    pub positions: Vec<u32>,
    /// The teacher's distribution at each position; empty if the reader has [no distributions](Reader::open_corpus).
    pub distributions: Distributions,
}

/// The number of bytes of shards that a [`Reader`] has read, without footers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BytesRead {
    /// Heads of row groups. The samples of a row group share its head; a head that is read again counts again.
    pub heads: u64,
    /// Blocks.
    pub blocks: u64,
}

impl Reader {
    /// Opens the layers that hold `asked`.
    ///
    /// Lists the folders of the layers but opens no shard. Shards are checked when they are first read.
    ///
    /// # Errors
    ///
    /// [`CacheError::NothingCaptured`], [`CacheError::SectionsNotCaptured`] or [`CacheError::ProportionNotCaptured`] if
    /// the layers do not hold it; [`CacheError::IncompleteLayer`] if `missing` refuses missing units and there are
    /// some.
    pub fn open(cache: &Cache, asked: Coverage, missing: Missing) -> Result<Self, CacheError> {
        let corpus = cache.require_corpus()?;
        let Choice { layers, missing_units } = choose(cache, &asked, missing)?;
        let mut present = vec![true; corpus.units().len()];
        for unit in missing_units {
            if let Some(number) = corpus.unit_of(unit.samples.start as u32) {
                present[number] = false;
            }
        }
        let layers = layers
            .into_iter()
            .enumerate()
            .map(|(number, (dir, wanted))| LayerReader::new(number, dir, wanted))
            .collect();
        Ok(Self {
            corpus,
            asked,
            layers,
            present,
            heads: Heads::default(),
            block_bytes_read: AtomicU64::new(0),
        })
    }

    /// Opens only the prepared corpus. Spans then have no distributions, and any proportion and sections can be read,
    /// whether they were captured or not.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrepared`] if there is no prepared corpus, or the error of a corpus that cannot be read.
    pub fn open_corpus(cache: &Cache, asked: Coverage) -> Result<Self, CacheError> {
        let corpus = cache.require_corpus()?;
        Ok(Self {
            present: vec![true; corpus.units().len()],
            corpus,
            asked,
            layers: Vec::new(),
            heads: Heads::default(),
            block_bytes_read: AtomicU64::new(0),
        })
    }

    /// Opens the largest proportion that the cache holds of any section, with all sections that reach it. Layers with
    /// missing units count if `missing` allows them.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_largest(cache: &Cache, missing: Missing) -> Result<Self, CacheError> {
        let mut usable = Vec::new();
        for dir in cache.layers()? {
            if missing == Missing::Allowed || dir.missing_units()?.is_empty() {
                usable.push(dir);
            }
        }
        let reaches: Vec<_> = SectionSet::ALL
            .iter()
            .filter_map(|section| Some((section, reach(usable.iter().map(LayerDir::layer), section)?)))
            .collect();
        let largest = reaches.iter().map(|&(_, proportion)| proportion).max();
        let asked = largest.and_then(|proportion| {
            let reaching = reaches.iter().filter(|(_, reached)| *reached == proportion);
            let sections = SectionSet::new(reaching.map(|&(section, _)| section))?;
            Some(Coverage { proportion, sections })
        });
        if let Some(asked) = asked {
            return Self::open(cache, asked, missing);
        }
        match cache.layers()?.first() {
            Some(dir) => Err(dir.incomplete(&dir.missing_units()?)),
            None => Err(CacheError::NothingCaptured {
                path: cache.dir().to_owned(),
            }),
        }
    }

    /// The prepared corpus.
    pub fn corpus(&self) -> &PreparedCorpus {
        &self.corpus
    }

    /// The proportion and the sections that are read.
    pub fn coverage(&self) -> &Coverage {
        &self.asked
    }

    /// Whether spans have distributions.
    pub fn has_distributions(&self) -> bool {
        !self.layers.is_empty()
    }

    /// The layers that are read from.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = &Layer> {
        self.layers.iter().map(LayerReader::layer)
    }

    /// The work units that have not been captured. Their samples read as if they had no positions.
    pub fn missing_units(&self) -> impl Iterator<Item = &WorkUnit> {
        let units = self.corpus.units().iter().zip(&self.present);
        units.filter(|(_, present)| !**present).map(|(unit, _)| unit)
    }

    /// The number of bytes of shards that have been read so far.
    pub fn bytes_read(&self) -> BytesRead {
        BytesRead {
            heads: self.heads.bytes_read(),
            blocks: self.block_bytes_read.load(Ordering::Relaxed),
        }
    }

    /// The number of positions of a sample's [`span`](Self::span). Reads nothing.
    ///
    /// # Errors
    ///
    /// [`CacheError::NoSuchSample`].
    pub fn position_count(&self, sample_index: u32) -> Result<usize, CacheError> {
        let (sample, unit) = self.sample(sample_index)?;
        Ok(if self.present[unit] {
            self.asked.position_count(sample)
        } else {
            0
        })
    }

    /// Reads the kept tokens of one sample and the distributions at its supervised positions. Reads only the blocks of
    /// these positions.
    ///
    /// # Errors
    ///
    /// [`CacheError::NoSuchSample`], and the error of a shard or of tokens that are damaged, such as
    /// [`CacheError::Damaged`].
    pub fn span(&self, sample_index: u32) -> Result<Span, CacheError> {
        Ok(self.span_and_bytes(sample_index)?.0)
    }

    /// Like [`span`](Self::span), with the number of stored bytes of the blocks that were read. It depends only on the
    /// sample, because heads of row groups, which many samples share, do not count.
    ///
    /// # Errors
    ///
    /// Those of [`span`](Self::span).
    pub fn span_and_bytes(&self, sample_index: u32) -> Result<(Span, u64), CacheError> {
        let (sample, _) = self.sample(sample_index)?;
        let kept = self.asked.proportion_of(sample.split).kept(sample.token_count());
        self.first_tokens(sample_index, kept)
    }

    /// Like [`span_and_bytes`](Self::span_and_bytes) of a shorter lead span: of the first `kept` tokens, or of the whole
    /// span if it has no more.
    ///
    /// # Errors
    ///
    /// Those of [`span`](Self::span).
    pub fn first_tokens(&self, sample_index: u32, kept: usize) -> Result<(Span, u64), CacheError> {
        let (sample, unit) = self.sample(sample_index)?;
        let kept = kept.min(self.asked.proportion_of(sample.split).kept(sample.token_count()));
        let tokens = self.corpus.tokens(sample_index as usize)?[..kept].to_vec();
        if !self.has_distributions() {
            let span = Span {
                tokens,
                positions: positions_of_kept(sample.bounds, kept as u32, self.asked.sections).collect(),
                distributions: Distributions::new(),
            };
            return Ok((span, 0));
        }
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        if self.present[unit] {
            for layer in &self.layers {
                let piece = layer.read(unit, sample_index, (sample, kept as u32), &self.heads)?;
                self.block_bytes_read.fetch_add(piece.block_bytes, Ordering::Relaxed);
                bytes += piece.block_bytes;
                if !piece.positions.is_empty() {
                    pieces.push((piece.positions, piece.distributions));
                }
            }
        }
        let (positions, distributions) = merge(pieces);
        let span = Span {
            tokens,
            positions,
            distributions,
        };
        Ok((span, bytes))
    }

    /// A sample and the index of its work unit.
    fn sample(&self, index: u32) -> Result<(SampleRef<'_>, usize), CacheError> {
        let unit = self.corpus.unit_of(index);
        unit.map(|unit| (self.corpus.sample(index as usize), unit))
            .ok_or_else(|| CacheError::NoSuchSample {
                index,
                samples: self.corpus.len(),
            })
    }
}

/// Merges the pieces of a sample from several layers, in the order of the positions.
fn merge(mut pieces: Vec<(Vec<u32>, Distributions)>) -> (Vec<u32>, Distributions) {
    if pieces.len() < 2 {
        return pieces.pop().unwrap_or_default();
    }
    let mut order: Vec<(u32, usize, usize)> = Vec::new();
    for (piece, (positions, _)) in pieces.iter().enumerate() {
        order.extend(
            positions
                .iter()
                .enumerate()
                .map(|(at, &position)| (position, piece, at)),
        );
    }
    order.sort_unstable();
    let entries = pieces.iter().map(|(_, piece)| piece.token_ids().len()).sum();
    let mut distributions = Distributions::with_capacity(order.len(), entries);
    for &(_, piece, at) in &order {
        distributions.push(pieces[piece].1.get(at));
    }
    (
        order.into_iter().map(|(position, ..)| position).collect(),
        distributions,
    )
}
