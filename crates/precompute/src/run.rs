//! The run: unit after unit, batch after batch, with the writer on a thread of its own.

use std::{
    collections::HashSet,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
};

use leadspan_cache::{Cache, CacheError, Coverage, Elsewhere, LayerDir, adopt};
use leadspan_model::ModelError;
use leadspan_workers::{Awaited, Pauses, Worker};

use crate::{
    Event, Outcome, Pipeline, PrecomputeError, Summary,
    batches::{CapturedSpan, plan_batches, spans_of},
    claiming::Claiming,
    finalize::conclude,
    prepare::Preparation,
    remaining::{LayerWork, UnitWork, check_tokens, remaining},
    stamp::Maker,
    teacher::{Heard, Teacher, TeacherSource},
    writer::{Committed, Message, write_shards},
};

/// The most batches that wait for the writer: enough to continue while a row group is compressed.
const WAITING_BATCHES: usize = 4;

/// After how many tokens a served teacher is compared with what it was, beside once before every commit: it is asked about 65 tokens,
/// less than a hundredth of these.
const UNCONFIRMED_TOKENS: u64 = 8192;

/// Captures the teacher's distributions for the work units of `worker` that have no shard yet: those of its share, or all that
/// no other worker holds if it claims units.
///
/// The worker that commits the last unit writes the manifests and the inventory. A worker that claims units waits for the holders of the last
/// units, and takes over if they die.
///
/// Prepares the corpus first if necessary. `stop` is checked between the layers of the teacher: the current unit is then
/// dropped, and the next call does the rest.
///
/// # Errors
///
/// Those of [`prepare`](crate::prepare()); a teacher that cannot be loaded or run, or whose logits are not finite; a
/// shard that cannot be written. Committed shards stay.
pub fn run(
    pipeline: &Pipeline,
    worker: Worker,
    stop: &AtomicBool,
    events: &mut dyn FnMut(Event),
) -> Result<Outcome, PrecomputeError> {
    run_beside(pipeline, worker, &Arc::default(), stop, events)
}

/// Like [`run`], where some work units are committed elsewhere: these are not captured, and not missing. As long as a unit is not
/// here, neither manifests nor the inventory are written.
///
/// # Errors
///
/// Those of [`run`].
pub fn run_beside(
    pipeline: &Pipeline,
    worker: Worker,
    elsewhere: &Arc<Elsewhere>,
    stop: &AtomicBool,
    events: &mut dyn FnMut(Event),
) -> Result<Outcome, PrecomputeError> {
    let source = TeacherSource::open(pipeline)?;
    let preparation = Preparation::new(pipeline, &source)?;
    source.reach(stop, &mut |wait| events(Event::WaitingForServer(wait)))?;
    let load = || source.start(stop, &mut |_| ());
    // A model that cannot be loaded must not become the identity of a new cache, so it is loaded before.
    let loaded = match Cache::open(&pipeline.cache_dir()) {
        Err(CacheError::NotACache { .. }) => Some(load()?),
        _ => None,
    };
    let cache = preparation.prepare(Maker::Worker, events)?.cache;
    let cache = cache.beside(Arc::clone(elsewhere));
    let settings = &pipeline.cache;
    let asked = Coverage {
        proportion: settings.lead_span_proportion,
        sections: settings.supervised_sections,
    };
    let claiming = worker
        .lease()
        .map(|lease| Claiming::new(cache.dir(), lease))
        .transpose()?;
    let number = claiming.as_ref().map_or(0, Claiming::number);
    let (remaining, works) = remaining(&cache, asked, worker, number, &mut |awaited| events(waiting(awaited)))?;
    let mut summary = Summary {
        units_skipped: remaining.units_skipped,
        ..Summary::default()
    };
    events(Event::Begun(remaining));
    if works.iter().all(|work| work.units.is_empty()) {
        check_tokens(&cache, asked, worker)?;
        cache.remove_leftovers()?;
        summary.units_missing = conclude(&cache, &asked, &mut |awaited| events(waiting(awaited)))?;
        return Ok(Outcome::Done(summary));
    }
    forget(&cache, &works, &mut |awaited| events(waiting(awaited)))?;
    let teacher = loaded.map_or_else(load, Ok)?;
    source.require_unchanged()?;
    let capturing = Capturing {
        device_class: teacher.device_class(),
        batch_tokens: teacher.batch_tokens(settings),
        teacher,
        claiming: claiming.as_ref(),
        stop,
    };
    for work in &works {
        check_lengths(&*capturing.teacher, work)?;
    }
    if let Some(distrust) = capturing.teacher.distrust() {
        events(Event::StockKernels(distrust.clone()));
    }
    if let Some(streaming) = capturing.teacher.streaming() {
        events(Event::Streaming(streaming));
    }
    events(Event::Loaded);
    for work in &works {
        if capturing.layer(work, &mut summary, events)? == Progress::Stopped {
            return Ok(Outcome::Stopped(summary));
        }
    }
    cache.remove_leftovers()?;
    summary.units_missing = conclude(&cache, &asked, &mut |awaited| events(waiting(awaited)))?;
    Ok(Outcome::Done(summary))
}

