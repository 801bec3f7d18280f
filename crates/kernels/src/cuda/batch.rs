//! What all layers need of a batch, in device memory: edges, positions, and the tiles of attention.
//!
//! It is uploaded once, when the first layer asks for it, and forgotten when another batch comes.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{
    CudaDevice, Result,
    cuda_backend::{DeviceId, cudarc::driver::CudaSlice},
};

use super::staging::upload;

/// Values of a batch in device memory, shared by the layers.
pub(super) struct Shared<S: ?Sized, T> {
    last: Mutex<Option<(DeviceId, Arc<S>, Arc<T>)>>,
}

impl<S: ?Sized, T> Shared<S, T> {
    pub(super) const fn new() -> Self {
        Self { last: Mutex::new(None) }
    }

    /// What `make` makes of `source`, or what it made of it in the last call.
    pub(super) fn of(
        &self,
        device: &CudaDevice,
        source: &Arc<S>,
        make: impl FnOnce(&S) -> Result<T>,
    ) -> Result<Arc<T>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // The source is kept, so no other can have its address.
        if let Some((id, known, made)) = &*last
            && *id == device.id()
            && Arc::ptr_eq(known, source)
        {
            return Ok(Arc::clone(made));
        }
        let made = Arc::new(make(source)?);
        *last = Some((device.id(), Arc::clone(source), Arc::clone(&made)));
        Ok(made)
    }
}

/// The sequences of a batch as the attention kernels see them.
pub(super) struct Sequences {
    /// The first row of each sequence, and finally the number of rows.
    pub(super) edges: CudaSlice<i32>,
    /// Pairs of a sequence and a tile of it, those with most work first.
    pub(super) tiles: CudaSlice<i32>,
    /// The number of pairs.
    pub(super) tile_count: usize,
}

impl Sequences {
    /// Tiles of `tile` rows. `later_first` puts tiles at the ends of sequences first: a tile of queries sees all keys before
    /// it. Otherwise tiles at the starts come first: a tile of keys is seen by all queries behind it.
    pub(super) fn new(device: &CudaDevice, edges: &[usize], tile: usize, later_first: bool) -> Result<Self> {
        let tiles = tiles(edges, tile, later_first);
        let flat: Vec<i32> = tiles.iter().flatten().copied().collect();
        let edges: Vec<i32> = edges.iter().map(|&edge| edge as i32).collect();
        Ok(Self {
            edges: upload(device, &edges)?,
            tiles: upload(device, &flat)?,
            tile_count: tiles.len(),
        })
    }
}

/// Pairs of a sequence and a tile of it, those with most work first.
fn tiles(edges: &[usize], tile: usize, later_first: bool) -> Vec<[i32; 2]> {
    let mut tiles: Vec<(usize, [i32; 2])> = Vec::new();
    for (sequence, bounds) in edges.windows(2).enumerate() {
        let length = bounds[1] - bounds[0];
        for index in 0..length.div_ceil(tile) {
            let seen = if later_first {
                index
            } else {
                length.div_ceil(tile) - index
            };
            tiles.push((seen, [sequence as i32, index as i32]));
        }
    }
    // Stable, so that the order does not depend on the sort.
    tiles.sort_by_key(|&(seen, _)| std::cmp::Reverse(seen));
    tiles.into_iter().map(|(_, pair)| pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_is_there_once_and_those_with_most_work_come_first() {
        assert_eq!(tiles(&[0, 130, 130, 131], 64, true), [[0, 2], [0, 1], [0, 0], [2, 0]]);
        assert_eq!(tiles(&[0, 130, 130, 131], 64, false), [[0, 0], [0, 1], [0, 2], [2, 0]]);
    }
}
