//! The `[student]` and `[train]` tables of a pipeline.

use std::path::PathBuf;

use leadspan_cache::Coverage;
use leadspan_model::{Activations, KernelForm, LoraSettings, StudentDtype};
use leadspan_sequence::{LeadSpanProportion, SectionSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    LeadSpan, Loss, PolicyError, PositionWeights, Positions, ScheduleForm, TailPolicy, TrainError,
    objective::LossParameters, policies::Supervision,
};

/// Where the student comes from: a model (all of it or chosen layers), or a configuration with seeded weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StudentSettings {
    /// The model to start from: a directory, a `.gguf` file, or the id of a downloaded Hub model.
    pub model: Option<PathBuf>,
    /// The branch, tag or commit of a Hub model; `main` if it is not set.
    pub revision: Option<String>,
    /// The layers of `model` to keep, ascending, such as `[0, 5, 10]`; all if it is not set.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub layers: Option<Vec<usize>>,
    /// Instead of `model`, the `config.json` of a student that starts from random weights.
    pub config: Option<PathBuf>,
    /// Seed of the random weights of `student.config`, and of the first values of `student.lora`.
    pub seed: u64,
    /// A directory or `.gguf` file with the tokenizer, if neither the teacher nor `model` has one.
    pub tokenizer: Option<PathBuf>,
    /// The LoRA adapters that are learnt instead of the weights of `model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSettings>,
}

/// `train.max_flops` is below this: operations are counted in 64 bits.
const MAX_FLOPS: f64 = u64::MAX as f64;

/// The most epochs and steps of a run, which has 8 bytes in memory for each epoch. More are most likely a mistake.
const MOST_STEPS: usize = 10_000_000;

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// So many passes over all training samples.
    Epochs(usize),
    /// So many optimizer steps.
    Steps(usize),
}

/// Tokens of one pass: on the CPU more are no faster, and in the stock operations of a GPU they take too much memory.
pub(crate) const PASS_TOKENS: usize = 2048;
/// Tokens of one pass in the fused kernels of a GPU, whose products are the faster the more rows they have.
const GPU_PASS_TOKENS: usize = 16_384;

/// How a step's loss is averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// The mean over all supervised positions of the step.
    #[default]
    Token,
    /// The mean over samples of their means, so that short samples weigh as much as long ones.
    Sequence,
}

/// Which student is exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Export {
    /// The student after the last step.
    #[default]
    Last,
    /// The student after the epoch with the lowest held-out loss.
    Best,
}

