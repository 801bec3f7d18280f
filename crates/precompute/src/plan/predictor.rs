//! From the counts of a corpus and the measured speed and sizes to a plan.

use std::collections::BTreeSet;

use leadspan_cache::{Coverage, Layer, WorkUnit};
use leadspan_corpus::{PrepareReport, SectionTokens};
use leadspan_model::ForwardFlops;
use leadspan_sequence::{LeadSpanProportion, Split};

use super::{
    calibration::Calibration,
    contents::{AtProportion, Basis, LayerPlan, Plan, StreamedPasses, Totals},
    lengths::Lengths,
    scratch::Scratch,
    size::{Size, SizesBySplit, StoredSizes},
    work::{Work, kept_tokens},
    workers::LeftOfLayer,
};
use crate::{
    Pipeline, PrecomputeError, Streaming,
    batches::{plan_batches, spans_of},
    costs::unit_costs,
    prepare::Preview,
};
use leadspan_workers::UnitCosts;

/// Bytes of the stored corpus for each token if nothing was measured: uncompressed ids of four bytes.
const CORPUS_TOKEN_BYTES: f64 = 4.0;

/// What a plan is predicted from.
pub(super) struct Predictor<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) flops: ForwardFlops,
    /// Whether these are operations that can be told.
    pub(super) counts_flops: bool,
    pub(super) preview: &'a Preview,
    pub(super) stored: StoredSizes,
    pub(super) scratch: Option<&'a Scratch<'a>>,
    pub(super) calibration: Option<&'a Calibration>,
    pub(super) streaming: Option<Streaming>,
    /// The memory of a teacher that is not streamed.
    pub(super) resident_bytes: Option<u64>,
}

