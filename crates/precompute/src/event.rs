//! What a run tells the program while it goes on, and how it ended.

use leadspan_cache::WorkUnit;
use leadspan_corpus::{PrepareProgress, PrepareReport};
use leadspan_workers::Holder;

use crate::Remaining;

/// Something that happened. Tokens are those that go through the model, without padding.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another process prepares the same cache; told again and again for as long as it does.
    WaitingForPreparation(Holder),
    /// Some more rows were read.
    Preparing(PrepareProgress),
    /// The prepared corpus is in the cache.
    Prepared {
        /// What became of the rows.
        report: PrepareReport,
        /// How it came there.
        origin: Origin,
    },
    /// It is known what is left to do.
    Begun(Remaining),
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
    /// Other workers hold all the units that are left of a layer; told again and again until they are done or dead.
    WaitingForUnits {
        /// How many.
        units: usize,
    },
}

/// How the prepared corpus came into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was there already, of the same data.
    Found,
    /// It was made now.
    Made,
    /// It was there already, and a part was put behind it now because the files of the data had changed.
    Extended {
        /// Training samples of appended rows. None where the changed files give the samples they gave.
        samples: u64,
        /// The work units they form.
        units: u64,
    },
}

/// How a run ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every work unit of this worker's share has its shard, or of all where it claims them.
    Done(Summary),
    /// It was told to stop; running it again does the rest.
    Stopped(Summary),
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Shards written.
    pub units_written: usize,
    /// Work units of this worker whose shards were there already.
    pub units_skipped: usize,
    /// Samples of the written shards.
    pub samples: u64,
    /// Tokens that went through the model for the written shards.
    pub tokens: u64,
    /// Positions stored.
    pub positions: u64,
    /// Bytes stored.
    pub bytes: u64,
    /// Work units that are missing still, of all workers, counted once for each layer; what a run that was stopped leaves is
    /// not counted.
    pub units_missing: usize,
}
