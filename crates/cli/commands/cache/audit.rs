//! `leadspan cache audit`: compares the cache with the teacher that made it.

use std::{fmt, path::PathBuf};

use leadspan_cache::Cache;
use leadspan_precompute::{Audit, AuditEvent, AuditOutcome, AuditSettings};
use serde::Serialize;
use serde_json::json;

use crate::{
    amounts::grouped,
    arguments::AuditArguments,
    commands::{Ending, Showing, prepare::waiting_for_server},
    configuration::Configuration,
    failure::{Context as _, Result},
    hub, last_line, path_text,
    progress::{Counted, ProgressMeter},
    signals,
};

pub(super) fn run(arguments: &AuditArguments, showing: Showing) -> Result<Ending> {
    let configuration = Configuration::load(&arguments.pipeline.config, &arguments.pipeline.overrides)?;
    let pipeline = hub::with_teacher_found(configuration.stage_one(None)?)?;
    let stop = signals::stop_on_signals("dropping the audit");
    let settings = AuditSettings {
        positions: arguments.positions,
        seed: arguments.seed,
    };
    let cache_dir = pipeline.cache_dir();
    tracing::info!("reading the teacher `{}`", pipeline.model_path().display());
    let mut bar = None;
    let outcome = leadspan_precompute::audit(&pipeline, &settings, &stop, &mut |event| {
        let (done, total) = match event {
            AuditEvent::Compared { done, total } => (done, total),
            AuditEvent::WaitingForServer(wait) => return waiting_for_server(&wait),
        };
        let bar = bar.get_or_insert_with(|| ProgressMeter::new(showing.progress, Counted::Positions, total as u64));
        bar.advance(done as u64, false, || "comparing".to_owned());
    })
    .with_context(|| format!("could not audit `{}`", cache_dir.display()))?;
    drop(bar);
    let AuditOutcome::Done(audit) = outcome else {
        return Ok(Ending::Stopped);
    };
    last_line::note(json!({ "cache": path_text::text(&cache_dir), "audit": audit }));
    let cache = Cache::open(&cache_dir).with_context(|| format!("could not open `{}`", cache_dir.display()))?;
    let audited = Audited {
        identity: cache.identity().fingerprint(),
        dir: cache_dir,
        seed: arguments.seed,
        audit,
    };
    showing.result(&audited)?;
    audited.audit.check(&audited.dir)?;
    Ok(Ending::Done)
}

/// The result of the command.
#[derive(Serialize)]
struct Audited {
    #[serde(serialize_with = "path_text::as_text")]
    dir: PathBuf,
    /// The cache's identity, by which `cache card --audit` knows whose figures these are.
    identity: String,
    seed: u64,
    audit: Audit,
}

impl fmt::Display for Audited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let audit = &self.audit;
        write!(
            formatter,
            "{} positions of {} samples, {} entries\n\
             KL(teacher ‖ cache)     mean {:.2e}, 99th percentile {:.2e} nats\n\
             top-1 agreement         {:.2} %\n\
             retained mass           {:.2} %\n\
             log-probability error   95th percentile {:.3}, largest {:.3} nats\n\
             target's error          largest {:.4} nats",
            grouped(audit.positions as u64),
            grouped(audit.samples as u64),
            grouped(audit.entries),
            audit.mean_kl,
            audit.p99_kl,
            100.0 * audit.top_1_agreement,
            100.0 * audit.retained_mass,
            audit.p95_logprob_error,
            audit.largest_logprob_error,
            audit.largest_target_error
        )
    }
}
