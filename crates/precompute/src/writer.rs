//! The writer thread: receives batches as they are computed and writes their samples to shards.

use std::sync::mpsc::{Receiver, Sender};

use leadspan_cache::{CacheError, LayerDir, Receipt, ShardWriter, WorkUnit};
use leadspan_distribution::Distributions;

use crate::{PrecomputeError, batches::CapturedSpan, captured::Captured, teacher::Teacher};

/// A message to the writer. A unit begins, its batches follow, and it is finished before the next begins.
pub(crate) enum Message {
    Begin(WorkUnit),
    Batch {
        /// The samples of the batch, in the order of `distributions`.
        spans: Vec<CapturedSpan>,
        /// The positions of the samples, one sample after the other.
        captured: Captured,
    },
    Finish,
}

/// A committed shard.
pub(crate) struct Committed {
    pub(crate) unit: WorkUnit,
    pub(crate) receipt: Receipt,
}

/// Writes shards until the sender is dropped. A unit that is not finished by then leaves nothing behind.
///
/// # Errors
///
/// The first error of the cache, or of the device that was still working on a batch of `teacher`. Later messages are not
/// received.
pub(crate) fn write_shards(
    layer: &LayerDir,
    teacher: &dyn Teacher,
    device_class: &str,
    messages: Receiver<Message>,
    committed: &Sender<Committed>,
) -> Result<(), PrecomputeError> {
    let mut open: Option<OpenShard> = None;
    for message in messages {
        match message {
            Message::Begin(unit) => open = Some(OpenShard::create(layer, unit, device_class)?),
            Message::Batch { spans, captured } => {
                let distributions = teacher.finish(captured)?;
                open.as_mut()
                    .expect("a unit is begun before its batches come")
                    .take(&spans, &distributions)?;
            }
            Message::Finish => {
                let shard = open.take().expect("a unit is begun before it is finished");
                let receipt = shard.writer.commit()?;
                // If the run has failed meanwhile, nobody receives this, but the shard is committed.
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
