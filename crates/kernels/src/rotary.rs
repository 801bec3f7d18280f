//! Rotary position embedding (arXiv 2104.09864) of packed sequences: every pair of elements of a head is rotated by its
//! frequency times the token's position in its own sequence.
//!
//! The backward pass rotates by the opposite angle. Elements at the end of a head may have no frequency: they stay as they are.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::{cpu, form::Form, rotary_table::RotaryTable, stock, tape::Pass};

/// Rotates `x` `[N, heads · D]`, whose rows are at `positions` of their sequences.
///
/// # Errors
///
/// If the shapes do not fit, a position is beyond the model's context, or the device fails.
pub fn rotate<'a>(
    x: &Tensor,
    table: &RotaryTable,
    positions: &Arc<[u32]>,
    pass: impl Into<Pass<'a>>,
) -> Result<Tensor> {
    let pass = pass.into();
    let reach = positions.iter().max().map_or(0, |&last| last as usize + 1);
    let angles = table.reaching(reach)?;
    if pass.form(x) == Form::Cpu {
        let operation = cpu::rotary::Rotation::new(angles, (table.pairing(), table.head_dim()), positions);
        return pass.one(&x.contiguous()?, operation);
    }
    stock::rotary::rotate(x, &angles, (table.pairing(), table.head_dim()), positions)
}
