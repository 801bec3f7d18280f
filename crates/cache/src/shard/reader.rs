//! Reading samples with their distributions, at any proportion and section set that the layers cover together.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use leadspan_distribution::Distributions;
use leadspan_sequence::SectionSet;

use crate::{
    Cache, CacheError, Coverage, Layer, LayerDir, PreparedCorpus, SampleRef, WorkUnit,
    layers::choice::{Choice, choose, incomplete},
    layers::reach,
    shard::blocks::{block_count, block_positions},
    shard::{Head, Shard},
};

/// Heads of row groups that are kept, at about half a megabyte each.
const KEPT_HEADS: usize = 64;

/// Entries of a sample that room is made for before they are read: with `top_p` there may be far fewer than k a position.
const MOST_RESERVED_ENTRIES: usize = 1 << 20;

/// A cache opened for reading: the layers that hold what is asked for, whose shards are mapped as they are first needed.
///
/// It is `Send + Sync`: several threads may read samples at the same time.
#[derive(Debug)]
pub struct Reader {
    corpus: PreparedCorpus,
    asked: Coverage,
    parts: Vec<Part>,
    /// By work unit: whether all parts have its shard.
    present: Vec<bool>,
    heads: Mutex<Vec<(HeadKey, Arc<Head>)>>,
    head_bytes_read: AtomicU64,
    block_bytes_read: AtomicU64,
}

/// Part, work unit and row group of a head.
type HeadKey = (usize, usize, usize);

/// What is read from one layer.
#[derive(Debug)]
struct Part {
    dir: LayerDir,
    wanted: Layer,
    /// One a work unit.
    shards: Vec<OnceLock<Shard>>,
    /// The number of each sample's first block in its shard.
    first_blocks: Vec<u32>,
}

/// What is read of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The kept tokens: the lead span of a training sample, all of a validation sample.
    pub tokens: Vec<u32>,
    /// The supervised positions, ascending; position i predicts `tokens[i + 1]`.
    pub positions: Vec<u32>,
    /// The teacher's distribution at each of them, or none at all where the reader has [no
    /// distributions](Reader::open_corpus).
    pub distributions: Distributions,
}

/// How much of the shards a [`Reader`] has read, footers aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BytesRead {
    /// Heads of row groups, which all samples of one share; counted again where one had to be read again.
    pub heads: u64,
    /// The blocks themselves.
    pub blocks: u64,
}

/// Whether work units may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A cache with missing units is refused.
    Refused,
    /// Samples of missing units are read as if they had no positions.
    Allowed,
}

impl Reader {
    /// Opens what the cache holds of `asked`.
    ///
    /// Lists the folders of the layers and opens no shard: those are checked as they are first read.
    ///
    /// # Errors
    ///
    /// [`CacheError::NothingCaptured`], [`CacheError::SectionsNotCaptured`] or [`CacheError::ProportionNotCaptured`] where
    /// the layers do not cover it; [`CacheError::IncompleteLayer`] where units are missing that must not be.
    pub fn open(cache: &Cache, asked: Coverage, missing: Missing) -> Result<Self, CacheError> {
        let corpus = cache.require_corpus()?;
        let Choice { parts, missing_units } = choose(cache, &asked, missing)?;
        let mut present = vec![true; corpus.units().len()];
        for unit in missing_units {
            if let Some(number) = corpus.unit_of(unit.samples.start as u32) {
                present[number] = false;
            }
        }
        let parts = parts.into_iter().map(|(dir, wanted)| Part::new(dir, wanted)).collect();
        Ok(Self {
            corpus,
            asked,
            parts,
            present,
            heads: Mutex::default(),
            head_bytes_read: AtomicU64::new(0),
            block_bytes_read: AtomicU64::new(0),
        })
    }

    /// Opens the prepared corpus alone, which is all that there is before anything was captured: spans have no
    /// distributions, and there may be positions of any proportion and sections.
    ///
    /// # Errors
    ///
    /// Where there is no prepared corpus, or it cannot be read.
    pub fn open_corpus(cache: &Cache, asked: Coverage) -> Result<Self, CacheError> {
        let corpus = cache.require_corpus()?;
        Ok(Self {
            present: vec![true; corpus.units().len()],
            corpus,
            asked,
            parts: Vec::new(),
            heads: Mutex::default(),
            head_bytes_read: AtomicU64::new(0),
            block_bytes_read: AtomicU64::new(0),
        })
    }