/// How the student is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["dir"]))]
pub struct TrainSettings {
    /// The folder of the run: metrics, checkpoints, exported student.
    pub dir: PathBuf,
    /// The leading share of every training sample to learn from; at most what was captured.
    pub lead_span_proportion: LeadSpanProportion,
    /// Instead of `lead_span_proportion`, a lead span for each sample.
    ///
    /// `{ mixture = [[0.33, 0.75], [1.0, 0.25]] }` has pairs of a proportion and the share of the samples that it has; they are
    /// drawn by the seed for each sample and epoch. `{ growing = [0.1, 0.5] }` is a straight line over the samples of all
    /// epochs. `{ column = "keep" }` takes what `data.lead_span_column` stored.
    pub lead_span: LeadSpan,
    /// The sections whose tokens are learnt; a subset of those that were captured.
    pub supervised_sections: SectionSet,
    /// The positions that are learnt: all, or a share of each sample's.
    ///
    /// `{ teacher_entropy = 0.5 }` takes those with the highest entropy of the stored distribution, before the student runs;
    /// `{ student_entropy = 0.2 }` those with the highest entropy of the student's, and `{ disagreement = 0.2 }` those with the
    /// largest divergence, after its forward pass.
    pub positions: Positions,
    /// The weights of the positions of a sample, 1 in the mean.
    ///
    /// `flat`, `rising` and `falling` along the sample, `{ linear = [0.5, 1.5] }` between two ends, `{ exponential = 2.0 }` with a
    /// rate, or by section, `{ answer = 2.0, chain_of_thought = 1.0 }`, where a section that is not named weighs 1.
    pub position_weights: PositionWeights,
    /// The divergence of the student from the teacher.
    pub loss: Loss,
    /// How the probability outside the stored entries is treated.
    pub tail_policy: TailPolicy,
    /// The teacher's weight β in `jensen_shannon`, above 0 and below 1.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub jensen_shannon_beta: f64,
    /// The weight λ of `skew_kl` and `skew_reverse_kl`, from 0 to below 1.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub skew: f64,
    /// The weight α of the divergence; cross-entropy has 1 − α.
    #[schemars(range(min = 0, max = 1))]
    pub distillation_weight: f64,
    /// The temperature τ of both distributions in the divergence.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
    /// The highest learning rate, at the end of the warm-up.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,
    /// Decoupled weight decay; not applied to norms and biases.
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// How the learning rate rises and falls over the steps.
    ///
    /// `cosine` and `linear` rise in a line and fall towards 0; `one_cycle` is `PyTorch`'s `OneCycleLR` with its defaults, but begins
    /// at the highest rate if `warmup_share` leaves no step to rise in.
    pub schedule: ScheduleForm,
    /// The share of all steps in which the learning rate rises; the decay follows.
    #[schemars(range(min = 0, max = 1))]
    pub warmup_share: f64,
    /// The maximum norm of the gradient; larger gradients are scaled down.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub gradient_clipping: f64,
    /// Passes over all training samples.
    #[schemars(range(min = 1, max = MOST_STEPS))]
    pub epochs: usize,
    /// Instead of `epochs`, the optimizer steps of the run; a run begins as many passes over all samples as these take.
    #[schemars(range(min = 1, max = MOST_STEPS))]
    pub steps: Option<usize>,
    /// Stop training once the held-out loss has not fallen for so many epochs; without it, all epochs are done.
    ///
    /// The loss before training does not count, so at least one more epoch than this is done.
    /// The learning rate follows the schedule of all epochs until then. `train.export` says which student is exported.
    #[schemars(range(min = 1))]
    pub patience: Option<usize>,
    /// Stop training after the step that reaches this number of operations; 0 trains no step, and without it there is
    /// no limit.
    ///
    /// Only the products of forward and backward passes count. The last step is the first with which the count reaches
    /// the limit, and the schedule of the learning rate ends there. With 0 the student is measured and exported as it is.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = MAX_FLOPS))]
    pub max_flops: Option<f64>,
    /// Samples of one optimizer step.
    #[schemars(range(min = 1))]
    pub batch_samples: usize,
    /// Tokens of one forward and backward pass. If it is not set: 16,384 with the fused kernels of a GPU, otherwise 2,048.
    ///
    /// A step takes as many passes as it needs.
    #[schemars(range(min = 1))]
    pub micro_batch_tokens: Option<usize>,
    /// Save memory: keep only the inputs of layers, and compute the layers again in the backward pass.
    pub activation_checkpointing: bool,
    /// Save some memory: compute the products of gate and up again in the backward pass.
    ///
    /// They are the larger part of what a layer keeps. Without effect beside `train.activation_checkpointing`, and on a GPU in
    /// stock operations.
    pub recompute_gates: bool,
    /// How a step's loss is averaged.
    pub normalization: Normalization,
    /// Seed of the order of the samples.
    pub seed: u64,
    /// The number format of the student's parameters and activations.
    ///
    /// Gradients, moments, the weights that updates are applied to, logits, losses and the exported student are always in
    /// `f32`.
    pub dtype: StudentDtype,
    /// `cpu` or `cuda:N`.
    #[schemars(regex(pattern = leadspan_model::DEVICE_PATTERN))]
    pub device: String,
    /// The form of the operations on a GPU.
    ///
    /// Fused kernels are compared with stock operations when the student is opened, and not used where they differ.
    pub kernels: KernelForm,
    /// Steps between checkpoints; with 0, only a stopped run writes one.
    pub checkpoint_steps: usize,
    /// How many of the newest checkpoints are kept, beside the best.
    #[schemars(range(min = 1))]
    pub keep_checkpoints: usize,
    /// Which student is exported.
    pub export: Export,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("run"),
            lead_span_proportion: "0.5".parse().expect("0.5 is a proportion"),
            lead_span: LeadSpan::default(),
            supervised_sections: SectionSet::ALL,
            positions: Positions::default(),
            position_weights: PositionWeights::default(),
            loss: Loss::default(),
            tail_policy: TailPolicy::default(),
            jensen_shannon_beta: 0.5,
            skew: 0.1,
            distillation_weight: 0.5,
            temperature: 1.0,
            learning_rate: 4e-6,
            weight_decay: 0.05,
            schedule: ScheduleForm::default(),
            warmup_share: 0.1,
            gradient_clipping: 1.0,
            epochs: 2,
            steps: None,
            patience: None,
            max_flops: None,
            batch_samples: 8,
            micro_batch_tokens: None,
            activation_checkpointing: false,
            recompute_gates: false,
            normalization: Normalization::default(),
            seed: 0,
            dtype: StudentDtype::default(),
            device: "cpu".to_owned(),
            kernels: KernelForm::default(),
            checkpoint_steps: 500,
            keep_checkpoints: 2,
            export: Export::default(),
        }
    }
}

impl TrainSettings {
    /// The parameters of all losses.
    pub(crate) fn loss_parameters(&self) -> LossParameters {
        LossParameters {
            jensen_shannon_beta: self.jensen_shannon_beta,
            skew: self.skew,
        }
    }

