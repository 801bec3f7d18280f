//! Copying a cache out of a store.

use std::{path::Path, sync::atomic::AtomicBool};

use leadspan_cache::{Elsewhere, Identity};
use leadspan_files::create_folder;

use crate::{
    Event, Opened, Outcome, StoreError, Summary,
    names::{self, INVENTORY, Kind},
    parallel,
    plan::{Plan, Small, Unit, Units},
    pulled::Pulled,
    records::{Identified, parsed},
    store::Store,
    told::Copied,
};

/// Copies a cache from a store into `dir`, which is made if it is missing. `stop` is checked between pieces; `events` is called
/// on this thread.
///
/// The cache in the store may be incomplete, unless the store cannot list its files: then its inventory says what there is.
/// Work units whose files are damaged or missing in the store are left out and are the summary's problems; the manifests and
/// the inventory are then left out as well.
///
/// # Errors
///
/// [`StoreError::NoCache`] if the store has none; [`StoreError::Occupied`] or [`StoreError::OtherCache`] if `dir` has something
/// else; [`StoreError::Damaged`] or [`StoreError::Missing`] if what every work unit needs is not as it is described; the error of
/// a store that refuses or does not answer, or of a file here.
pub fn pull(
    opened: &Opened,
    dir: &Path,
    stop: &AtomicBool,
    events: &mut dyn FnMut(Event),
) -> Result<Outcome, StoreError> {
    let from = (&*opened.store as &dyn Store, opened.parallel);
    ended(pull_files(from, (dir, None), Units::Whole, stop, events))
}

/// Like [`pull`], without the shards. The folder is what a cut needs of a cache besides [ranges of its
/// shards](Opened::shard).
///
/// # Errors
///
/// Those of [`pull`].
pub fn pull_frame(
    opened: &Opened,
    dir: &Path,
    stop: &AtomicBool,
    events: &mut dyn FnMut(Event),
) -> Result<Outcome, StoreError> {
    let from = (&*opened.store as &dyn Store, opened.parallel);
    ended(pull_files(from, (dir, None), Units::WithoutShards, stop, events))
}

/// Copies what every worker of a capture needs, and no work unit, manifest or inventory. Also returns the work units that the store
/// has, as its list and their receipts say; those that are damaged are the summary's problems.
///
/// # Errors
///
/// Those of [`pull`].
pub fn pull_base(
    opened: &Opened,
    dir: &Path,
    stop: &AtomicBool,
    events: &mut dyn FnMut(Event),
) -> Result<(Outcome, Elsewhere), StoreError> {
    let from = (&*opened.store as &dyn Store, opened.parallel);
    let pulled = pull_files(from, (dir, None), Units::Nothing, stop, events);
    let sound = match &pulled {
        Ok(pulled) => pulled.sound.iter().filter_map(|shard| names::unit_of(shard)).collect(),
        Err(_) => Elsewhere::default(),
    };
    Ok((ended(pulled)?, sound))
}

/// The identity of the cache in a store; `None` if the store has no cache yet.
///
/// # Errors
///
/// [`StoreError::BadJson`] if it is damaged; the error of a store that refuses or does not answer.
pub fn stored_identity(opened: &Opened) -> Result<Option<Identity>, StoreError> {
    let Some(bytes) = opened.store.read(names::IDENTITY)? else {
        return Ok(None);
    };
    let place = opened.store.url_of(names::IDENTITY);
    Ok(Some(parsed::<Identified>(&bytes, &place)?.identity))
}

fn ended(result: Result<FilesPulled, StoreError>) -> Result<Outcome, StoreError> {
    match result {
        Ok(pulled) => Ok(Outcome::Done(pulled.summary)),
        Err(StoreError::Stopped) => Ok(Outcome::Stopped),
        Err(error) => Err(error),
    }
}

/// What [`pull_files`] did.
#[derive(Default)]
pub(crate) struct FilesPulled {
    pub(crate) summary: Summary,
    /// The names of the shards whose work units are whole in the store.
    sound: Vec<String>,
}

/// Copies the files of a cache, so many at a time. What the folder beside has of the corpus and the tokenizer is not fetched.
///
/// # Errors
///
/// Those of [`pull`], and [`StoreError::Stopped`].
pub(crate) fn pull_files(
    (store, threads): (&dyn Store, usize),
    (dir, beside): (&Path, Option<&Path>),
    units: Units,
    stop: &AtomicBool,
    events: &mut dyn FnMut(Event),
) -> Result<FilesPulled, StoreError> {
    let plan = Plan::make(store)?;
    let pulled = Pulled { store, dir, beside };
    pulled.require_place(&plan)?;
    let takes_origin = pulled.takes_origin()?;
    create_folder(dir)?;
    let FilesPulled { mut summary, mut sound } = FilesPulled::default();
    events(Event::Begun {
        files: plan.files(),
        bytes: plan.bytes(units),
    });
    let count = |summary: &mut Summary, copied: Vec<Copied>| copied.into_iter().for_each(|one| summary.count(one));
    let of_kind = |kind: Kind| -> Vec<&Small> { plan.small.iter().filter(|small| small.kind == kind).collect() };
    let write = |small: &&Small, _: &dyn Fn(Event)| pulled.small(small);
    let copied = parallel::each(&plan.tokenizer, threads, stop, events, &|file, _| {
        pulled.tokenizer(file)
    })?;
    count(&mut summary, copied);
    count(
        &mut summary,
        parallel::each(&of_kind(Kind::Identity), 1, stop, events, &write)?,
    );
    if takes_origin {
        count(
            &mut summary,
            parallel::each(&of_kind(Kind::Origin), 1, stop, events, &write)?,
        );
    }
    let copied = parallel::each(&plan.data, threads, stop, events, &|data, tell| {
        pulled.data(data, stop, tell)
    })?;
    count(&mut summary, copied);
    for kind in [Kind::Description, Kind::Layer] {
        count(&mut summary, parallel::each(&of_kind(kind), 1, stop, events, &write)?);
    }
    let copy = |unit: &Unit, tell: &dyn Fn(Event)| {
        let copied = match units {
            Units::Whole => pulled.unit(unit, &plan, stop, tell),
            Units::WithoutShards => pulled.receipt(unit, &plan),
            Units::Nothing => pulled.require_stored(unit, &plan).map(|()| Vec::new()),
        };
        match copied {
            Err(error) if error.is_damage() => Ok(Err(error)),
            copied => copied.map(Ok),
        }
    };
    let copied = parallel::each(&plan.units, threads, stop, events, &copy)?;
    for (unit, copied) in plan.units.iter().zip(copied) {
        match copied {
            Ok(copied) => {
                count(&mut summary, copied);
                sound.push(unit.shard.clone());
            }
            Err(problem) => summary.problems.push(problem),
        }
    }
    if summary.problems.is_empty() && units != Units::Nothing {
        count(
            &mut summary,
            parallel::each(&plan.manifests, threads, stop, events, &|name, _| pulled.manifest(name))?
                .into_iter()
                .flatten()
                .collect(),
        );
        if let Some(inventory) = &plan.inventory {
            summary.count(pulled.inventory(INVENTORY, inventory)?);
            // One that was taken while others were captured does not list their work units.
            summary.complete = plan.units.iter().all(|unit| unit.listed.is_some());
        }
    }
    Ok(FilesPulled { summary, sound })
}