    /// Opens the most that the cache holds: the largest proportion, with all sections that reach it. Layers with missing
    /// units count where those are allowed.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
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
            Some(dir) => Err(incomplete(dir, &dir.missing_units()?)),
            None => Err(CacheError::NothingCaptured {
                path: cache.dir().to_owned(),
            }),
        }
    }

    /// The prepared corpus.
    pub fn corpus(&self) -> &PreparedCorpus {
        &self.corpus
    }

    /// What is read: the proportion and sections asked for.
    pub fn coverage(&self) -> &Coverage {
        &self.asked
    }

    /// Whether spans have distributions.
    pub fn has_distributions(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The layers that are read from.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = &Layer> {
        self.parts.iter().map(|part| part.dir.layer())
    }

    /// The work units whose samples are read as if they had no positions, because they have not been captured.
    pub fn missing_units(&self) -> impl Iterator<Item = &WorkUnit> {
        let units = self.corpus.units().iter().zip(&self.present);
        units.filter(|(_, present)| !**present).map(|(unit, _)| unit)
    }

    /// How much of the shards has been read so far.
    pub fn bytes_read(&self) -> BytesRead {
        BytesRead {
            heads: self.head_bytes_read.load(Ordering::Relaxed),
            blocks: self.block_bytes_read.load(Ordering::Relaxed),
        }
    }

    /// How many positions [`span`](Self::span) gives for a sample, without reading anything.
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

    /// Reads one sample's kept tokens and the distributions at its supervised positions, and no other block.
    ///
    /// # Errors
    ///
    /// [`CacheError::NoSuchSample`], and [`CacheError::Damaged`] or another error of the shard where its bytes are not
    /// those that were written.
    pub fn span(&self, sample_index: u32) -> Result<Span, CacheError> {
        Ok(self.span_and_bytes(sample_index)?.0)
    }

    /// As [`span`](Self::span), and how many bytes of blocks were read for it, as they are stored: the same whenever and
    /// beside whatever else the sample is read. Heads of row groups, which are kept for many samples, are not among them.
    ///
    /// # Errors
    ///
    /// As [`span`](Self::span).
    pub fn span_and_bytes(&self, sample_index: u32) -> Result<(Span, u64), CacheError> {
        let (sample, unit) = self.sample(sample_index)?;
        let kept = self.asked.proportion_of(sample.split).kept(sample.token_count());
        let tokens = self.corpus.tokens(sample_index as usize)?[..kept].to_vec();
        if !self.has_distributions() {
            let span = Span {
                tokens,
                positions: self.asked.positions(sample).collect(),
                distributions: Distributions::new(),
            };
            return Ok((span, 0));
        }
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        if self.present[unit] {
            for part in 0..self.parts.len() {
                let piece = self.read_part(part, unit, sample_index, sample, &mut bytes)?;
                if !piece.0.is_empty() {
                    pieces.push(piece);
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

    /// What one layer holds of a sample; adds what was read for it to `bytes`.
    fn read_part(
        &self,
        part_index: usize,
        unit: usize,
        sample_index: u32,
        sample: SampleRef<'_>,
        bytes: &mut u64,
    ) -> Result<(Vec<u32>, Distributions), CacheError> {
        let part = &self.parts[part_index];
        let stored: Vec<u32> = part.dir.layer().positions(sample).collect();
        let size = block_positions(sample.token_count());
        let first_block = part.first_blocks[sample_index as usize] as usize;
        let wanted = wanted_ordinals(sample, part.dir.layer(), &part.wanted);
        let count = wanted.iter().map(ExactSizeIterator::len).sum();
        let entries = count * part.dir.identity().entries.top_k as usize;
        let mut positions = Vec::with_capacity(count);
        let mut distributions = Distributions::with_capacity(count, entries.min(MOST_RESERVED_ENTRIES));
        let mut partial: Option<(usize, Distributions)> = None;
        for wanted in wanted {
            positions.extend_from_slice(&stored[wanted.clone()]);
            for block in wanted.start / size..wanted.end.div_ceil(size) {
                let held = block * size..stored.len().min((block + 1) * size);
                let needed = held.start.max(wanted.start)..held.end.min(wanted.end);
                let mut read = |into: &mut Distributions| {
                    let positions = &stored[held.clone()];
                    *bytes += self.read_block(part_index, unit, first_block + block, sample_index, positions, into)?;
                    Ok::<(), CacheError>(())
                };
                if needed == held {
                    read(&mut distributions)?;
                    continue;
                }
                if partial.as_ref().is_none_or(|(number, _)| *number != block) {
                    let mut decoded = Distributions::new();
                    read(&mut decoded)?;
                    partial = Some((block, decoded));
                }
                let (_, decoded) = partial.as_ref().expect("it was read just now");
                for at in needed {
                    distributions.push(decoded.get(at - held.start));
                }
            }
        }
        Ok((positions, distributions))
    }

    /// Decodes one block to the end of `into` and returns how many bytes it has.
    fn read_block(
        &self,
        part_index: usize,
        unit: usize,
        block: usize,
        sample: u32,
        positions: &[u32],
        into: &mut Distributions,
    ) -> Result<u64, CacheError> {
        let shard = self.parts[part_index].shard(unit)?;
        if block >= shard.block_count() {
            return Err(shard.inconsistent(format!("it ends before the blocks of sample {sample}")));
        }
        let group = shard.group_of(block);
        let head = self.head((part_index, unit, group), shard)?;
        let bytes = shard.read_block(&head, block, sample, positions, into)? as u64;
        self.block_bytes_read.fetch_add(bytes, Ordering::Relaxed);
        Ok(bytes)
    }

    /// The head of a row group, from memory where it was wanted not long ago.
    fn head(&self, key: HeadKey, shard: &Shard) -> Result<Arc<Head>, CacheError> {
        let kept = || self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut kept = kept();
            if let Some(place) = kept.iter().rposition(|(held, _)| *held == key) {
                let entry = kept.remove(place);
                let head = Arc::clone(&entry.1);
                kept.push(entry);
                return Ok(head);
            }
        }
        let head = Arc::new(shard.head(key.2)?);
        self.head_bytes_read.fetch_add(head.bytes as u64, Ordering::Relaxed);
        let mut kept = kept();
        if kept.len() >= KEPT_HEADS {
            kept.remove(0);
        }
        kept.push((key, Arc::clone(&head)));
        Ok(head)
    }

    fn sample(&self, index: u32) -> Result<(SampleRef<'_>, usize), CacheError> {
        let unit = self.corpus.unit_of(index);
        unit.map(|unit| (self.corpus.sample(index as usize), unit))
            .ok_or_else(|| CacheError::NoSuchSample {
                index,
                samples: self.corpus.len(),
            })
    }
}

impl Part {
    fn new(dir: LayerDir, wanted: Layer) -> Self {
        let corpus = dir.corpus();
        let mut first_blocks = Vec::with_capacity(corpus.len());
        for unit in corpus.units() {
            let mut blocks = 0;
            for sample in corpus.samples_of(unit.samples.clone()) {
                first_blocks.push(blocks as u32);
                blocks += block_count(sample.token_count(), dir.layer().position_count(sample));
            }
        }
        let shards = corpus.units().iter().map(|_| OnceLock::new()).collect();
        Self {
            dir,
            wanted,
            shards,
            first_blocks,
        }
    }

    /// The shard of a unit, mapped and checked once.
    fn shard(&self, unit: usize) -> Result<&Shard, CacheError> {
        let place = &self.shards[unit];
        if let Some(shard) = place.get() {
            return Ok(shard);
        }
        let shard = Shard::open_in(&self.dir, &self.dir.corpus().units()[unit])?;
        Ok(place.get_or_init(|| shard))
    }
}

/// Which of the positions that `stored` holds of a sample, by their places among them, `wanted` holds too; ascending.
fn wanted_ordinals(sample: SampleRef<'_>, stored: &Layer, wanted: &Layer) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut before = 0;
    for band in stored.bands() {
        let held = band.targets(sample);
        if let Some(wanted) = wanted.band(band.section).map(|band| band.targets(sample))
            && !wanted.is_empty()
        {
            let start = before + (wanted.start - held.start) as usize;
            let range = start..start + wanted.len();
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        before += held.len();
    }
    ranges
}

/// Pieces of a sample from several layers, in the order of the positions.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::synthetic;
    use leadspan_diagnosis::Diagnosis as _;
    use leadspan_sequence::{Section, Split};
    use std::fs;

    fn open(cache: &Cache, proportion: &str, sections: SectionSet) -> Result<Reader, CacheError> {
        Reader::open(cache, synthetic::coverage(proportion, sections), Missing::Refused)
    }

    fn spans(reader: &Reader) -> Vec<Span> {
        (0..reader.corpus().samples().len() as u32)
            .map(|index| reader.span(index).unwrap())
            .collect()
    }

    #[test]
    fn readers_are_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Reader>();
        let captured = synthetic::captured("1.0", SectionSet::ALL);
        let reader = open(&captured.cache, "0.5", SectionSet::ALL).unwrap();
        let expected = spans(&reader);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(spans(&reader), expected));
            }
        });
    }

    #[test]
    fn a_whole_cache_read_at_a_half_gives_what_a_cache_made_at_a_half_gives() {
        let whole = synthetic::captured("1.0", SectionSet::ALL);
        for asked in ["0.5", "0.25", "0.01", "0.99", "1.0"] {
            let made = synthetic::captured(asked, SectionSet::ALL);
            let read = open(&whole.cache, asked, SectionSet::ALL).unwrap();
            let own = open(&made.cache, asked, SectionSet::ALL).unwrap();
            assert_eq!(spans(&read), spans(&own), "{asked}");
        }
    }

    #[test]
    fn every_subset_of_sections_reads_as_if_it_had_been_captured_alone() {
        let whole = synthetic::captured("1.0", SectionSet::ALL);
        for bits in 1..8 {
            let chosen = Section::ALL
                .into_iter()
                .filter(|&section| bits & (1 << section as u8) != 0);
            let sections = SectionSet::new(chosen).unwrap();
            let made = synthetic::captured("0.6", sections);
            let read = open(&whole.cache, "0.6", sections).unwrap();
            let own = open(&made.cache, "0.6", sections).unwrap();
            assert_eq!(spans(&read), spans(&own), "{sections}");
        }
    }

    #[test]
    fn the_corpus_alone_gives_the_tokens_and_positions_that_a_captured_cache_gives() {
        let prepared = synthetic::prepared(11, 3, 4);
        let whole = synthetic::captured("1.0", SectionSet::ALL);
        for (proportion, sections) in [
            ("1", SectionSet::ALL),
            (
                "0.3",
                SectionSet::new([Section::ChainOfThought, Section::Answer]).unwrap(),
            ),
        ] {
            let asked = synthetic::coverage(proportion, sections);
            let alone = Reader::open_corpus(&prepared.cache, asked).unwrap();
            let read = open(&whole.cache, proportion, sections).unwrap();
            assert!(!alone.has_distributions() && read.has_distributions());
            for (index, (alone_span, span)) in spans(&alone).into_iter().zip(spans(&read)).enumerate() {
                assert_eq!(
                    (&alone_span.tokens, &alone_span.positions),
                    (&span.tokens, &span.positions)
                );
                assert_eq!(alone.position_count(index as u32).unwrap(), span.positions.len());
                assert!(alone_span.distributions.is_empty());
            }
        }
        let empty = tempfile::tempdir().unwrap();
        let cache = Cache::create_or_open(empty.path(), &synthetic::identity(), &[]).unwrap();
        assert!(Reader::open_corpus(&cache, synthetic::coverage("1", SectionSet::ALL)).is_err());
    }

    #[test]
    fn spans_hold_what_was_pushed() {
        let captured = synthetic::captured("1.0", SectionSet::ALL);
        let reader = open(&captured.cache, "0.5", SectionSet::ALL).unwrap();
        for (index, sample) in reader.corpus().samples().enumerate() {
            let span = reader.span(index as u32).unwrap();
            let kept = if sample.split == Split::Train {
                (sample.token_count() / 2).max(1)
            } else {
                sample.token_count()
            };
            assert_eq!(span.tokens, reader.corpus().tokens(index).unwrap()[..kept]);
            assert_eq!(span.positions, (0..kept as u32 - 1).collect::<Vec<_>>());
            assert_eq!(
                span.distributions,
                synthetic::distributions(reader.corpus(), index, &span.positions)
            );
            assert_eq!(reader.position_count(index as u32).unwrap(), span.positions.len());
        }
        let beyond = reader.corpus().samples().len() as u32;
        assert!(matches!(reader.span(beyond), Err(CacheError::NoSuchSample { .. })));
    }

    #[test]
    fn asking_for_more_than_there_is_says_what_there_is_and_how_to_add_it() {
        let answer = SectionSet::new([Section::Answer]).unwrap();
        let captured = synthetic::captured("0.5", answer);
        let refused = |p: &str, sections| {
            let error = open(&captured.cache, p, sections).unwrap_err();
            assert!(!error.is_unexpected());
            (error.to_string(), error.hint().unwrap())
        };
        let (text, hint) = refused("0.75", answer);
        assert!(
            text.contains("up to proportion 0.5 of `answer`, but proportion 0.75"),
            "{text}"
        );
        assert!(hint.contains("cache.lead_span_proportion = 0.75"), "{hint}");
        let (text, hint) = refused("0.5", SectionSet::ALL);
        assert!(
            text.contains("holds the sections `answer`, but `prompt+chain_of_thought+answer`"),
            "{text}"
        );
        assert!(hint.contains(r#"["prompt", "chain_of_thought", "answer"]"#), "{hint}");
        let unit = captured.cache.layers().unwrap()[0].corpus().units()[1].clone();
        fs::remove_file(captured.cache.layers().unwrap()[0].shard_path(&unit)).unwrap();
        let (text, hint) = refused("0.5", answer);
        assert!(
            text.contains("1 of 4 work units are missing, the first is `train-000001`"),
            "{text}"
        );
        assert!(hint.contains("leadspan precompute"), "{hint}");
        let empty = synthetic::prepared(2, 1, 1);
        let error = open(&empty.cache, "1", answer).unwrap_err();
        assert!(matches!(error, CacheError::NothingCaptured { .. }));
        assert!(matches!(
            Reader::open_largest(&empty.cache, Missing::Refused),
            Err(CacheError::NothingCaptured { .. })
        ));
    }

    #[test]
    fn an_incomplete_larger_layer_does_not_hide_a_complete_smaller_one() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let whole = synthetic::coverage("1.0", SectionSet::ALL);
        captured.cache.layer(&whole.into()).unwrap();
        let reader = open(&captured.cache, "0.25", SectionSet::ALL).unwrap();
        let half = Layer::from(synthetic::coverage("0.5", SectionSet::ALL));
        assert_eq!(reader.layers().collect::<Vec<_>>(), [&half]);
        let largest = Reader::open_largest(&captured.cache, Missing::Refused).unwrap();
        assert_eq!(*largest.coverage(), synthetic::coverage("0.5", SectionSet::ALL));
        let error = open(&captured.cache, "0.75", SectionSet::ALL).unwrap_err();
        assert!(
            matches!(
                error,
                CacheError::IncompleteLayer {
                    missing: 4,
                    units: 4,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_cache_extended_in_steps_reads_as_one_that_was_captured_at_once() {
        let sections = |names: &[Section]| SectionSet::new(names.iter().copied()).unwrap();
        let cot_only = sections(&[Section::ChainOfThought]);
        let steps = [
            ("0.25", cot_only),
            ("0.5", SectionSet::ALL),
            ("0.75", sections(&[Section::Prompt, Section::Answer])),
            ("1.0", SectionSet::ALL),
        ];
        let extended = synthetic::prepared(11, 3, 4);
        for (proportion, sections) in steps {
            let asked = synthetic::coverage(proportion, sections);
            let [layer] = &extended.cache.layers_to_capture(&asked).unwrap()[..] else {
                panic!("each step adds one layer")
            };
            synthetic::capture(&extended.cache, layer.layer());
            assert!(extended.cache.layers_to_capture(&asked).unwrap().is_empty());
        }
        assert_eq!(extended.cache.layers().unwrap().len(), 4);
        assert!(crate::verify(&extended.cache, &mut |_| {}).unwrap().problems.is_empty());
        let whole = synthetic::captured("1.0", SectionSet::ALL);
        for sections in [SectionSet::ALL, cot_only, sections(&[Section::Prompt, Section::Answer])] {
            for asked in ["1.0", "0.9", "0.75", "0.6", "0.5", "0.3", "0.25", "0.01"] {
                let merged = open(&extended.cache, asked, sections).unwrap();
                let single = open(&whole.cache, asked, sections).unwrap();
                assert_eq!(spans(&merged), spans(&single), "{asked} of {sections}");
            }
        }
        assert_eq!(
            spans(&Reader::open_largest(&extended.cache, Missing::Refused).unwrap()).len(),
            14
        );
    }

    #[test]
    fn what_was_begun_is_finished_beside_what_is_added() {
        let prepared = synthetic::prepared(6, 2, 4);
        let names = |asked: &Coverage| -> Vec<String> {
            let layers = prepared.cache.layers_to_capture(asked).unwrap();
            layers.iter().map(|dir| dir.layer().folder_name()).collect()
        };
        let [half, whole] = ["0.5", "1.0"].map(|proportion| synthetic::coverage(proportion, SectionSet::ALL));
        let (first, rest) = (
            "0-0.5-prompt+chain_of_thought+answer",
            "0.5-1.0-prompt+chain_of_thought+answer",
        );
        // Asking again gives the same layers, whoever asks.
        assert_eq!(
            (names(&half), names(&half)),
            (vec![first.to_owned()], vec![first.to_owned()])
        );
        assert_eq!(
            (names(&whole), names(&whole)),
            (
                vec![first.to_owned(), rest.to_owned()],
                vec![first.to_owned(), rest.to_owned()]
            )
        );
        synthetic::capture(&prepared.cache, &half.into());
        assert_eq!((names(&half), names(&whole)), (vec![], vec![rest.to_owned()]));
        // A half-finished extension is invisible to readers of what was there before.
        assert_eq!(open(&prepared.cache, "0.5", SectionSet::ALL).unwrap().layers().len(), 1);
        assert!(matches!(
            open(&prepared.cache, "1.0", SectionSet::ALL),
            Err(CacheError::IncompleteLayer { .. })
        ));
        // Half of what was begun cannot be had without the rest of it.
        let error = prepared
            .cache
            .layers_to_capture(&synthetic::coverage("0.75", SectionSet::ALL))
            .unwrap_err();
        assert!(matches!(error, CacheError::UnfinishedLayer { .. }), "{error}");
        assert!(error.hint().unwrap().contains(rest), "{error}");
    }

    #[test]
    fn missing_units_can_be_allowed_and_are_named() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let layer = captured.cache.layers().unwrap().remove(0);
        let unit = layer.corpus().units()[1].clone();
        fs::remove_file(layer.receipt_path(&unit)).unwrap();
        assert!(matches!(
            open(&captured.cache, "0.5", SectionSet::ALL),
            Err(CacheError::IncompleteLayer { missing: 1, .. })
        ));
        let asked = synthetic::coverage("0.5", SectionSet::ALL);
        let reader = Reader::open(&captured.cache, asked, Missing::Allowed).unwrap();
        assert_eq!(reader.missing_units().collect::<Vec<_>>(), [&unit]);
        let all = synthetic::captured("0.5", SectionSet::ALL);
        let all = open(&all.cache, "0.5", SectionSet::ALL).unwrap();
        for (index, (some, every)) in spans(&reader).into_iter().zip(spans(&all)).enumerate() {
            assert_eq!(some.tokens, every.tokens);
            if unit.samples.contains(&index) {
                assert_eq!(
                    (some.positions.len(), reader.position_count(index as u32).unwrap()),
                    (0, 0)
                );
            } else {
                assert_eq!(some, every);
            }
        }
    }
}
