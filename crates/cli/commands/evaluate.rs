//! `leadspan evaluate`: lets a model answer problems, and measures held-out losses.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use leadspan_evaluate::{EvaluationContext, EvaluationEvent, EvaluationOutcome, EvaluationSummary, HeldOutLosses};
use serde::Serialize;
use serde_json::json;

use super::{Ending, Showing, Waited, losses, stopped};
use crate::{
    amounts::{grouped, rounded},
    arguments::EvaluateArguments,
    configuration::Configuration,
    failure::{Context as _, Result},
    hub, last_line, path_text,
    progress::{Counted, ProgressMeter},
    signals,
};

pub(super) fn run(arguments: &EvaluateArguments, showing: Showing) -> Result<Ending> {
    signals::limit(arguments.stopping.stop_after, arguments.stopping.grace)?;
    let configuration = Configuration::load(&arguments.pipeline.config, &arguments.pipeline.overrides)?;
    let evaluation = hub::with_evaluated_found(configuration.evaluation(arguments.model.as_deref())?)?;
    // An exported adapter, rather than its base.
    let model = evaluation.exported.as_ref().unwrap_or(&evaluation.model).clone();
    let (dir, shown) = (path_text::text(&evaluation.dir), path_text::text(&model));
    last_line::note(json!({ "dir": dir, "model": shown }));
    let stop = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let context = EvaluationContext {
        stop: &stop,
        clock: &|| started.elapsed(),
    };
    tracing::info!("reading the model `{}`", model.display());
    let (mut progress, mut waited) = (None, Waited::default());
    let outcome = leadspan_evaluate::run(&evaluation, &context, &mut |event| {
        if matches!(event, EvaluationEvent::Started { .. }) {
            // Until now there was nothing to save.
            signals::ask_first(&stop, "keeping the answers that are finished");
        }
        show(event, &mut progress, &mut waited, showing);
    })
    .with_context(|| format!("could not evaluate `{}`", model.display()))?;
    drop(progress);
    let (outcome, summary) = match outcome {
        EvaluationOutcome::Done(summary) => ("done", summary),
        EvaluationOutcome::AlreadyDone(summary) => ("already_done", summary),
        EvaluationOutcome::Stopped => return Ok(stopped(&evaluation.dir, showing)),
    };
    last_line::note(json!({ "already_done": outcome == "already_done", "summary": summary }));
    showing.result(&Evaluated {
        outcome,
        dir: evaluation.dir,
        model,
        summary,
    })?;
    Ok(Ending::Done)
}

/// The result of the command.
#[derive(Serialize)]
struct Evaluated {
    outcome: &'static str,
    #[serde(serialize_with = "path_text::as_text")]
    dir: PathBuf,
    #[serde(serialize_with = "path_text::as_text")]
    model: PathBuf,
    summary: EvaluationSummary,
}

impl fmt::Display for Evaluated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.outcome {
            "done" => "",
            _ => " had been evaluated already",
        };
        write!(
            formatter,
            "`{}`{what}: {}\n  answers in `{}`, the wrong ones in `{}`",
            self.model.display(),
            described(&self.summary),
            self.dir.join("answers.jsonl").display(),
            self.dir.join("failures.md").display()
        )
    }
}

fn show(event: EvaluationEvent, progress: &mut Option<(ProgressMeter, u64)>, waited: &mut Waited, showing: Showing) {
    match event {
        EvaluationEvent::Waiting(holder) => waited.show(&holder),
        EvaluationEvent::Started { problems, done } => {
            last_line::note(json!({ "problems": problems, "answered_before": done }));
            if done > 0 {
                tracing::info!(
                    "{} of {} problems were answered before",
                    grouped(done),
                    grouped(problems)
                );
            }
            let left = problems - done.min(problems);
            *progress = Some((ProgressMeter::new(showing.progress, Counted::Problems, left), done));
        }
        EvaluationEvent::NoEndOfTurn => {
            tracing::warn!(
                "the chat template shows no token that ends the model's turn: an answer that the model's own stop tokens do not \
                 end runs on to `evaluate.max_new_tokens`. Set `evaluate.stop` to what ends a turn"
            );
        }
        EvaluationEvent::WithoutEffect { setting, because } => {
            tracing::warn!("`{setting}` has no effect: {because}");
        }
        EvaluationEvent::Sentences { count, first } => {
            tracing::warn!(
                "{} expected answers are sentences, such as that of `{first}`: only the same sentence counts as right. Mark the \
                 answers with `\\boxed{{…}}`, or name their field with `evaluate.answer`",
                grouped(count)
            );
        }
        EvaluationEvent::Answered {
            done,
            correct,
            ungraded,
            tokens,
            seconds,
        } => {
            last_line::note(json!({ "answered": done, "correct": correct, "ungraded": ungraded, "tokens": tokens }));
            if let Some((progress, before)) = progress {
                progress.advance(done - *before, true, || {
                    let pace = if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
                    let ungraded = match ungraded {
                        0 => String::new(),
                        count => format!(", {} ungraded", grouped(count)),
                    };
                    format!(
                        "{} of {} right{ungraded}, {} tokens/s",
                        grouped(correct),
                        grouped(done),
                        rounded(pace)
                    )
                });
            }
        }
        EvaluationEvent::HeldOut(HeldOutLosses::Measured) => {
            *progress = None;
            tracing::info!("measuring the losses on the cache's validation samples");
        }
        EvaluationEvent::HeldOut(HeldOutLosses::NotMeasured(because)) => {
            tracing::info!("no held-out losses: {because}");
        }
    }
}

fn described(summary: &EvaluationSummary) -> String {
    let (low, high) = summary.accuracy_interval;
    let pace = match summary.tokens_per_second {
        0.0 => String::new(),
        pace => format!(" at {} tokens/s", rounded(pace)),
    };
    let too_long = match summary.prompts_too_long {
        0 => String::new(),
        count => format!(", {} prompts longer than the context", grouped(count)),
    };
    let ungraded = match summary.ungraded {
        0 => String::new(),
        count => format!(", {} ungraded", grouped(count)),
    };
    let held_out = summary.held_out.as_ref();
    let held_out = held_out.map_or_else(String::new, |held_out| format!("\n  held out: {}", losses(held_out)));
    format!(
        "{} of {} right, {:.1} % (95 % interval {:.1} to {:.1} %)\n  {} tokens{pace}; {} texts cut at the limit \
         ({:.1} %), {} without an answer{ungraded}{too_long}{held_out}",
        grouped(summary.correct),
        grouped(summary.problems),
        100.0 * summary.accuracy,
        100.0 * low,
        100.0 * high,
        grouped(summary.tokens),
        grouped(summary.cut),
        100.0 * summary.cut_share,
        grouped(summary.without_answer)
    )
}
