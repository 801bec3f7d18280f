//! Reading samples with their distributions, at any proportion and section set that a layer covers.

use std::ops::Range;

use leadspan_distribution::Distributions;
use leadspan_sequence::{LeadSpanProportion, Sample, SectionSet, supervised_position_count};

use crate::{Cache, CacheError, Layer, LayerDir, PreparedCorpus, shard::Shard};

/// A cache opened for reading: every shard of one layer, mapped into memory once.
///
/// It is `Send + Sync`: several threads may read samples at the same time.
#[derive(Debug)]
pub struct Reader {
    layer: LayerDir,
    asked: Layer,
    /// One a work unit.
    shards: Vec<Shard>,
    /// The first row of each sample in its shard.
    first_rows: Vec<u32>,
}

/// What is read of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The kept tokens: the lead span of a training sample, all of a validation sample.
    pub tokens: Vec<u32>,
    /// The supervised positions, ascending; position i predicts `tokens[i + 1]`.
    pub positions: Vec<u32>,
    /// The teacher's distribution at each of them.
    pub distributions: Distributions,
}

impl Reader {
    /// Opens what the cache holds of training samples up to `proportion` (validation samples are whole), with the
    /// tokens of `sections` as targets.
    ///
    /// Any complete layer that covers this will do; the one with the fewest positions to skip is taken.
    ///
    /// # Errors
    ///
    /// [`CacheError::NothingCaptured`], [`CacheError::SectionsNotCaptured`], [`CacheError::ProportionNotCaptured`] or
    /// [`CacheError::IncompleteLayer`] where no such layer is there, and the errors of damaged or foreign shards. Seals
    /// and footers of all shards are checked here; row groups when they are first read.
    pub fn open(cache: &Cache, proportion: LeadSpanProportion, sections: SectionSet) -> Result<Self, CacheError> {
        let asked = Layer { proportion, sections };
        let layer = choose_layer(cache, &asked)?;
        Self::open_layer(layer, asked)
    }

    /// Opens the complete layer that holds most: the largest proportion, then the most sections.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_largest(cache: &Cache) -> Result<Self, CacheError> {
        let layers = cache.layers()?;
        let size = |dir: &LayerDir| (dir.layer().proportion, dir.layer().sections.iter().count());
        let complete = layers.iter().filter(|dir| dir.missing_units().is_empty());
        if let Some(dir) = complete.max_by_key(|dir| size(dir)) {
            return Self::open_layer(dir.clone(), *dir.layer());
        }
        match layers.iter().min_by_key(|dir| dir.missing_units().len()) {
            Some(dir) => Err(incomplete(dir)),
            None => Err(CacheError::NothingCaptured {
                path: cache.dir().to_owned(),
            }),
        }
    }

    fn open_layer(layer: LayerDir, asked: Layer) -> Result<Self, CacheError> {
        let corpus = layer.corpus();
        let mut shards = Vec::with_capacity(corpus.units().len());
        let mut first_rows = Vec::with_capacity(corpus.samples().len());
        for unit in corpus.units() {
            let shard = Shard::open_in(&layer, unit)?;
            let mut rows = 0;
            for sample in &corpus.samples()[unit.samples.clone()] {
                first_rows.push(rows as u32);
                rows += layer.layer().position_count(sample);
            }
            if shard.footer().positions != rows as u64 {
                let problem = format!("it has {} positions where {rows} belong", shard.footer().positions);
                return Err(CacheError::Inconsistent {
                    path: shard.path().to_owned(),
                    problem,
                });
            }
            shards.push(shard);
        }
        Ok(Self {
            layer,
            asked,
            shards,
            first_rows,
        })
    }

    /// The prepared corpus.
    pub fn corpus(&self) -> &PreparedCorpus {
        self.layer.corpus()
    }

    /// What is read: the proportion and sections asked for.
    pub fn layer(&self) -> &Layer {
        &self.asked
    }

    /// What the layer that is read from covers.
    pub fn stored_layer(&self) -> &Layer {
        self.layer.layer()
    }

    /// How many positions [`span`](Self::span) gives for a sample, without reading anything.
    ///
    /// # Errors
    ///
    /// [`CacheError::NoSuchSample`].
    pub fn position_count(&self, sample_index: u32) -> Result<usize, CacheError> {
        Ok(self.asked.position_count(self.sample(sample_index)?))
    }

    /// Reads one sample's kept tokens and the distributions at its supervised positions, and nothing else.
    ///
    /// # Errors
    ///
    /// [`CacheError::NoSuchSample`], and [`CacheError::Damaged`] or another error of the shard where its bytes are not
    /// those that were written.
    pub fn span(&self, sample_index: u32) -> Result<Span, CacheError> {
        let sample = self.sample(sample_index)?;
        let unit = self
            .corpus()
            .unit_of(sample_index)
            .ok_or_else(|| self.no_such_sample(sample_index))?;
        let first_row = self.first_rows[sample_index as usize] as usize;
        let shard = &self.shards[unit];
        let rows = shard.read(&stored_rows(sample, first_row, self.stored_layer(), &self.asked))?;
        let positions: Vec<u32> = self.asked.positions(sample).collect();
        if rows.positions != positions || rows.samples.iter().any(|&stored| stored != sample_index) {
            let problem = format!("its rows for sample {sample_index} are not that sample's positions");
            return Err(CacheError::Inconsistent {
                path: shard.path().to_owned(),
                problem,
            });
        }
        let kept = self.asked.proportion_of(sample.split).kept(sample.tokens.len());
        Ok(Span {
            tokens: sample.tokens[..kept].to_vec(),
            positions,
            distributions: rows.distributions,
        })
    }

    fn sample(&self, index: u32) -> Result<&Sample, CacheError> {
        self.corpus()
            .samples()
            .get(index as usize)
            .ok_or_else(|| self.no_such_sample(index))
    }

    fn no_such_sample(&self, index: u32) -> CacheError {
        CacheError::NoSuchSample {
            index,
            samples: self.corpus().samples().len(),
        }
    }
}

