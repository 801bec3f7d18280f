//! Checks of settings against each other.

use std::path::Path;

use leadspan_evaluate::EvaluateSettings;
use leadspan_train::{LeadSpan, StudentSettings, TrainSettings};

use crate::{
    alternatives::ALTERNATIVES, configuration_error::ConfigurationError, outputs::without_links, tables::Tables,
};

/// Checks that training asks for no more than is captured; `by_flag` says whether `--proportion` says how much that is.
///
/// # Errors
///
/// If the lead spans or the sections of `[train]` go beyond those of `[cache]`.
pub(super) fn check_stages(tables: &Tables, by_flag: bool) -> Result<(), ConfigurationError> {
    let (Some(cache), Some(train)) = (&tables.cache, &tables.train) else {
        return Ok(());
    };
    if train.distillation_weight == 0.0 {
        // Training on tokens alone needs no distributions, and the cache has all tokens.
        return Ok(());
    }
    // What is stored in a column of the data is known only once it is prepared.
    let longest = train.longest_coverage().map(|coverage| coverage.proportion);
    if let Some(longest) = longest.filter(|longest| *longest > cache.lead_span_proportion) {
        return Err(ConfigurationError::ProportionBeyondCache {
            train: longest,
            key: match train.lead_span {
                LeadSpan::Constant => "train.lead_span_proportion",
                _ => "train.lead_span",
            },
            cache: cache.lead_span_proportion,
            by_flag,
        });
    }
    if !cache.supervised_sections.is_superset(train.supervised_sections) {
        return Err(ConfigurationError::SectionsBeyondCache {
            train: train.supervised_sections,
            cache: cache.supervised_sections,
        });
    }
    Ok(())
}

/// Checks that at most one key of each pair of alternatives is set; `given` says whether a key is set.
///
/// # Errors
///
/// If both are set, and the value of the first does not leave it to the second.
pub(super) fn check_alternatives(
    train: &TrainSettings,
    given: impl Fn(&str) -> bool,
) -> Result<(), ConfigurationError> {
    let settings = serde_json::to_value(train).unwrap_or_default();
    for pair in &ALTERNATIVES {
        let value = pair.first.split_once('.').and_then(|(_, name)| settings[name].as_str());
        let leaves_it = pair.leaves_it.is_some() && value == pair.leaves_it;
        if given(pair.first) && given(pair.second) && !leaves_it {
            return Err(ConfigurationError::Contradiction {
                first: pair.first,
                second: pair.second,
                because: pair.because,
            });
        }
    }
    Ok(())
}

/// Checks that a run's folder and the cache are apart: neither is the other, or inside the other. Links are followed.
///
/// # Errors
///
/// If they are not. The paths are relative to `base`.
pub(super) fn check_folders(base: &Path, tables: &Tables) -> Result<(), ConfigurationError> {
    let (Some(cache), Some(train)) = (&tables.cache, &tables.train) else {
        return Ok(());
    };
    let (cache_dir, run_dir) = (
        without_links(&base.join(&cache.dir)),
        without_links(&base.join(&train.dir)),
    );
    if cache_dir.starts_with(&run_dir) || run_dir.starts_with(&cache_dir) {
        return Err(ConfigurationError::RunInCache {
            run: train.dir.clone(),
            cache: cache.dir.clone(),
        });
    }
    Ok(())
}

/// Checks that a student starts from exactly one model or configuration, and that no key contradicts this.
///
/// # Errors
///
/// If neither or both are set, or another key of `[student]` does not go with what is set; `file` is the pipeline file.
pub(super) fn check_student(file: &Path, student: &StudentSettings) -> Result<(), ConfigurationError> {
    let contradiction = |first, second, because| Err(ConfigurationError::Contradiction { first, second, because });
    match (&student.model, &student.config) {
        (Some(_), Some(_)) => contradiction(
            "student.model",
            "student.config",
            "a student starts from one of them, not both",
        ),
        (None, Some(_)) if student.layers.is_some() => contradiction(
            "student.config",
            "student.layers",
            "layers are chosen from a model, and there is none",
        ),
        (None, Some(_)) if student.revision.is_some() => contradiction(
            "student.config",
            "student.revision",
            "a revision belongs to a model, and there is none",
        ),
        (Some(_), None) if student.tokenizer.is_some() => contradiction(
            "student.model",
            "student.tokenizer",
            "a model has a tokenizer of its own",
        ),
        (None, None) => Err(ConfigurationError::NoStudent { file: file.to_owned() }),
        _ => Ok(()),
    }
}

/// Checks that the student of `train.dir` is evaluated as it is.
///
/// # Errors
///
/// If the table names an adapter.
pub(super) fn check_evaluated(evaluate: &EvaluateSettings) -> Result<(), ConfigurationError> {
    match evaluate.adapter {
        Some(_) => Err(ConfigurationError::Contradiction {
            first: "train.dir",
            second: "evaluate.adapter",
            because: "an adapter belongs to `evaluate.model`, and there is none",
        }),
        None => Ok(()),
    }
}
