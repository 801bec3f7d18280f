//! The sum of two linear operations on the CPU, forward and backward: one result, so that nothing in between is kept.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::{linear::Linear, slices};

/// `first` of the first input plus `second` of the second, with or without a residual stream.
pub(crate) struct LinearOfTwo {
    pub(crate) first: Linear,
    pub(crate) second: Linear,
}

/// A storage and its layout.
type Input<'a> = (&'a CpuStorage, &'a Layout);

impl LinearOfTwo {
    fn forward(&self, x: Input<'_>, narrow: Input<'_>, residual: Option<&[f32]>) -> Result<(CpuStorage, Shape)> {
        let (rows, _) = x.1.shape().dims2()?;
        let (mut y, out) = self.first.rows(slices::of(x.0, x.1)?, rows, residual)?;
        self.second.add_to(&mut y, slices::of(narrow.0, narrow.1)?, rows)?;
        Ok((CpuStorage::F32(y), Shape::from((rows, out))))
    }

    /// The gradients of both inputs; adds to those of the weights.
    fn backward(&self, x: &Tensor, narrow: &Tensor, gradient: &Tensor) -> Result<[Tensor; 2]> {
        Ok([
            self.first.backward(x, gradient)?,
            self.second.backward(narrow, gradient)?,
        ])
    }
}

impl CustomOp2 for LinearOfTwo {
    fn name(&self) -> &'static str {
        "leadspan-linear-of-two"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward((s1, l1), (s2, l2), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        narrow: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [x, narrow] = self.backward(x, narrow, gradient)?;
        Ok((Some(x), Some(narrow)))
    }
}

impl CustomOp3 for LinearOfTwo {
    fn name(&self) -> &'static str {
        "leadspan-linear-of-two-residual"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((s1, l1), (s2, l2), Some(slices::of(s3, l3)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        narrow: &Tensor,
        _residual: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [x, narrow] = self.backward(x, narrow, gradient)?;
        Ok((Some(x), Some(narrow), Some(gradient.clone())))
    }
}
