//! What launchers and kernels must agree on: layouts of structs, threads of a block, rows and columns of tiles, shared memory.
//!
//! `cuda/agreement.txt` lists all of it. A test below compares this file with the list, and `tests/emulation/agreement.cpp`
//! compares the kernels with it. Neither needs a GPU.

/// Supervised rows as `objective` takes them by value: addresses in device memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SupervisedRows {
    pub(crate) targets: u64,
    pub(crate) weights: u64,
    pub(crate) offsets: u64,
    pub(crate) token_ids: u64,
    pub(crate) measured: u64,
    /// 0 if it is `measured`.
    pub(crate) taught: u64,
    /// 0 if nothing is drawn.
    pub(crate) drawn_offsets: u64,
    pub(crate) drawn_ids: u64,
    pub(crate) drawn_probabilities: u64,
}

/// A loss's parameter with the logarithms of it and of what it leaves of 1.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) value: f64,
    pub(crate) log: f64,
    pub(crate) log_of_rest: f64,
}

/// What is learnt, as `objective` takes it by value.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Objective {
    pub(crate) loss: i32,
    pub(crate) on_entries_alone: i32,
    pub(crate) parameter: Share,
    pub(crate) temperature: f64,
    pub(crate) alpha: f64,
}

/// A parameter in the table of `adamw`: addresses in device memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) weight: u64,
    pub(crate) rest: u64,
    pub(crate) first_moment: u64,
    pub(crate) second_moment: u64,
    pub(crate) gradient: u64,
    pub(crate) count: i64,
    pub(crate) decays: i32,
}

/// The numbers of one update, as `adamw` takes them by value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Update {
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) rate: f32,
    pub(crate) root_scale: f32,
    pub(crate) epsilon: f32,
    pub(crate) keep: f32,
}

/// The numbers that a row of the objective leaves.
pub(crate) const ROW_LOSSES: usize = 6;
/// The threads of a block of `objective`.
pub(crate) const OBJECTIVE_THREADS: usize = 256;
/// The threads of the block of `row_losses`, and its shared memory.
pub(crate) const LOSS_SUM_THREADS: usize = 256;
pub(crate) const LOSS_SUM_SHARED_BYTES: usize = LOSS_SUM_THREADS / 32 * ROW_LOSSES * 8;

/// The shared memory of `objective` for rows of at most so many entries and drawn tokens.
pub(crate) const fn objective_shared_bytes(entries: usize, drawn: usize) -> usize {
    let warps = OBJECTIVE_THREADS / 32;
    ((entries + 1) * 3 + 2 + 4 * warps) * 8 + (entries + drawn + 2 * warps + 2) * 4
}

/// The threads of a block of every kernel of the optimizer.
pub(crate) const ADAMW_THREADS: usize = 256;
/// The elements of a block of `adamw` and `adamw_gradient_squares`.
pub(crate) const ADAMW_BLOCK: usize = 8192;
/// The shared memory of the kernels of the optimizer that add up.
pub(crate) const ADAMW_SHARED_BYTES: usize = ADAMW_THREADS / 32 * 8;

/// The threads of a block of the kernels that normalise rows.
pub(crate) const NORM_THREADS: usize = 128;
/// The shared memory of `rms_norm`.
pub(crate) const NORM_SHARED_BYTES: usize = NORM_THREADS / 32 * 2 * 4;

/// The shared memory of `rms_norm_backward`.
pub(crate) const fn norm_backward_shared_bytes(width: usize) -> usize {
    NORM_SHARED_BYTES + width * 4
}

/// The columns of a block of `column_sums`, its threads, and its shared memory.
pub(crate) const COLUMN_SUM_COLUMNS: usize = 32;
pub(crate) const COLUMN_SUM_THREADS: usize = 1024;
pub(crate) const COLUMN_SUM_SHARED_BYTES: usize = COLUMN_SUM_THREADS * 4;

/// The threads of a block of the rotary kernels.
pub(crate) const ROTARY_THREADS: usize = 128;