/// Which rows of a shard hold the positions of `asked`, given that `stored` covers it and the sample begins at a row.
///
/// Rows follow the positions, so a section's asked rows are the first of its stored ones.
fn stored_rows(sample: &Sample, first_row: usize, stored: &Layer, asked: &Layer) -> Vec<Range<usize>> {
    let mut row = first_row;
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for section in stored.sections.iter() {
        let only = SectionSet::new([section]).expect("one section is a set");
        let count = |layer: &Layer| supervised_position_count(sample.bounds, layer.proportion_of(sample.split), only);
        let wanted = if asked.sections.contains(section) {
            row..row + count(asked)
        } else {
            row..row
        };
        match ranges.last_mut() {
            Some(last) if last.end == wanted.start => last.end = wanted.end,
            _ => ranges.push(wanted),
        }
        row += count(stored);
    }
    ranges
}

fn choose_layer(cache: &Cache, asked: &Layer) -> Result<LayerDir, CacheError> {
    let path = || cache.dir().to_owned();
    let layers = cache.layers()?;
    let smallest = |dir: &&LayerDir| (dir.layer().proportion, dir.layer().sections.iter().count());
    let covering = || layers.iter().filter(|dir| dir.layer().covers(asked));
    if let Some(dir) = covering()
        .filter(|dir| dir.missing_units().is_empty())
        .min_by_key(smallest)
    {
        return Ok(dir.clone());
    }
    if let Some(dir) = covering().min_by_key(|dir| dir.missing_units().len()) {
        return Err(incomplete(dir));
    }
    let with_sections = layers
        .iter()
        .filter(|dir| dir.layer().sections.is_superset(asked.sections));
    if let Some(largest) = with_sections.map(|dir| dir.layer().proportion).max() {
        let Layer {
            proportion: asked,
            sections,
        } = *asked;
        return Err(CacheError::ProportionNotCaptured {
            path: path(),
            asked,
            largest,
            sections,
        });
    }
    if layers.is_empty() {
        return Err(CacheError::NothingCaptured { path: path() });
    }
    let mut captured: Vec<String> = layers.iter().map(|dir| format!("`{}`", dir.layer().sections)).collect();
    captured.dedup();
    Err(CacheError::SectionsNotCaptured {
        path: path(),
        asked: asked.sections,
        captured: captured.join(" and "),
    })
}

fn incomplete(dir: &LayerDir) -> CacheError {
    let missing = dir.missing_units();
    CacheError::IncompleteLayer {
        path: dir.path().to_owned(),
        missing: missing.len(),
        units: dir.corpus().units().len(),
        first: missing.first().map(ToString::to_string).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic;
    use leadspan_sequence::{Section, Split};
    use std::fs;

    fn proportion(text: &str) -> LeadSpanProportion {
        text.parse().unwrap()
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
        let reader = Reader::open(&captured.cache, proportion("0.5"), SectionSet::ALL).unwrap();
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
            let read = Reader::open(&whole.cache, proportion(asked), SectionSet::ALL).unwrap();
            let own = Reader::open(&made.cache, proportion(asked), SectionSet::ALL).unwrap();
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
            let read = Reader::open(&whole.cache, proportion("0.6"), sections).unwrap();
            let own = Reader::open(&made.cache, proportion("0.6"), sections).unwrap();
            assert_eq!(spans(&read), spans(&own), "{sections}");
        }
    }

    #[test]
    fn spans_hold_what_was_pushed() {
        let captured = synthetic::captured("1.0", SectionSet::ALL);
        let reader = Reader::open(&captured.cache, proportion("0.5"), SectionSet::ALL).unwrap();
        for (index, sample) in reader.corpus().samples().iter().enumerate() {
            let span = reader.span(index as u32).unwrap();
            let kept = if sample.split == Split::Train {
                (sample.tokens.len() / 2).max(1)
            } else {
                sample.tokens.len()
            };
            assert_eq!(span.tokens, sample.tokens[..kept]);
            assert_eq!(span.positions, (0..kept as u32 - 1).collect::<Vec<_>>());
            assert_eq!(span.distributions, synthetic::distributions(sample, &span.positions));
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
            let error = Reader::open(&captured.cache, proportion(p), sections).unwrap_err();
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
        let error = Reader::open(&empty.cache, proportion("1"), answer).unwrap_err();
        assert!(matches!(error, CacheError::NothingCaptured { .. }));
        assert!(matches!(
            Reader::open_largest(&empty.cache),
            Err(CacheError::NothingCaptured { .. })
        ));
    }

    #[test]
    fn an_incomplete_larger_layer_does_not_hide_a_complete_smaller_one() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        captured.cache.layer(&synthetic::layer("1.0", SectionSet::ALL)).unwrap();
        let reader = Reader::open(&captured.cache, proportion("0.25"), SectionSet::ALL).unwrap();
        assert_eq!(reader.stored_layer().proportion, proportion("0.5"));
        assert_eq!(
            Reader::open_largest(&captured.cache).unwrap().layer().proportion,
            proportion("0.5")
        );
        let error = Reader::open(&captured.cache, proportion("0.75"), SectionSet::ALL).unwrap_err();
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
}