fn waiting(awaited: &Awaited) -> Event {
    Event::WaitingForLock(awaited.clone())
}

/// Removes the units that are captured again from the cache's inventory, and the manifests of their layers: this device may
/// give them other bytes than those that are stated there.
fn forget(cache: &Cache, works: &[LayerWork], waiting: &mut dyn FnMut(&Awaited)) -> Result<(), CacheError> {
    for work in works.iter().filter(|work| !work.units.is_empty()) {
        work.dir.remove_manifest()?;
    }
    let again = works.iter().flat_map(|work| {
        let layer = work.dir.layer().folder_name();
        work.units
            .iter()
            .map(move |unit| (layer.clone(), unit.unit.to_string()))
    });
    let again: HashSet<(String, String)> = again.collect();
    let is_again = |layer: &str, unit: &str| again.contains(&(layer.to_owned(), unit.to_owned()));
    cache.unlist(&is_again, waiting)
}

/// Refuses the first sample that is too long for the teacher, before anything is captured.
fn check_lengths(teacher: &dyn Teacher, work: &LayerWork) -> Result<(), PrecomputeError> {
    let corpus = work.dir.corpus();
    for work_unit in &work.units {
        for span in spans_of(work.dir.layer(), corpus, &work_unit.unit) {
            teacher.check_length(corpus.sample(span.sample as usize).id, span.tokens)?;
        }
    }
    Ok(())
}

/// What capturing needs for every layer.
struct Capturing<'a> {
    teacher: Box<dyn Teacher + 'a>,
    device_class: String,
    batch_tokens: usize,
    claiming: Option<&'a Claiming>,
    stop: &'a AtomicBool,
}