/// The shared memory of `head_norm_rotary_backward`.
pub(crate) const fn rotary_backward_shared_bytes(head_dim: usize) -> usize {
    ROTARY_THREADS / group(head_dim) * 2 * head_dim * 4
}

/// The threads that work on a head together in `head_norm_rotary_backward` and `attention_delta`.
const fn group(head_dim: usize) -> usize {
    match head_dim {
        0..=64 => 8,
        65..=128 => 16,
        _ => 32,
    }
}

/// The threads of a block of the gated nonlinearity, and its columns.
pub(crate) const SWIGLU_THREADS: usize = 256;
pub(crate) const SWIGLU_COLUMNS: usize = 8 * SWIGLU_THREADS;

/// The threads of a block of `embedding_backward`, and its columns.
pub(crate) const EMBEDDING_THREADS: usize = 128;
pub(crate) const EMBEDDING_COLUMNS: usize = 4 * EMBEDDING_THREADS;

/// The threads of a block of `select_rows`, and the logits that it takes at a time.
pub(crate) const SELECTION_THREADS: usize = 512;
pub(crate) const SELECTION_STEP: usize = 4 * SELECTION_THREADS;

/// The shared memory of `select_rows`.
pub(crate) const fn selection_shared_bytes(room: usize) -> usize {
    room * 8 + SELECTION_THREADS / 32 * 16 * 4 + 16
}

/// The widths of heads for which there are kernels.
pub(crate) const HEAD_WIDTHS: [usize; 4] = [64, 96, 128, 256];
/// The threads of a block of `attention_forward`, and of `attention_backward_queries`.
pub(crate) const ATTENTION_THREADS: usize = 128;
/// The threads of a block of `attention_delta`.
pub(crate) const DELTA_THREADS: usize = 256;
/// The rows of a tile of the backward kernels.
pub(crate) const BACKWARD_TILE: usize = 64;

/// The rows of a tile of keys in `attention_forward`.
pub(crate) const fn forward_keys(head_dim: usize) -> usize {
    if head_dim > 128 { 32 } else { 64 }
}

/// The shared memory of `attention_forward` for tiles of `tile` queries.
pub(crate) const fn forward_shared_bytes(head_dim: usize, tile: usize) -> usize {
    (tile + 4 * forward_keys(head_dim)) * head_dim * 2
}

/// The rows of a block of `attention_delta`.
pub(crate) const fn delta_rows(head_dim: usize) -> usize {
    DELTA_THREADS / group(head_dim)
}

/// The threads of a block of `attention_backward_keys`.
pub(crate) const fn backward_keys_threads(head_dim: usize) -> usize {
    if head_dim > 128 { 256 } else { 128 }
}

/// The shared memory of `attention_backward_keys`.
pub(crate) const fn backward_keys_shared_bytes(head_dim: usize) -> usize {
    backward_queries_shared_bytes(head_dim) + 4 * other_tile(head_dim) * 4
}

/// The shared memory of `attention_backward_queries`.
pub(crate) const fn backward_queries_shared_bytes(head_dim: usize) -> usize {
    (2 * BACKWARD_TILE + 4 * other_tile(head_dim)) * head_dim * 2
}

