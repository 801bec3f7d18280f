//! `leadspan plan`: predicts the cost of stage one before it runs.

mod text;

use std::{
    cell::RefCell,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use leadspan_diagnosis::Diagnosis;
use leadspan_precompute::{Division, PlanEvent, PlanOutcome, PlanSettings};
use serde_json::json;

use super::{
    Ending, Showing,
    prepare::{Preparing, waiting_for_server},
};
use crate::{
    amounts::{bytes, spelt},
    arguments::PlanArguments,
    configuration::Configuration,
    failure::{Context as _, Result},
    free_space::{Fit, free_bytes},
    hub, output, path_text,
    progress::Working,
    signals,
    time_span::TimeSpan,
};

/// Why a plan cannot be carried out. The plan is shown nevertheless.
#[derive(Debug, thiserror::Error)]
enum PlanRefusal {
    /// The disk is too small.
    #[error(
        "the cache `{}` does not fit: it needs {} more, and its file system has {} free",
        cache.display(), bytes(*need), bytes(*free)
    )]
    DoesNotFit { cache: PathBuf, need: u64, free: u64 },
    /// A work unit is too large for the wall time.
    #[error(
        "no number of workers finishes within {wall_time}: one work unit alone takes {}, including loading the teacher",
        spelt(*seconds)
    )]
    UnitTooLong { wall_time: TimeSpan, seconds: f64 },
}

impl Diagnosis for PlanRefusal {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::DoesNotFit { .. } => {
                "point `cache.dir` at another file system, or lower `cache.lead_span_proportion` or `cache.top_k`"
            }
            Self::UnitTooLong { .. } => "allow more time, or lower `cache.samples_per_shard` before preparing",
        };
        Some(hint.to_owned())
    }
}

/// What a plan is shown with and judged by.
struct PlanContext {
    config: PathBuf,
    cache: PathBuf,
    free_bytes: Option<u64>,
    /// The requested wall time, and the division of the work that fits into it.
    division: Option<(TimeSpan, Division)>,
}

pub(super) fn run(arguments: &PlanArguments, showing: Showing) -> Result<Ending> {
    let configuration = Configuration::load(&arguments.pipeline.config, &arguments.pipeline.overrides)?;
    let pipeline = hub::with_teacher_found(configuration.stage_one(arguments.proportion)?)?;
    let stop = Arc::new(AtomicBool::new(false));
    let settings = PlanSettings {
        sample_rows: arguments.sample_rows.get(),
        calibration: (!arguments.no_calibration).then_some(arguments.calibration.0),
        scratch: std::env::temp_dir(),
    };
    let cache = pipeline.cache_dir();
    let began = Instant::now();
    let reading = RefCell::new(Some(Preparing::new(showing)));
    let calibrating = RefCell::new(None);
    let outcome = leadspan_precompute::plan(&pipeline, &settings, &|| began.elapsed(), &stop, &|event| match event {
        PlanEvent::Preparing(progress) => {
            if let Some(reading) = &mut *reading.borrow_mut() {
                reading.advance(progress);
            }
        }
        PlanEvent::WaitingForServer(wait) => waiting_for_server(&wait),
        PlanEvent::Calibrating => {
            *reading.borrow_mut() = None;
            // From here on there are temporary files to remove.
            signals::ask_first(&stop, "dropping the plan");
            tracing::info!(
                "running the teacher `{}` for {} once it is loaded",
                pipeline.model_path().display(),
                arguments.calibration
            );
            let calibration = arguments.calibration;
            let doing = format!("the teacher runs for {calibration} once it is loaded; then sizes are predicted");
            *calibrating.borrow_mut() = Some(Working::new(showing.progress, &doing));
        }
    });
    drop((reading, calibrating));
    let outcome = outcome.with_context(|| format!("could not plan `{}`", cache.display()))?;
    let PlanOutcome::Done(plan) = outcome else {
        return Ok(Ending::Stopped);
    };
    let division = arguments.wall_time.and_then(|time| Some((time, plan.divide(time.0)?)));
    let context = PlanContext {
        config: arguments.pipeline.config.clone(),
        free_bytes: free_bytes(&cache),
        cache,
        division,
    };
    if showing.json {
        output::json(&json!({
            "cache": path_text::text(&context.cache),
            "plan": plan,
            "bytes": plan.bytes(),
            "free_bytes": context.free_bytes,
            "wall_seconds": arguments.wall_time.map(|time| time.0.as_secs()),
            "division": context.division.map(|(_, division)| division),
        }))?;
    } else {
        output::text(text::described(&plan, &context).trim_end())?;
    }
    refuse(plan.bytes(), context)?;
    Ok(Ending::Done)
}

/// Checks that a plan that needs `need` more bytes can be carried out.
fn refuse(need: u64, context: PlanContext) -> Result<(), PlanRefusal> {
    if let Some(free) = context.free_bytes {
        match Fit::of(need, free) {
            Fit::Fits => {}
            Fit::Tight => tracing::warn!("{} are needed, and only {} are free", bytes(need), bytes(free)),
            Fit::TooLarge => {
                let cache = context.cache;
                return Err(PlanRefusal::DoesNotFit { cache, need, free });
            }
        }
    }
    match context.division {
        Some((wall_time, Division::UnitTooLong { seconds })) => Err(PlanRefusal::UnitTooLong { wall_time, seconds }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use leadspan_diagnosis::Diagnosis as _;

    use super::*;

    #[test]
    fn a_plan_that_cannot_be_carried_out_is_refused_with_a_way_out() {
        let refused = |free_bytes, division| {
            let context = PlanContext {
                config: "pipeline.toml".into(),
                cache: "cache".into(),
                free_bytes,
                division,
            };
            refuse(5_000_000, context).map_err(|refusal| (refusal.to_string(), refusal.hint().unwrap()))
        };
        let one_second = TimeSpan(std::time::Duration::from_secs(1));
        let too_long = Some((one_second, Division::UnitTooLong { seconds: 2.0 }));
        assert_eq!(
            refused(None, too_long).unwrap_err(),
            (
                "no number of workers finishes within 1 s: one work unit alone takes 2 s, including loading the teacher"
                    .to_owned(),
                "allow more time, or lower `cache.samples_per_shard` before preparing".to_owned()
            )
        );
        let (message, hint) = refused(Some(4_000_000), None).unwrap_err();
        assert!(
            message.starts_with("the cache `cache` does not fit: it needs"),
            "{message}"
        );
        assert!(hint.starts_with("point `cache.dir` at another file system"), "{hint}");
        assert_eq!(refused(Some(1 << 40), None), Ok(()));
    }
}
