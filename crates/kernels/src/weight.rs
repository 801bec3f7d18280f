//! Parameters of a decoder, and the sums of their gradients, which accumulate in place.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use candle_core::{DType, Result, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::{
    Kernels,
    cpu::{
        product::{Matrix, Sizes, Threads, Write, product},
        slices::{self, InPlace},
    },
    form::Form,
};

/// A parameter as the kernels see it: its values and, if it is trainable, the sum of its gradients.
#[derive(Clone, Debug)]
pub struct Weight {
    tensor: Tensor,
    gradient: Option<GradientSum>,
}

/// The sum of the gradients of one parameter. A clone is another handle on the same sum.
#[derive(Clone, Debug)]
pub struct GradientSum {
    /// In the parameter's shape and single precision.
    sum: Tensor,
    /// Whether anything was added since the last [`clear`](Self::clear); if not, the values of `sum` are meaningless.
    begun: Arc<AtomicBool>,
}

impl Weight {
    /// A constant parameter.
    pub fn constant_of(tensor: Tensor) -> Self {
        Self { tensor, gradient: None }
    }

    /// A trainable parameter. `tensor` is part of the graphs that stock operations build.
    pub fn learning(tensor: Tensor, gradient: GradientSum) -> Self {
        Self {
            tensor,
            gradient: Some(gradient),
        }
    }

    /// The values, tracked if the parameter is trainable.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The values, untracked.
    pub fn constant(&self) -> Tensor {
        self.tensor.detach()
    }

    /// The sum of its gradients; `None` if the parameter is constant.
    pub fn gradient(&self) -> Option<&GradientSum> {
        self.gradient.as_ref()
    }

    /// Lets `add` add to the sum of its gradients. Does nothing if the parameter is constant.
    pub(crate) fn add_gradient(&self, add: impl Fn(&mut [f32])) -> Result<()> {
        self.gradient
            .as_ref()
            .map_or(Ok(()), |gradient| gradient.add_in_place(add))
    }
}

impl GradientSum {
    /// An empty sum for a parameter of the shape and device of `tensor`.
    ///
    /// # Errors
    ///
    /// If the device has no memory for it.
    pub fn new(tensor: &Tensor) -> Result<Self> {
        Ok(Self {
            sum: Tensor::zeros(tensor.shape(), DType::F32, tensor.device())?,
            begun: Arc::default(),
        })
    }

    /// The sum; `None` if nothing was added since the last [`clear`](Self::clear).
    pub fn get(&self) -> Option<&Tensor> {
        self.is_begun().then_some(&self.sum)
    }

    /// Empties the sum. Its memory stays allocated.
    pub fn clear(&self) {
        self.set_begun(false);
    }

    /// Adds a gradient of any dtype.
    ///
    /// # Errors
    ///
    /// If the shapes differ or the device fails.
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
    /// If the shapes do not fit or the device fails.
    pub fn add_product(&self, gradient: &Tensor, x: &Tensor) -> Result<()> {
        match (Kernels::Fused.form(gradient), Kernels::Fused.form(x)) {
            (Form::Cpu, Form::Cpu) if self.sum.device().is_cpu() => self.add_outer_products(gradient, x),
            #[cfg(feature = "cuda")]
            (Form::Cuda, Form::Cuda) if gradient.dtype() == x.dtype() => {
                self.accumulate_on_device(|sum, kept| cuda::product::add_outer_products(sum, kept, gradient, x))
            }
            _ => self.add(&gradient.t()?.matmul(x)?),
        }
    }

    /// [`add_product`](Self::add_product) in CPU memory.
    fn add_outer_products(&self, gradient: &Tensor, x: &Tensor) -> Result<()> {
        let ((rows, out), (x_rows, width)) = (gradient.dims2()?, x.dims2()?);
        if rows != x_rows {
            bail!("a gradient of {rows} rows does not belong to an input of {x_rows}");
        }
        slices::with_all([gradient, x], |[gradient, x]| {
            self.accumulate(|sum, write| {
                let sizes = Sizes {
                    m: out,
                    n: width,
                    k: rows,
                };
                let left = Matrix::rows(gradient, out).transposed();
                product(sum, sizes, left, Matrix::rows(x, width), (write, 1.0, Threads::All));
            })
        })
    }

    /// Adds row i of `rows` to row `places[i]` of the sum, which is a matrix: the gradient of an embedding. On the CPU `kernels`
    /// makes no difference.
    ///
    /// # Errors
    ///
    /// If the device fails.
    ///
    /// # Panics
    ///
    /// If a place is beyond the matrix.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn add_rows(&self, rows: &Tensor, places: &[u32], kernels: Kernels) -> Result<()> {
        #[cfg(feature = "cuda")]
        if kernels.form(rows) == Form::Cuda && self.sum.dim(1)? % 4 == 0 {
            return self.accumulate_on_device(|sum, kept| {
                if kept == 0.0 {
                    sum.zero_set()?;
                }
                cuda::embedding::add_rows(sum, rows, places)
            });
        }
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

    /// Lets `add` add to the sum in CPU memory.
    ///
    /// # Errors
    ///
    /// If the sum is on another device.
    pub fn add_in_place(&self, add: impl Fn(&mut [f32])) -> Result<()> {
        self.accumulate(|sum, write| {
            if write == Write::Replace {
                sum.fill(0.0);
            }
            add(sum);
        })
    }

    /// Lets `put` write to the sum: replace its values if it is empty, or add to them.
    fn accumulate(&self, put: impl Fn(&mut [f32], Write)) -> Result<()> {
        let write = if self.is_begun() { Write::Add } else { Write::Replace };
        self.sum.inplace_op1(&InPlace(|sum: &mut [f32]| {
            put(sum, write);
            Ok(())
        }))?;
        self.set_begun(true);
        Ok(())
    }

    /// Lets `put` write to the sum in device memory. `put` keeps the given factor of what is there: 0 if there is nothing yet.
    #[cfg(feature = "cuda")]
    pub(crate) fn accumulate_on_device(&self, put: impl FnOnce(&Tensor, f32) -> Result<()>) -> Result<()> {
        put(&self.sum, if self.is_begun() { 1.0 } else { 0.0 })?;
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