impl Capturing<'_> {
    /// Captures the units of one layer, while the writer runs on a thread of its own.
    fn layer(
        &self,
        work: &LayerWork,
        summary: &mut Summary,
        events: &mut dyn FnMut(Event),
    ) -> Result<Progress, PrecomputeError> {
        let (to_writer, messages) = mpsc::sync_channel(WAITING_BATCHES);
        let (from_writer, committed) = mpsc::channel();
        let (capturing, ended) = mpsc::channel();
        thread::scope(|scope| {
            if let Some(claiming) = self.claiming {
                scope.spawn(move || claiming.keep(&ended));
            }
            // Claims are renewed until this is dropped: when everything is committed, or on a failure.
            let _capturing: Sender<()> = capturing;
            let writer = scope.spawn(|| {
                write_shards(&work.dir, &*self.teacher, &self.device_class, messages, &{
                    from_writer
                })
            });
            let mut capture = Capture {
                teacher: &*self.teacher,
                layer: &work.dir,
                batch_tokens: self.batch_tokens,
                claiming: self.claiming,
                stop: self.stop,
                committed,
                units: &work.units,
                summary,
                events,
            };
            let captured = capture.all(&to_writer);
            // Without a sender the writer ends. If capturing panics, unwinding drops the sender too.
            drop(to_writer);
            let written = writer.join().unwrap_or_else(|panic| resume_unwind(panic));
            capture.report_committed();
            // If the writer failed, capturing ended only because nobody took its results.
            written?;
            captured
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Finished,
    Stopped,
    /// The writer has ended, and its result says why.
    WriterGone,
}

struct Capture<'a> {
    teacher: &'a dyn Teacher,
    layer: &'a LayerDir,
    batch_tokens: usize,
    claiming: Option<&'a Claiming>,
    stop: &'a AtomicBool,
    committed: Receiver<Committed>,
    units: &'a [UnitWork],
    summary: &'a mut Summary,
    events: &'a mut dyn FnMut(Event),
}

impl Capture<'_> {
    /// Captures every unit. Tries units that other workers hold again, until nobody holds one.
    fn all(&mut self, to_writer: &SyncSender<Message>) -> Result<Progress, PrecomputeError> {
        let mut left: Vec<&UnitWork> = self.units.iter().collect();
        let mut pauses = Pauses::default();
        loop {
            let (mut held, mut holders) = (Vec::new(), Vec::new());
            for work in left {
                if self.is_there(work)? {
                    continue;
                }
                if let Some(claiming) = self.claiming {
                    if let Some(holder) = claiming.take(self.layer, &work.unit)? {
                        held.push(work);
                        holders.push(holder);
                        continue;
                    }
                    // The worker that held it before may have done it.
                    if self.is_there(work)? {
                        claiming.release(&work.unit);
                        continue;
                    }
                }
                match self.unit(work, to_writer)? {
                    Progress::Finished => {}
                    ended => return Ok(ended),
                }
            }
            let Some(holder) = holders.into_iter().next() else {
                return Ok(Progress::Finished);
            };
            if self.stop.load(Ordering::Relaxed) {
                return Ok(Progress::Stopped);
            }
            self.report_committed();
            let units = held.len();
            (self.events)(Event::WaitingForUnits { units, holder });
            pauses.next();
            left = held;
        }
    }

    /// Whether a unit is done. Also takes up a shard whose writer died before it wrote the receipt.
    fn is_there(&mut self, work: &UnitWork) -> Result<bool, PrecomputeError> {
        if adopt(self.layer, &work.unit)?.is_none() {
            return Ok(false);
        }
        self.summary.units_skipped += 1;
        let UnitWork {
            unit,
            tokens,
            positions,
        } = work.clone();
        (self.events)(Event::UnitFound {
            unit,
            tokens,
            positions,
        });
        Ok(true)
    }

    fn unit(&mut self, work: &UnitWork, to_writer: &SyncSender<Message>) -> Result<Progress, PrecomputeError> {
        let corpus = self.layer.corpus();
        let spans = spans_of(self.layer.layer(), corpus, &work.unit);
        if to_writer.send(Message::Begin(work.unit.clone())).is_err() {
            return Ok(Progress::WriterGone);
        }
        let unit_name = work.unit.to_string();
        let mut unconfirmed = 0;
        let batches = plan_batches(&spans, self.batch_tokens);
        let last = batches.len().saturating_sub(1);
        for (number, spans) in batches.into_iter().enumerate() {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(Progress::Stopped);
            }
            let (claiming, events) = (self.claiming, &mut *self.events);
            let heard = &mut |heard| {
                match heard {
                    Heard::Waiting(wait) => events(Event::WaitingForServer(wait)),
                    Heard::Sample | Heard::Further => claiming.into_iter().for_each(Claiming::advance),
                    Heard::Done(_) => {}
                }
                Ok(())
            };
            let sum = |of: fn(&CapturedSpan) -> u32| spans.iter().map(|span| u64::from(of(span))).sum();
            let (tokens, positions): (u64, u64) = (sum(|span| span.tokens), sum(|span| span.positions));
            unconfirmed += tokens;
            let mut captured = self
                .teacher
                .capture(spans, self.layer.layer(), corpus, self.stop, heard);
            if captured.is_ok() && (number == last || unconfirmed >= UNCONFIRMED_TOKENS) {
                unconfirmed = 0;
                captured = self.teacher.confirm(&unit_name, self.stop, heard).and(captured);
            }
            let captured = match captured {
                Err(PrecomputeError::Model(ModelError::Stopped)) => return Ok(Progress::Stopped),
                captured => captured?,
            };
            if let Some(claiming) = self.claiming {
                claiming.advance();
            }
            let samples = spans.len();
            let spans = spans.to_vec();
            if to_writer.send(Message::Batch { spans, captured }).is_err() {
                return Ok(Progress::WriterGone);
            }
            (self.events)(Event::Batch {
                unit: work.unit.clone(),
                samples: samples as u64,
                tokens,
                positions,
            });
            self.report_committed();
        }
        if to_writer.send(Message::Finish).is_err() {
            return Ok(Progress::WriterGone);
        }
        Ok(Progress::Finished)
    }

    /// Reports the shards that the writer has committed since the last call.
    fn report_committed(&mut self) {
        for Committed { unit, receipt } in self.committed.try_iter() {
            if let Some(claiming) = self.claiming {
                claiming.release(&unit);
            }
            let tokens = self
                .units
                .iter()
                .find(|work| work.unit == unit)
                .map_or(0, |work| work.tokens);
            let samples = unit.samples.len() as u64;
            self.summary.units_written += 1;
            self.summary.samples += samples;
            self.summary.tokens += tokens;
            let (positions, bytes) = (receipt.positions, receipt.shard_bytes());
            self.summary.positions += positions;
            self.summary.bytes += bytes;
            (self.events)(Event::UnitCommitted {
                unit,
                samples,
                tokens,
                positions,
                bytes,
            });
        }
    }
}
