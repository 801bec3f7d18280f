//! `leadspan cache push` and `leadspan cache pull`: a cache copied into a store, or out of one.

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use leadspan_cache::{CutSettings, Following};
use leadspan_diagnosis::Diagnosis;
use leadspan_stores::{Address, CutOutcome, Event, Opened, Outcome, StoreError};
use serde_json::json;

use crate::{
    arguments::{CopyArguments, PullArguments, PushArguments},
    commands::{Ending, Showing, cache::cut, noted, prepare::Waited, stopped},
    failure::{Context as _, Result},
    last_line,
    outputs::{OutputRefusal, cache_around, obstacle, without_links},
    path_text,
    progress::{Counted, ProgressMeter},
    signals,
    stores::{self, CopiedCache, Copying, CutFromStore},
};

/// What copies.
type Copier = fn(&Opened, &Path, &AtomicBool, &mut dyn FnMut(Event)) -> Result<Outcome, StoreError>;

pub(super) fn push(arguments: &PushArguments, showing: Showing) -> Result<Ending> {
    let PushArguments { dir, url, copy } = arguments;
    require_order(dir, url, "leadspan cache push DIR URL")?;
    let (address, opened) = open(url, copy)?;
    let attempt = || format!("could not push `{}` to `{address}`", dir.display());
    run(&opened, &address, dir, showing, leadspan_stores::push, true, &attempt)
}

pub(super) fn pull(arguments: &PullArguments, showing: Showing) -> Result<Ending> {
    let PullArguments { url, dir, keep, copy } = arguments;
    require_order(dir, url, "leadspan cache pull URL DIR")?;
    require_place(dir)?;
    let settings = cut::settings(keep)?;
    let (address, opened) = open(url, copy)?;
    if !keep.is_all() {
        return pull_cut(&opened, &address, dir, &settings, showing);
    }
    let attempt = || format!("could not pull `{address}` into `{}`", dir.display());
    run(&opened, &address, dir, showing, leadspan_stores::pull, false, &attempt)
}

/// A folder and a URL in each other's place. Neither is repeated: the URL may have a password.
#[derive(Debug, thiserror::Error)]
#[error("the folder and the URL are in each other's place")]
struct Swapped {
    usage: &'static str,
}

impl Diagnosis for Swapped {
    fn hint(&self) -> Option<String> {
        Some(format!("write `{}`", self.usage))
    }
}

/// Refuses a folder and a URL in each other's place.
fn require_order(dir: &Path, url: &str, usage: &'static str) -> Result<(), Swapped> {
    if dir.to_string_lossy().contains("://") && !url.contains("://") {
        return Err(Swapped { usage });
    }
    Ok(())
}

/// Refuses a folder of the system, in another cache, or that cannot be one.
fn require_place(dir: &Path) -> Result<(), OutputRefusal> {
    let (place, path) = (without_links(dir), dir.to_owned());
    if let Some(found) = obstacle(&place) {
        return Err(OutputRefusal::NotAFolder { path, found });
    }
    match place.parent().and_then(cache_around) {
        Some(cache) => Err(OutputRefusal::InCache { path, cache }),
        None => Ok(()),
    }
}

fn open(url: &str, copy: &CopyArguments) -> Result<(Address, Opened)> {
    signals::limit(copy.stopping.stop_after, copy.stopping.grace)?;
    let parallel: NonZeroUsize = copy.parallel;
    let (address, opened) = stores::open(url, parallel).with_context(|| "could not open the store".to_owned())?;
    // Between two tries, nothing is at hand.
    let opened = opened.stopped_by(Arc::new(|| signals::cause().is_some()));
    Ok((address, opened))
}

/// Pulls only what a cut needs, and cuts it here.
fn pull_cut(
    opened: &Opened,
    address: &Address,
    dir: &Path,
    settings: &CutSettings,
    showing: Showing,
) -> Result<Ending> {
    last_line::note(json!({ "cache": path_text::text(dir), "url": address.to_string() }));
    let stop = signals::stop_on_signals("dropping the shards at hand; what was made is kept");
    let mut copying = Copying::new(showing.progress, "pulling what describes the cache");
    let mut bar = None;
    let mut following = Following {
        stop: &|| stop.load(Ordering::Relaxed),
        progress: &mut |progress| {
            let bar = bar.get_or_insert_with(|| ProgressMeter::new(showing.progress, Counted::Shards, progress.total));
            bar.advance(progress.done, true, || "pulling".to_owned());
        },
        waiting: &mut Waited::telling(),
    };
    let tell = &mut |event| copying.show(event);
    let outcome = leadspan_stores::pull_cut(opened, dir, settings, &stop, tell, &mut following);
    drop(bar);
    let pulled = match outcome.with_context(|| format!("could not cut `{address}` to `{}`", dir.display()))? {
        CutOutcome::Stopped => return Ok(stopped(dir, showing)),
        CutOutcome::Done(pulled) => pulled,
    };
    let written = CutFromStore::new(&pulled, dir, address, copying.end());
    last_line::note(noted(
        &written,
        &["shards_made", "bytes_fetched", "store_bytes", "complete"],
    ));
    showing.result(&written)?;
    Ok(Ending::Done)
}

fn run(
    opened: &Opened,
    address: &Address,
    dir: &Path,
    showing: Showing,
    copy: Copier,
    is_push: bool,
    attempt: &dyn Fn() -> String,
) -> Result<Ending> {
    last_line::note(json!({ "cache": path_text::text(dir), "url": address.to_string() }));
    let stop = signals::stop_on_signals("dropping the files at hand; what was copied is kept");
    let mut copying = Copying::new(showing.progress, if is_push { "pushing" } else { "pulling" });
    let outcome = copy(opened, dir, &stop, &mut |event| copying.show(event)).with_context(attempt)?;
    let took = copying.end();
    let summary = match outcome {
        Outcome::Stopped => return Ok(stopped(dir, showing)),
        Outcome::Done(summary) => summary,
    };
    let copied = CopiedCache::new(&summary, dir, address, is_push, took);
    last_line::note(noted(
        &copied,
        &["files_copied", "bytes_copied", "files_there", "complete"],
    ));
    showing.result(&copied)?;
    match summary.problems.into_iter().next() {
        None => Ok(Ending::Done),
        Some(problem) => Err(problem).with_context(attempt),
    }
}
