//! Supervision policies that have no meaning, or that the cache cannot serve.

use leadspan_diagnosis::Diagnosis;

/// A supervision policy that has no meaning, or that the cache cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Positions are chosen by the teacher, from which nothing is learnt.
    #[error(
        "`train.positions` is `{positions}`, but `train.distillation_weight` is 0, so the teacher's distributions are not read"
    )]
    ChoiceWithoutTeacher {
        /// The setting.
        positions: String,
    },
    /// Lead spans are in a column, and none is stored.
    #[error("`train.lead_span` is `{{ column = {asked:?} }}`, but the cache stores no lead spans of its samples")]
    NoLeadSpanColumn {
        /// The column asked for.
        asked: String,
    },
    /// Lead spans are in a column, and another one is stored.
    #[error("`train.lead_span` is `{{ column = {asked:?} }}`, but the cache stores the column `{stored}`")]
    OtherLeadSpanColumn {
        /// The column asked for.
        asked: String,
        /// The one that is stored.
        stored: String,
    },
    /// The stored lead span of a sample is longer than what was captured of it.
    #[error(
        "the data keeps {kept} tokens of sample `{sample}`, but the cache holds distributions of {captured} of them \
         (lead-span proportion {proportion})"
    )]
    LeadSpanNotCaptured {
        /// The sample's id.
        sample: String,
        /// Tokens to keep.
        kept: usize,
        /// Tokens that were captured.
        captured: usize,
        /// The captured proportion.
        proportion: String,
    },
}

impl Diagnosis for PolicyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::ChoiceWithoutTeacher { .. } => Some(
                "set `train.distillation_weight` above 0, or choose with `{ student_entropy = … }`, which needs no teacher".into(),
            ),
            Self::NoLeadSpanColumn { asked } => Some(format!(
                "set `data.lead_span_column = {asked:?}` and prepare another cache: a prepared corpus never changes"
            )),
            Self::OtherLeadSpanColumn { asked, stored } => Some(format!(
                "set `train.lead_span = {{ column = {stored:?} }}`, or prepare another cache with `data.lead_span_column = {asked:?}`"
            )),
            Self::LeadSpanNotCaptured { .. } => Some(
                "run `leadspan precompute` with a larger `--proportion`, or set `train.distillation_weight = 0.0`".into(),
            ),
        }
    }
}
