//! A thread that reads and lays out steps ahead of the loop.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use leadspan_cache::CacheError;

use crate::{batches::Step, run_inputs::RunInputs};

/// A step that was read, or the error that prevented it.
pub(crate) type ReadStep = Result<Step, CacheError>;

/// Steps that may wait between the reading thread and the loop.
pub(crate) fn step_queue() -> (SyncSender<ReadStep>, Receiver<ReadStep>) {
    sync_channel(2)
}

/// Reads the steps after the first `done` ones into `read_steps`, one after the other, until the receiver is dropped or a
/// step cannot be read.
pub(crate) fn read_ahead(inputs: &RunInputs, done: usize, read_steps: &SyncSender<ReadStep>) {
    let (reader, batching) = (inputs.readers.training(), inputs.batching);
    let mut replayed = inputs.replay.as_ref().map(|replay| (replay, replay.batches(done)));
    for samples in inputs.steps.batches(done) {
        let more = replayed
            .as_mut()
            .and_then(|(replay, batches)| Some((*replay, batches.next()?)));
        let step = match more {
            None => batching.step(reader, &samples),
            Some((replay, more)) => batching.mixed_step(reader, &samples, replay, more),
        };
        let failed = step.is_err();
        if read_steps.send(step).is_err() || failed {
            return;
        }
    }
}
