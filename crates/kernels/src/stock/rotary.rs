//! Rotation in stock operations.

use candle_core::{D, Result, Tensor};

use crate::rotary_table::{Angles, Pairing};

pub(crate) fn rotate(
    x: &Tensor,
    angles: &Angles,
    (pairing, head_dim): (Pairing, usize),
    positions: &[u32],
) -> Result<Tensor> {
    let Angles { cosines, sines } = angles;
    let (rows, width) = x.dims2()?;
    let half = cosines.dim(1)?;
    if 2 * half < head_dim {
        let heads = x.reshape((rows, width / head_dim, head_dim))?;
        let rotating = heads.narrow(2, 0, 2 * half)?.contiguous()?;
        let rotating = rotating.reshape((rows, width / head_dim * 2 * half))?;
        let rotated = rotate(&rotating, angles, (pairing, 2 * half), positions)?;
        let rotated = rotated.reshape((rows, width / head_dim, 2 * half))?;
        let rest = heads.narrow(2, 2 * half, head_dim - 2 * half)?;
        return Tensor::cat(&[rotated, rest], 2)?.reshape((rows, width));
    }
    let places = Tensor::from_slice(positions, rows, x.device())?;
    let chosen = |table: &Tensor| table.index_select(&places, 0)?.to_dtype(x.dtype());
    let (cosines, sines) = (chosen(cosines)?, chosen(sines)?);
    if pairing == Pairing::Halves && !x.track_op() {
        // The library's own operation has no backward pass.
        let heads = x.contiguous()?.reshape((1, rows, width / (2 * half), 2 * half))?;
        return candle_nn::rotary_emb::rope_thd(&heads, &cosines, &sines)?.reshape((rows, width));
    }
    // [N, 1, D / 2], broadcast over the heads.
    let (cosines, sines) = (cosines.unsqueeze(1)?, sines.unsqueeze(1)?);
    let turned = |first: &Tensor, second: &Tensor| -> Result<(Tensor, Tensor)> {
        Ok((
            (first.broadcast_mul(&cosines)? - second.broadcast_mul(&sines)?)?,
            (second.broadcast_mul(&cosines)? + first.broadcast_mul(&sines)?)?,
        ))
    };
    match pairing {
        Pairing::Halves => {
            let heads = x.reshape((rows, width / (2 * half), 2 * half))?;
            let (first, second) = turned(
                &heads.narrow(D::Minus1, 0, half)?,
                &heads.narrow(D::Minus1, half, half)?,
            )?;
            Tensor::cat(&[first, second], D::Minus1)?.reshape((rows, width))
        }
        Pairing::Neighbours => {
            let pairs = x.reshape((rows, width / (2 * half), half, 2))?;
            let side = |index| pairs.narrow(3, index, 1)?.squeeze(3);
            let (first, second) = turned(&side(0)?, &side(1)?)?;
            Tensor::stack(&[first, second], 3)?.reshape((rows, width))
        }
    }
}
