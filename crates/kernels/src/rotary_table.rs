//! The angles of rotary position embedding (arXiv 2104.09864).

use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{Device, Result, Tensor, bail};

/// Which elements of a head form the pairs that are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Element i with element i + `head_dim`/2, as in Hugging Face weights.
    Halves,
    /// Element 2i with element 2i + 1, as in GGUF files of the Llama architecture.
    Neighbours,
}

/// Cosines and sines of the angles of all positions that were used so far, in single precision, multiplied by the scaling's
/// factor of queries and keys. A configuration may state any context; memory is used only for the positions that occur.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    frequencies: Arc<[f64]>,
    length: f64,
    context: usize,
    pairing: Pairing,
    head_dim: usize,
    device: Device,
    angles: Arc<RwLock<Angles>>,
}

/// The cosines and sines of the first positions.
#[derive(Clone, Debug)]
pub struct Angles {
    /// `[positions, head_dim / 2]`.
    pub cosines: Tensor,
    /// `[positions, head_dim / 2]`.
    pub sines: Tensor,
}

/// How many positions a new table has.
const FIRST_POSITIONS: usize = 512;

impl Angles {
    /// The first `count` positions. Values are computed in double precision and rounded once.
    fn new(frequencies: &[f64], length: f64, count: usize, device: &Device) -> Result<Self> {
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> = (0..count)
                .flat_map(|position| {
                    frequencies
                        .iter()
                        .map(move |frequency| (length * of(position as f64 * frequency)) as f32)
                })
                .collect();
            Tensor::from_vec(values, (count, frequencies.len()), device)
        };
        Ok(Self {
            cosines: table(f64::cos)?,
            sines: table(f64::sin)?,
        })
    }
}

impl RotaryTable {
    /// The table of `frequencies`, one for each pair of elements, for at most `context` positions. Cosines and sines are
    /// multiplied by `length`.
    ///
    /// # Errors
    ///
    /// If the device has no memory for it.
    pub fn new(frequencies: &[f64], length: f64, context: usize, pairing: Pairing, device: &Device) -> Result<Self> {
        let frequencies: Arc<[f64]> = frequencies.into();
        let angles = Angles::new(&frequencies, length, FIRST_POSITIONS.min(context), device)?;
        Ok(Self {
            head_dim: 2 * frequencies.len(),
            frequencies,
            length,
            context,
            pairing,
            device: device.clone(),
            angles: Arc::new(RwLock::new(angles)),
        })
    }

    /// The angles of at least the first `positions` positions.
    ///
    /// # Errors
    ///
    /// If the model's context is shorter, or the device has no memory for them.
    pub fn reaching(&self, positions: usize) -> Result<Angles> {
        if positions > self.context {
            bail!(
                "position {} is beyond the model's context of {}",
                positions - 1,
                self.context
            );
        }
        let known = self.angles.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.cosines.dim(0)? >= positions {
            return Ok(known);
        }
        // The size doubles, so that a growing sequence does not compute the table again at every step.
        let count = positions.next_power_of_two().min(self.context);
        let angles = Angles::new(&self.frequencies, self.length, count, &self.device)?;
        self.angles
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&angles);
        Ok(angles)
    }

    /// The same angles for heads of `head_dim` elements, of which only the first two for each frequency rotate.
    #[must_use]
    pub fn for_heads_of(self, head_dim: usize) -> Self {
        Self { head_dim, ..self }
    }

    /// Whether all elements of a head rotate.
    pub fn rotates_whole_heads(&self) -> bool {
        2 * self.frequencies.len() == self.head_dim
    }

    /// The width of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Which elements rotate together.
    pub fn pairing(&self) -> Pairing {
        self.pairing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_grows_to_what_is_asked_for_and_no_further_than_the_context() {
        let table = RotaryTable::new(&[1.0, 0.01], 1.0, 1 << 28, Pairing::Halves, &Device::Cpu).unwrap();
        let first: Vec<Vec<f32>> = table.reaching(3).unwrap().cosines.to_vec2().unwrap();
        assert_eq!(first.len(), 512);
        let more = table.clone().reaching(600).unwrap();
        assert_eq!(
            (more.cosines.dims(), more.sines.dims()),
            (&[1024, 2][..], &[1024, 2][..])
        );
        assert_eq!(more.cosines.to_vec2::<f32>().unwrap()[..512], first);
        assert_eq!(table.reaching(1).unwrap().cosines.dims(), [1024, 2]);
        assert!(table.reaching((1 << 28) + 1).is_err());
    }
}