    /// Tokens of one forward and backward pass of a student that runs in the fused kernels of a GPU, or does not.
    pub(crate) fn micro_batch_tokens(&self, has_kernels: bool) -> usize {
        let usual = if has_kernels { GPU_PASS_TOKENS } else { PASS_TOKENS };
        self.micro_batch_tokens.unwrap_or(usual)
    }

    /// What forward passes keep for their backward passes.
    pub(crate) fn activations(&self) -> Activations {
        match (self.activation_checkpointing, self.recompute_gates) {
            (true, _) => Activations::LayerInputs,
            (false, true) => Activations::WithoutGates,
            (false, false) => Activations::All,
        }
    }

    /// How long the run is, unless `max_flops` or `patience` ends it before.
    pub(crate) fn length(&self) -> Length {
        self.steps.map_or(Length::Epochs(self.epochs), Length::Steps)
    }

    /// Whether anything is learnt from the teacher.
    pub(crate) fn distils(&self) -> bool {
        self.distillation_weight > 0.0
    }

    /// What is read from the cache: the longest lead span that occurs. `None` if the data says how much of a sample is kept.
    pub fn longest_coverage(&self) -> Option<Coverage> {
        let proportion = self.lead_span.longest(self.lead_span_proportion)?;
        Some(Coverage {
            proportion,
            sections: self.supervised_sections,
        })
    }

    /// Which positions are learnt, and what they weigh.
    pub(crate) fn supervision(&self) -> Supervision {
        Supervision {
            positions: self.positions,
            weights: self.position_weights,
        }
    }

    /// The lead span for messages.
    pub(crate) fn shown_lead_span(&self) -> String {
        match &self.lead_span {
            LeadSpan::Constant => format!("lead-span proportion {}", self.lead_span_proportion),
            other => format!("`train.lead_span = {other}`"),
        }
    }

    /// Refuses values no run could use.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`] for the first value out of range.
    pub fn check(&self) -> Result<(), TrainError> {
        self.check_policies()?;
        let refuse = |key: &'static str, found: &dyn ToString, expected: &'static str| {
            Err(TrainError::Setting {
                key,
                found: found.to_string(),
                expected,
            })
        };
        if !(0.0..=1.0).contains(&self.distillation_weight) {
            return refuse("distillation_weight", &self.distillation_weight, "a number from 0 to 1");
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return refuse("learning_rate", &self.learning_rate, "a positive number");
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return refuse("weight_decay", &self.weight_decay, "a number that is not negative");
        }
        if !(0.0..=1.0).contains(&self.warmup_share) {
            return refuse("warmup_share", &self.warmup_share, "a number from 0 to 1");
        }
        if self.gradient_clipping.is_nan() || self.gradient_clipping <= 0.0 {
            return refuse(
                "gradient_clipping",
                &self.gradient_clipping,
                "a positive number (`inf` for none)",
            );
        }
        for (key, value) in [("epochs", self.epochs), ("steps", self.steps.unwrap_or(1))] {
            if !(1..=MOST_STEPS).contains(&value) {
                return refuse(key, &value, "a whole number from 1 to 10,000,000");
            }
        }
        for (key, value) in [
            ("patience", self.patience.unwrap_or(1)),
            ("batch_samples", self.batch_samples),
            ("micro_batch_tokens", self.micro_batch_tokens.unwrap_or(PASS_TOKENS)),
            ("keep_checkpoints", self.keep_checkpoints),
        ] {
            if value == 0 {
                return refuse(key, &value, "a positive whole number");
            }
        }
        if let Some(max_flops) = self.max_flops
            && !(0.0..MAX_FLOPS).contains(&max_flops)
        {
            return refuse(
                "max_flops",
                &max_flops,
                "a number from 0 to below 1.8e19; without the key there is no limit",
            );
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return refuse("temperature", &self.temperature, "a positive number");
        }
        if !(self.jensen_shannon_beta > 0.0 && self.jensen_shannon_beta < 1.0) {
            return refuse(
                "jensen_shannon_beta",
                &self.jensen_shannon_beta,
                "a number above 0 and below 1; its ends stand for `forward_kl` and `reverse_kl`, which are losses of \
                 their own",
            );
        }
        if !(0.0..1.0).contains(&self.skew) {
            return refuse("skew", &self.skew, "a number from 0 to below 1");
        }
        Ok(())
    }

    /// Refuses policies that no run could use.
    fn check_policies(&self) -> Result<(), TrainError> {
        let problems = [
            ("lead_span", self.lead_span.problem()),
            ("position_weights", self.position_weights.problem()),
        ];
        for (key, problem) in problems {
            if let Some((found, expected)) = problem {
                return Err(TrainError::Setting { key, found, expected });
            }
        }
        if self.positions.need_teacher() && !self.distils() {
            let positions = self.positions.to_string();
            return Err(PolicyError::ChoiceWithoutTeacher { positions }.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
