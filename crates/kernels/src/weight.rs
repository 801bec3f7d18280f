//! Parameters of a decoder, and the gradients that are added up for them in place.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use candle_core::{DType, Result, Tensor};

use crate::cpu::{
    linear::add_outer_products,
    product::Write,
    slices::{self, InPlace},
};

/// A parameter as the kernels see it: its values and, where it learns, the sum of its gradients.
#[derive(Clone, Debug)]
pub struct Weight {
    tensor: Tensor,
    gradient: Option<GradientSum>,
}

/// The gradient of one parameter, added up where it lies. Cloning it gives another handle on the same sum.
#[derive(Clone, Debug)]
pub struct GradientSum {
    /// Of the parameter's shape, in single precision.
    sum: Tensor,
    /// Whether anything was added since it was last cleared; until then the values mean nothing.
    begun: Arc<AtomicBool>,
}

impl Weight {
    /// A parameter that does not learn.
    pub fn constant_of(tensor: Tensor) -> Self {
        Self { tensor, gradient: None }
    }

    /// A parameter that learns. `tensor` is part of the graphs that stock operations build.
    pub fn learning(tensor: Tensor, gradient: GradientSum) -> Self {
        Self {
            tensor,
            gradient: Some(gradient),
        }
    }

    /// The values, tracked where it learns.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The values, untracked.
    pub fn constant(&self) -> Tensor {
        self.tensor.detach()
    }

    /// The sum of its gradients, where it learns.
    pub fn gradient(&self) -> Option<&GradientSum> {
        self.gradient.as_ref()
    }

    /// Lets `add` add to the sum of its gradients, if it learns.
    pub(crate) fn add_gradient(&self, add: impl Fn(&mut [f32])) -> Result<()> {
        self.gradient
            .as_ref()
            .map_or(Ok(()), |gradient| gradient.add_in_place(add))
    }
}

impl GradientSum {
    /// No gradient yet of a parameter like `tensor`.
    ///
    /// # Errors
    ///
    /// Where there is no memory for it.
    pub fn new(tensor: &Tensor) -> Result<Self> {
        Ok(Self {
            sum: Tensor::zeros(tensor.shape(), DType::F32, tensor.device())?,
            begun: Arc::default(),
        })
    }

    /// The sum, or `None` where nothing was added since the last [`clear`](Self::clear).
    pub fn get(&self) -> Option<&Tensor> {
        self.is_begun().then_some(&self.sum)
    }

    /// Forgets what was added. The memory stays.
    pub fn clear(&self) {
        self.set_begun(false);
    }

    /// Adds a gradient, in whatever dtype it is.
    ///
    /// # Errors
    ///
    /// Where the shapes differ or the device fails.
    pub fn add(&self, gradient: &Tensor) -> Result<()> {
        let gradient = gradient.to_dtype(DType::F32)?.contiguous()?;
        if self.is_begun() {
            self.sum.slice_set(&(&self.sum + gradient)?, 0, 0)?;
        } else {
            self.sum.slice_set(&gradient, 0, 0)?;
        }
        self.set_begun(true);
        Ok(())
    }

    /// Adds `gradient`ᵀ · `x` to the sum `[out, in]` of a product's weight.
    ///
    /// # Shapes
    ///
    /// `gradient` is `[N, out]`, `x` is `[N, in]`.
    ///
    /// # Errors
    ///
    /// Where the shapes do not fit or the device fails.
    pub fn add_product(&self, gradient: &Tensor, x: &Tensor) -> Result<()> {
        if self.sum.device().is_cpu() && gradient.dtype() == DType::F32 && x.dtype() == DType::F32 {
            add_outer_products(self, gradient, x)
        } else {
            self.add(&gradient.t()?.matmul(x)?)
        }
    }

    /// Adds row i of `rows` to row `places[i]` of the sum of a matrix: the gradient of an embedding.
    ///
    /// # Errors
    ///
    /// Where the device fails.
    ///
    /// # Panics
    ///
    /// Where a place is beyond the matrix.
    pub fn add_rows(&self, rows: &Tensor, places: &[u32]) -> Result<()> {
        let rows = rows.to_dtype(DType::F32)?;
        if self.sum.device().is_cpu() {
            let width = self.sum.dim(1)?;
            return slices::with(&rows, |rows| {
                self.add_in_place(|sum| slices::add_rows(sum, rows, places, width))
            });
        }
        let places = Tensor::from_slice(places, places.len(), self.sum.device())?;
        let sum = if self.is_begun() {
            self.sum.clone()
        } else {
            self.sum.zeros_like()?
        };
        self.sum.slice_set(&sum.index_add(&places, &rows, 0)?, 0, 0)?;
        self.set_begun(true);
        Ok(())
    }

    /// Lets `add` add to the sum, in CPU memory.
    ///
    /// # Errors
    ///
    /// Where it is elsewhere.
    pub fn add_in_place(&self, add: impl Fn(&mut [f32])) -> Result<()> {
        self.accumulate(|sum, write| {
            if write == Write::Replace {
                sum.fill(0.0);
            }
            add(sum);
        })
    }

    pub(crate) fn accumulate(&self, put: impl Fn(&mut [f32], Write)) -> Result<()> {
        let write = if self.is_begun() { Write::Add } else { Write::Replace };
        self.sum.inplace_op1(&InPlace(|sum: &mut [f32]| {
            put(sum, write);
            Ok(())
        }))?;
        self.set_begun(true);
        Ok(())
    }

    fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    fn set_begun(&self, begun: bool) {
        self.begun.store(begun, Ordering::Release);
    }
}
