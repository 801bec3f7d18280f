//! The writer thread: takes batches as they are computed and writes their samples.

use std::sync::mpsc::{Receiver, Sender};

use leadspan_cache::{CacheError, LayerDir, Receipt, ShardWriter, WorkUnit};
use leadspan_distribution::Distributions;

use crate::batches::CapturedSpan;

/// What the writer is told. A unit is begun, gets its batches, and is finished before the next is begun.
pub(crate) enum Message {
    Begin(WorkUnit),
    Batch {
        /// Each sample of the batch, in the order of `distributions`.
        spans: Vec<CapturedSpan>,
        /// Their positions, back to back.
        distributions: Box<Distributions>,
    },
    Finish,
}

/// A shard that is in the cache.
pub(crate) struct Committed {
    pub(crate) unit: WorkUnit,
    pub(crate) receipt: Receipt,
}

/// Writes shards until there are no more messages; a unit that is not finished by then leaves nothing behind.
///
/// # Errors
///
/// The first that the cache reports: messages that are still to come find nobody listening.
pub(crate) fn write_shards(
    layer: &LayerDir,
    device_class: &str,
    messages: Receiver<Message>,
    committed: &Sender<Committed>,
) -> Result<(), CacheError> {
    let mut open: Option<OpenShard> = None;
    for message in messages {
        match message {
            Message::Begin(unit) => open = Some(OpenShard::create(layer, unit, device_class)?),
            Message::Batch { spans, distributions } => {
                open.as_mut()
                    .expect("a unit is begun before its batches come")
                    .take(&spans, &distributions)?;
            }
            Message::Finish => {
                let shard = open.take().expect("a unit is begun before it is finished");
                let receipt = shard.writer.commit()?;
                // Nobody listens any more where the run failed meanwhile; the shard is good all the same.
                let _ = committed.send(Committed {
                    unit: shard.unit,
                    receipt,
                });
            }
        }
    }
    Ok(())
}

struct OpenShard<'a> {
    layer: &'a LayerDir,
    unit: WorkUnit,
    writer: ShardWriter,
}

impl<'a> OpenShard<'a> {
    fn create(layer: &'a LayerDir, unit: WorkUnit, device_class: &str) -> Result<Self, CacheError> {
        let writer = ShardWriter::create(layer, &unit)?.with_device_class(device_class);
        Ok(Self { layer, unit, writer })
    }

    fn take(&mut self, spans: &[CapturedSpan], distributions: &Distributions) -> Result<(), CacheError> {
        let mut rest = distributions.iter();
        for span in spans {
            let count = span.positions as usize;
            let mut of_sample = Distributions::with_capacity(count, 0);
            for position in rest.by_ref().take(count) {
                of_sample.push(position);
            }
            let sample = self.layer.corpus().sample(span.sample as usize);
            let positions: Vec<u32> = self.layer.layer().positions(sample).collect();
            self.writer.push_sample(span.sample, &positions, &of_sample)?;
        }
        Ok(())
    }
}