impl Predictor<'_> {
    fn scale(&self) -> f64 {
        self.preview.basis.scale()
    }

    /// The plan for a capture of `asked`, of which `left` is left to do. It has no calibration yet.
    pub(super) fn plan(&self, asked: Coverage, left: &[(Layer, Vec<WorkUnit>)]) -> Result<Plan, PrecomputeError> {
        let corpus = &self.preview.corpus;
        let (mut layers, mut left_of_layers) = (Vec::new(), Vec::new());
        for (layer, units) in left {
            let sizes = self.sizes(layer)?;
            let (mut total, mut seconds) = (Work::default(), Vec::new());
            for unit in units {
                let work = Work::of(layer, corpus, unit, &self.flops);
                if let (Some(calibration), Some(number)) = (self.calibration, corpus.unit_of(unit.samples.start as u32))
                {
                    seconds.push((number, calibration.seconds(work.layer_flops, work.positions())));
                }
                total.add(&work);
            }
            let costs = unit_costs(layer, corpus);
            left_of_layers.push(LeftOfLayer { costs, seconds });
            layers.push(LayerPlan {
                layer: layer.folder_name(),
                size: sizes.train,
                totals: self.totals(&total, self.unit_counts(units), sizes),
            });
        }
        let sum = |of: fn(&Totals) -> u64| layers.iter().map(|layer| of(&layer.totals)).sum();
        let lengths = corpus.samples().map(|sample| sample.bounds.tokens());
        let plan = Plan {
            asked,
            basis: self.preview.basis,
            report: scaled(&self.preview.report, self.scale()),
            lengths: Lengths::of(lengths.collect(), self.scale()),
            units: self.unit_counts(corpus.units()).iter().sum(),
            left: Totals {
                units: sum(|totals| totals.units),
                positions: sum(|totals| totals.positions),
                teacher_tokens: sum(|totals| totals.teacher_tokens),
                teacher_flops: layers.iter().map(|layer| layer.totals.teacher_flops).sum(),
                shard_bytes: sum(|totals| totals.shard_bytes),
                seconds: self
                    .calibration
                    .map(|_| layers.iter().filter_map(|layer| layer.totals.seconds).sum()),
            },
            layers,
            corpus_bytes: self.corpus_bytes(),
            streaming: self.streaming.map(|streaming| self.passes(streaming, left)),
            resident_bytes: self.resident_bytes.filter(|_| self.streaming.is_none()),
            proportions: self.proportions(asked)?,
            calibration: None,
            left_of_layers: Vec::new(),
        };
        Ok(Plan {
            left_of_layers: self.left_of_layers(left_of_layers, &plan.left),
            ..plan
        })
    }

    /// The passes of a streamed teacher over what is left.
    fn passes(&self, streaming: Streaming, left: &[(Layer, Vec<WorkUnit>)]) -> StreamedPasses {
        let (mut passes, mut largest) = (0u64, 0);
        for (layer, units) in left {
            for unit in units {
                let spans = spans_of(layer, &self.preview.corpus, unit);
                for pass in plan_batches(&spans, streaming.pass_tokens) {
                    passes += 1;
                    largest = largest.max(pass.iter().map(|span| u64::from(span.tokens)).sum());
                }
            }
        }
        StreamedPasses {
            streaming,
            passes: (passes as f64 * self.scale()).round() as u64,
            largest_pass_tokens: largest,
            expected_bytes: streaming.expected_bytes(largest),
        }
    }

    /// The time of each unit. If only some rows were drawn, all units count as alike.
    fn left_of_layers(&self, counted: Vec<LeftOfLayer>, left: &Totals) -> Vec<LeftOfLayer> {
        match left.seconds {
            Some(total) if matches!(self.preview.basis, Basis::Sampled { .. }) => {
                let (units, each) = (left.units as usize, total / left.units.max(1) as f64);
                vec![LeftOfLayer {
                    costs: UnitCosts::equal(units),
                    seconds: (0..units).map(|unit| (unit, each)).collect(),
                }]
            }
            _ => counted,
        }
    }

    /// A whole capture at each tenth and at the asked proportion.
    fn proportions(&self, asked: Coverage) -> Result<Vec<AtProportion>, PrecomputeError> {
        let tenths = (1..=9).map(|tenth| format!("0.{tenth}").parse().expect("a tenth is a proportion"));
        let proportions: BTreeSet<LeadSpanProportion> =
            tenths.chain([LeadSpanProportion::WHOLE, asked.proportion]).collect();
        let corpus = &self.preview.corpus;
        let mut rows = Vec::new();
        for proportion in proportions {
            let coverage = Coverage { proportion, ..asked };
            let layer = Layer::from(coverage);
            let mut total = Work::default();
            for unit in corpus.units() {
                total.add(&Work::of(&layer, corpus, unit, &self.flops));
            }
            let units = self.unit_counts(corpus.units());
            rows.push(AtProportion {
                proportion,
                tokens: kept_tokens(corpus, &coverage, self.scale()),
                totals: self.totals(&total, units, self.sizes(&layer)?),
            });
        }
        Ok(rows)
    }

    /// The cost of `work` in these numbers of training and validation units.
    fn totals(&self, work: &Work, units: [u64; 2], sizes: SizesBySplit) -> Totals {
        let scaled = |count: u64| (count as f64 * self.scale()).round() as u64;
        let layer_flops = work.layer_flops * self.scale();
        let [train, validation] = work.positions.map(scaled);
        let positions = train + validation;
        Totals {
            units: units[0] + units[1],
            positions,
            teacher_tokens: scaled(work.tokens),
            teacher_flops: if self.counts_flops {
                layer_flops + self.flops.head(positions)
            } else {
                0.0
            },
            shard_bytes: sizes.train.bytes(units[0], train) + sizes.validation.bytes(units[1], validation),
            seconds: self
                .calibration
                .map(|calibration| calibration.seconds(layer_flops, positions)),
        }
    }

    /// The numbers of training and validation units; scaled up if only some rows were drawn.
    fn unit_counts(&self, units: &[WorkUnit]) -> [u64; 2] {
        let samples_per_shard = f64::from(self.preview.corpus.samples_per_shard().get());
        [Split::Train, Split::Validation].map(|split| {
            let of_split = units.iter().filter(|unit| unit.split == split);
            if let Basis::Sampled { .. } = self.preview.basis {
                let samples: usize = of_split.map(|unit| unit.samples.len()).sum();
                (samples as f64 * self.scale() / samples_per_shard).ceil() as u64
            } else {
                of_split.count() as u64
            }
        })
    }

    /// The sizes of a layer's shards: from its stored shards, else from the calibration, else from other shards of the
    /// cache, else from published figures.
    fn sizes(&self, layer: &Layer) -> Result<SizesBySplit, PrecomputeError> {
        if let Some((_, size)) = self.stored.layers.iter().find(|(stored, _)| stored == layer) {
            return Ok(SizesBySplit::alike(*size));
        }
        if let Some(scratch) = self.scratch {
            let whole = Layer::from(Coverage {
                proportion: LeadSpanProportion::WHOLE,
                sections: layer.sections(),
            });
            let validation = scratch.size(&whole, None)?;
            let train = scratch.size(layer, Some(validation))?;
            return Ok(SizesBySplit { train, validation });
        }
        let cache = &self.pipeline.cache;
        let published = || Size::published(cache.top_k, cache.precision);
        Ok(SizesBySplit::alike(self.stored.all.unwrap_or_else(published)))
    }

    /// Bytes of the samples that are not stored in the cache yet.
    fn corpus_bytes(&self) -> u64 {
        let stored = self
            .preview
            .cache
            .as_ref()
            .and_then(|cache| cache.corpus().ok().flatten());
        let stored = stored.map_or(0, |corpus| corpus.total_tokens());
        let tokens = (self.preview.corpus.total_tokens() - stored) as f64 * self.scale();
        let token_bytes = self
            .scratch
            .map_or(CORPUS_TOKEN_BYTES, |scratch| scratch.corpus_token_bytes);
        (tokens * token_bytes).round() as u64
    }
}

/// A report in which each row stands for `scale` rows.
fn scaled(report: &PrepareReport, scale: f64) -> PrepareReport {
    let scaled = |count: u64| (count as f64 * scale).round() as u64;
    PrepareReport {
        rows: scaled(report.rows),
        kept_train: scaled(report.kept_train),
        kept_validation: scaled(report.kept_validation),
        dropped: report
            .dropped
            .iter()
            .map(|(&reason, &count)| (reason, scaled(count)))
            .collect(),
        bad_rows: scaled(report.bad_rows),
        bad_row_examples: report.bad_row_examples.clone(),
        without_markers: scaled(report.without_markers),
        duplicates: scaled(report.duplicates),
        validation_asked: report.validation_asked.map(scaled),
        tokens: SectionTokens {
            prompt: scaled(report.tokens.prompt),
            chain_of_thought: scaled(report.tokens.chain_of_thought),
            answer: scaled(report.tokens.answer),
        },
    }
}