/// The rows that a backward kernel takes at a time of the other side.
const fn other_tile(head_dim: usize) -> usize {
    if head_dim > 128 { 16 } else { 64 }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        mem::{offset_of, size_of},
    };

    use super::*;
    use crate::DeviceLoss;

    /// The sizes and offsets of `$structure`.
    macro_rules! layout {
        ($all:ident, $structure:ident, $($field:ident)*) => {
            $all.push((stringify!($structure).to_owned(), size_of::<$structure>()));
            $($all.push((
                format!("{}.{}", stringify!($structure), stringify!($field)),
                offset_of!($structure, $field),
            ));)*
        };
    }

    fn here() -> BTreeMap<String, usize> {
        let mut all: Vec<(String, usize)> = Vec::new();
        layout!(all, SupervisedRows, targets weights offsets token_ids measured taught drawn_offsets drawn_ids drawn_probabilities);
        layout!(all, Share, value log log_of_rest);
        layout!(all, Objective, loss on_entries_alone parameter temperature alpha);
        layout!(all, Parameter, weight rest first_moment second_moment gradient count decays);
        layout!(all, Update, beta1 beta2 rate root_scale epsilon keep);
        let mut add = |name: &str, value: usize| all.push((name.to_owned(), value));
        for loss in DeviceLoss::ALL {
            add(&format!("{loss:?}"), loss as usize);
        }
        add("ROW_LOSSES", ROW_LOSSES);
        add("OBJECTIVE_THREADS", OBJECTIVE_THREADS);
        for (entries, drawn) in [(0, 0), (64, 0), (300, 7)] {
            add(
                &format!("objective_shared_bytes({entries},{drawn})"),
                objective_shared_bytes(entries, drawn),
            );
        }
        add("LOSS_SUM_THREADS", LOSS_SUM_THREADS);
        add("LOSS_SUM_SHARED_BYTES", LOSS_SUM_SHARED_BYTES);
        add("ADAMW_THREADS", ADAMW_THREADS);
        add("ADAMW_BLOCK", ADAMW_BLOCK);
        add("ADAMW_SHARED_BYTES", ADAMW_SHARED_BYTES);
        add("NORM_THREADS", NORM_THREADS);
        add("NORM_SHARED_BYTES", NORM_SHARED_BYTES);
        add("norm_backward_shared_bytes(2048)", norm_backward_shared_bytes(2048));
        add("COLUMN_SUM_COLUMNS", COLUMN_SUM_COLUMNS);
        add("COLUMN_SUM_THREADS", COLUMN_SUM_THREADS);
        add("COLUMN_SUM_SHARED_BYTES", COLUMN_SUM_SHARED_BYTES);
        add("ROTARY_THREADS", ROTARY_THREADS);
        add("SWIGLU_THREADS", SWIGLU_THREADS);
        add("SWIGLU_COLUMNS", SWIGLU_COLUMNS);
        add("EMBEDDING_THREADS", EMBEDDING_THREADS);
        add("EMBEDDING_COLUMNS", EMBEDDING_COLUMNS);
        add("SELECTION_THREADS", SELECTION_THREADS);
        add("SELECTION_STEP", SELECTION_STEP);
        for room in [4096, 8192] {
            add(&format!("selection_shared_bytes({room})"), selection_shared_bytes(room));
        }
        for width in HEAD_WIDTHS {
            for tile in [64, 128].into_iter().filter(|&tile| tile == 64 || width <= 128) {
                add(&format!("forward.threads({width},{tile})"), ATTENTION_THREADS);
                let bytes = forward_shared_bytes(width, tile);
                add(&format!("forward.shared_bytes({width},{tile})"), bytes);
            }
            add(&format!("delta.threads({width})"), DELTA_THREADS);
            add(&format!("delta.rows({width})"), delta_rows(width));
            add(&format!("keys.tile({width})"), BACKWARD_TILE);
            add(&format!("keys.threads({width})"), backward_keys_threads(width));
            add(
                &format!("keys.shared_bytes({width})"),
                backward_keys_shared_bytes(width),
            );
            add(&format!("queries.tile({width})"), BACKWARD_TILE);
            add(&format!("queries.threads({width})"), ATTENTION_THREADS);
            let bytes = backward_queries_shared_bytes(width);
            add(&format!("queries.shared_bytes({width})"), bytes);
            let bytes = rotary_backward_shared_bytes(width);
            add(&format!("rotary_backward.shared_bytes({width})"), bytes);
        }
        let count = all.len();
        let all: BTreeMap<String, usize> = all.into_iter().collect();
        assert_eq!(all.len(), count, "a name occurs twice");
        all
    }

    #[test]
    fn launchers_pass_what_the_list_says_that_kernels_take() {
        let listed: BTreeMap<String, usize> = include_str!("../cuda/agreement.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let (name, value) = line.split_once(' ').unwrap();
                (name.to_owned(), value.parse().unwrap())
            })
            .collect();
        assert_eq!(here(), listed);
    }
}
