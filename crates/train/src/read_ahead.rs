//! A thread that reads and lays out steps ahead of the loop.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use leadspan_cache::CacheError;

use crate::{batches::Step, parallel::share::Share, run_inputs::RunInputs};

/// A step that was read, or the error that prevented it.
pub(crate) type ReadStep = Result<Step, CacheError>;

/// Steps that may wait between the reading thread and the loop.
pub(crate) fn step_queue() -> (SyncSender<ReadStep>, Receiver<ReadStep>) {
    sync_channel(2)
}

/// Reads the `share` of the steps after the first `done` ones into `read_steps`, one after the other, until the receiver is
/// dropped or a step cannot be read.
pub(crate) fn read_ahead(inputs: &RunInputs, share: Share, done: usize, read_steps: &SyncSender<ReadStep>) {
    let (reader, batching) = (inputs.readers.training(), inputs.batching);
    let mut replayed = inputs.replay.as_ref().map(|replay| (replay, replay.batches(done)));
    for samples in inputs.steps.batches(done) {
        let more = replayed
            .as_mut()
            .and_then(|(replay, batches)| Some((*replay, batches.next()?)));
        let of_replay = more.as_ref().map(|(replay, more)| (&replay.reader, more.as_slice()));
        let (mine, more_of_mine) = share.of_step((reader, samples.as_slice()), of_replay);
        let step = match &more {
            None => batching.step(reader, &mine),
            Some((replay, _)) => batching.mixed_step(reader, &mine, replay, more_of_mine),
        };
        let failed = step.is_err();
        let all = samples.iter().map(|kept| kept.sample).collect();
        let step = step.map(|step| step.of_whole(all, more.map(|(_, more)| more)));
        if read_steps.send(step).is_err() || failed {
            return;
        }
    }
}
