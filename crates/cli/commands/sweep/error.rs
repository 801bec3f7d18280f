//! Why a sweep cannot start, or did not finish.

use std::{fmt::Write as _, path::PathBuf};

use leadspan_diagnosis::Diagnosis;
use leadspan_experiment::sweep::Baseline;
use leadspan_sequence::LeadSpanProportion;

/// Why a sweep cannot start, or did not finish.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    /// Some runs need longer lead spans than the cache has.
    #[error(
        "the cache `{}` has lead spans up to {captured}, but the sweep asks for {asked}", cache.display()
    )]
    BeyondCache {
        cache: PathBuf,
        captured: LeadSpanProportion,
        /// The proportions, separated by commas.
        asked: String,
        longest: LeadSpanProportion,
    },
    /// Runs of equal compute may end before they are as long as theirs.
    #[error(
        "`train.patience` is {patience}, which may end runs of the baseline `equal_compute` before the operations of theirs"
    )]
    MayEndEarly { patience: usize },
    /// A file of a run is no JSON.
    #[error("could not understand `{}`", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// Other processes work in the folders of some runs, and none failed.
    #[error("other processes work in the folders of {} of {of} runs: `{}`", names.len(), names.join("`, `"))]
    Held { names: Vec<String>, of: usize },
    /// Some runs failed.
    #[error("{} of {of} runs failed: `{}`", names.len(), names.join("`, `"))]
    Failed {
        names: Vec<String>,
        of: usize,
        /// Whether one of them failed unexpectedly.
        unexpected: bool,
        /// Whether one of them wrote a log.
        logged: bool,
    },
}

impl SweepError {
    /// `asked` has each proportion that the cache lacks, and the baseline if only baselines ask for it.
    pub(super) fn beyond_cache(
        cache: PathBuf,
        captured: LeadSpanProportion,
        mut asked: Vec<(LeadSpanProportion, Option<Baseline>)>,
    ) -> Self {
        asked.sort_unstable();
        asked.dedup_by_key(|(proportion, _)| *proportion);
        let mut text = String::new();
        for (index, (proportion, baseline)) in asked.iter().enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            let why = baseline.map_or_else(String::new, |baseline| format!(" (the baseline `{}`)", baseline.name()));
            let _ = write!(text, "{separator}{proportion}{why}");
        }
        Self::BeyondCache {
            cache,
            captured,
            asked: text,
            longest: asked.last().map_or(captured, |(proportion, _)| *proportion),
        }
    }
}

impl Diagnosis for SweepError {
    fn is_unexpected(&self) -> bool {
        matches!(self, Self::Failed { unexpected: true, .. })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::BeyondCache { asked, longest, .. } => {
                let baseline = if asked.contains("(the baseline") {
                    " or that baseline"
                } else {
                    ""
                };
                format!(
                    "run `leadspan precompute` with `--proportion {longest}` to add the rest, or remove these \
                     proportions{baseline}"
                )
            }
            Self::MayEndEarly { .. } => "leave out `train.patience` or that baseline".to_owned(),
            Self::Damaged { path, .. } if path.ends_with("sweep.json") => format!(
                "remove `{}` if leadspan made it: the same command writes it again, and only the time of the run is lost",
                path.display()
            ),
            Self::Damaged { path, .. } => format!(
                "restore `{}` from a copy, or remove the folder of the run",
                path.display()
            ),
            Self::Held { .. } => {
                "if another sweep does them, wait for its end: the same command then finds them finished".to_owned()
            }
            Self::Failed { logged, .. } => {
                let who = if *logged {
                    "the logs in their folders say why"
                } else {
                    "the messages above say why, and no run wrote a log"
                };
                format!("{who}; the same command tries the unfinished runs again")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runs_that_wrote_logs_are_said_to_have_some() {
        let hint = |logged| {
            let failed = SweepError::Failed {
                names: vec!["untrained".to_owned()],
                of: 2,
                unexpected: false,
                logged,
            };
            failed.hint().unwrap()
        };
        assert!(hint(true).starts_with("the logs in their folders say why;"));
        assert!(hint(false).starts_with("the messages above say why, and no run wrote a log;"));
    }
}
