//! The events of a run, and how it ended.

use leadspan_cache::WorkUnit;
use leadspan_corpus::{PrepareProgress, PrepareReport};
use leadspan_model::Distrust;
use leadspan_workers::{Awaited, Holder};

use crate::{Remaining, ServerWait, Streaming};

/// What happened during a run. Tokens are those that go through the model; there is no padding.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another process holds a lock on the same cache. Repeated while it does.
    WaitingForLock(Awaited),
    /// The server that runs the teacher does not answer. Told once for each reason and batch.
    WaitingForServer(ServerWait),
    /// Files of the tokenizer, by their names, were missing in the cache and were written anew.
    TokenizerRestored(Vec<String>),
    /// Some more rows were read.
    Preparing(PrepareProgress),
    /// The chat template shows no token that ends the model's turn, so none joins the stop tokens of the student.
    NoEndOfTurn,
    /// The prepared corpus is in the cache.
    Prepared {
        /// What became of the rows.
        report: PrepareReport,
        /// How it came into the cache.
        origin: Origin,
    },
    /// The run knows what is left to do.
    Begun(Remaining),
    /// The teacher runs in stock operations, because its fused kernels cannot be trusted on this device.
    StockKernels(Distrust),
    /// The teacher's weights do not fit into the memory that they may take, so they are read layer by layer in every pass.
    Streaming(Streaming),
    /// The teacher is loaded, and the first unit begins.
    Loaded,
    /// One batch went through the model.
    Batch {
        /// The work unit it belongs to.
        unit: WorkUnit,
        /// Samples of this batch.
        samples: u64,
        /// Tokens of this batch.
        tokens: u64,
        /// Positions of this batch.
        positions: u64,
    },
    /// A work unit's shard is in the cache.
    UnitCommitted {
        /// The work unit.
        unit: WorkUnit,
        /// Its samples.
        samples: u64,
        /// Tokens that went through the model for it.
        tokens: u64,
        /// Stored positions.
        positions: u64,
        /// Size of the shard.
        bytes: u64,
    },
    /// Another process committed a planned unit before this one came to it.
    UnitFound {
        /// The work unit.
        unit: WorkUnit,
        /// Tokens that need not go through the model.
        tokens: u64,
        /// Positions that need not be captured.
        positions: u64,
    },
    /// Other workers hold all units that are left of a layer. Repeated until they are done or dead.
    WaitingForUnits {
        /// The number of these units.
        units: usize,
        /// The worker that holds the first of them.
        holder: Holder,
    },
}

/// How the prepared corpus came into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was in the cache already, prepared from the same data.
    Found,
    /// This run made it.
    Made,
    /// It was in the cache already, and this run appended a part because the files of the data had changed.
    Extended {
        /// Training samples of appended rows; 0 if the changed files give the same samples as before.
        samples: u64,
        /// The work units they form.
        units: u64,
    },
}

/// How a run ended if it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every work unit of this worker's share has a shard, or every unit of all if the worker claims units.
    Done(Summary),
    /// It was told to stop. The same call does the rest.
    Stopped(Summary),
}

/// The work of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Written shards.
    pub units_written: usize,
    /// Work units of this worker that had a shard already.
    pub units_skipped: usize,
    /// Samples of the written shards.
    pub samples: u64,
    /// Tokens that went through the model for the written shards.
    pub tokens: u64,
    /// Stored positions.
    pub positions: u64,
    /// Stored bytes.
    pub bytes: u64,
    /// Work units of all workers that are still missing, counted once for each layer. 0 if the run was stopped.
    pub units_missing: usize,
}
