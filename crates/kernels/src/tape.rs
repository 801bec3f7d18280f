//! The tape of a pass: its fused operations in the order in which they ran, for the backward pass.
//!
//! Stock operations use the tensor library's graph instead. For fused operations the graph would spend a tenth of a step on
//! work that they do not need: it adds gradients to zeros instead of taking them as they are, on its own threads, which
//! compete with those of this crate. The backward pass drops each operation of the tape, with its tensors, as soon as its
//! gradients are known.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet, hash_map::Entry},
    fmt,
};

use candle_core::{CustomOp1, CustomOp2, CustomOp3, Device, Result, Shape, Tensor, TensorId, bail};
use rayon::prelude::*;

use crate::{
    Kernels,
    cpu::slices::{self, BLOCK},
    form::Form,
};

/// The operations of one pass, in the order in which they ran.
#[derive(Default)]
pub struct Tape {
    steps: RefCell<Vec<Step>>,
}

struct Step {
    operation: Operation,
    output: Tensor,
}

enum Operation {
    One(Box<dyn CustomOp1 + Send + Sync>, Tensor),
    Two(Box<dyn CustomOp2 + Send + Sync>, [Tensor; 2]),
    Three(Box<dyn CustomOp3 + Send + Sync>, [Tensor; 3]),
    Reshape(Tensor),
    /// Operations that run again in the backward pass.
    Recomputed(Box<Operations>, Tensor),
}

/// Operations on one tensor.
type Operations = dyn Fn(&Tensor, Pass<'_>) -> Result<Tensor> + Send + Sync;

/// How a pass runs: the form of its operations, whether a tape records them, whether some of them are computed again for the
/// backward pass, and whether linear operations use the skinny product.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    kernels: Kernels,
    tape: Option<&'a Tape>,
    recomputes: bool,
    skinny: bool,
}

impl From<Kernels> for Pass<'_> {
    fn from(kernels: Kernels) -> Self {
        Self {
            kernels,
            tape: None,
            recomputes: false,
            skinny: false,
        }
    }
}

impl<'a> Pass<'a> {
    /// Fused operations, recorded on `tape`.
    pub fn on(tape: &'a Tape) -> Self {
        Self {
            kernels: Kernels::Fused,
            tape: Some(tape),
            recomputes: false,
            skinny: false,
        }
    }

    /// The same, with the operations of [`recomputed`](Self::recomputed) computed again for the backward pass if `recomputes`.
    #[must_use]
    pub fn recomputing(self, recomputes: bool) -> Self {
        Self { recomputes, ..self }
    }

    /// Runs operations on `x`. If the pass recomputes, its tape keeps `x` and the result, and nothing in between: the backward
    /// pass runs the operations again, to the same bits.
    ///
    /// # Errors
    ///
    /// If an operation fails.
    pub fn recomputed(
        self,
        x: &Tensor,
        operations: impl Fn(&Tensor, Pass<'_>) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        if self.tape.is_none() || !self.recomputes {
            return operations(x, self);
        }
        let y = operations(x, Pass { tape: None, ..self })?;
        self.record(&y, || Operation::Recomputed(Box::new(operations), x.clone()));
        Ok(y)
    }

    /// Operations on few rows, without gradients. The fused form of a linear operation is then the skinny product, whose
    /// time is that of reading the weight once.
    pub fn skinny(kernels: Kernels) -> Self {
        Self {
            skinny: true,
            ..Self::from(kernels)
        }
    }

    /// Whether a linear operation on `x` uses the skinny product, whose order of summation does not depend on the number of
    /// rows.
    pub fn uses_skinny_product(self, x: &Tensor) -> bool {
        self.skinny && self.form(x) == Form::Cpu
    }

    /// Whether an operation on `x` uses its fused form.
    pub fn fuse(self, x: &Tensor) -> bool {
        self.kernels.fuse(x)
    }

    /// Whether the results of several products of `x` lie side by side in one matrix, on which the operations of
    /// [`packed_block`](crate::attend_packed) work: they do on a GPU, in a 16-bit format.
    pub fn packs(self, x: &Tensor) -> bool {
        !matches!(self.form(x), Form::Cpu | Form::Stock)
    }

    /// The form of an operation on `x`.
    pub(crate) fn form(self, x: &Tensor) -> Form {
        self.kernels.form(x)
    }

    /// Whether an operation on `inputs` will have a backward pass.
    pub(crate) fn needs_backward(self, inputs: &[&Tensor]) -> bool {
        self.tape.is_some() || inputs.iter().any(|input| input.track_op())
    }

    /// The same values in another shape.
    ///
    /// # Errors
    ///
    /// If the shape has another number of values.
    pub fn reshape(self, x: &Tensor, shape: impl Into<Shape>) -> Result<Tensor> {
        let y = x.reshape(shape.into())?;
        self.record(&y, || Operation::Reshape(x.clone()));
        Ok(y)
    }

    /// Runs an operation on one tensor.
    pub(crate) fn one(self, x: &Tensor, operation: impl CustomOp1 + Send + Sync + 'static) -> Result<Tensor> {
        if x.track_op() {
            return x.apply_op1(operation);
        }
        let y = x.apply_op1_no_bwd(&operation)?;
        self.record(&y, || Operation::One(Box::new(operation), x.clone()));
        Ok(y)
    }

    /// Runs an operation on two tensors.
    pub(crate) fn two(self, inputs: [&Tensor; 2], operation: impl CustomOp2 + Send + Sync + 'static) -> Result<Tensor> {
        if inputs.iter().any(|input| input.track_op()) {
            return inputs[0].apply_op2(inputs[1], operation);
        }
        let y = inputs[0].apply_op2_no_bwd(inputs[1], &operation)?;
        self.record(&y, || Operation::Two(Box::new(operation), inputs.map(Tensor::clone)));
        Ok(y)
    }

    /// Runs an operation on three tensors.
    pub(crate) fn three(
        self,
        inputs: [&Tensor; 3],
        operation: impl CustomOp3 + Send + Sync + 'static,
    ) -> Result<Tensor> {
        if inputs.iter().any(|input| input.track_op()) {
            return inputs[0].apply_op3(inputs[1], inputs[2], operation);
        }
        let y = inputs[0].apply_op3_no_bwd(inputs[1], inputs[2], &operation)?;
        self.record(&y, || Operation::Three(Box::new(operation), inputs.map(Tensor::clone)));
        Ok(y)
    }

    fn record(self, output: &Tensor, operation: impl FnOnce() -> Operation) {
        if let Some(tape) = self.tape {
            tape.steps.borrow_mut().push(Step {
                operation: operation(),
                output: output.clone(),
            });
        }
    }
}

impl Tape {
    /// The gradient of `input` from the gradient of `output`. Operations add the gradients of their parameters to the sums
    /// themselves.
    ///
    /// # Errors
    ///
    /// If `output` depends on a tensor that is neither `input` nor on the tape: its gradient would be lost.
    pub fn backward(self, input: &Tensor, output: &Tensor, gradient: Tensor) -> Result<Tensor> {
        self.backward_onto(None, input, output, gradient)
    }

    /// Like [`backward`](Self::backward), with the gradient that `input` has so far. It comes first in the sum: sums are rounded,
    /// so their order counts.
    fn backward_onto(
        self,
        so_far: Option<Tensor>,
        input: &Tensor,
        output: &Tensor,
        gradient: Tensor,
    ) -> Result<Tensor> {
        let mut steps = self.steps.into_inner();
        let known: HashSet<TensorId> = (steps.iter().map(|step| step.output.id()))
            .chain([input.id()])
            .collect();
        let mut gradients = HashMap::from([(output.id(), gradient)]);
        gradients.extend(so_far.map(|so_far| (input.id(), so_far)));
        while let Some(Step { operation, output }) = steps.pop() {
            let Some(gradient) = gradients.remove(&output.id()) else {
                continue;
            };
            if let Operation::Recomputed(operations, x) = &operation {
                let tape = Self::default();
                let output = operations(x, Pass::on(&tape))?;
                let so_far = gradients.remove(&x.id());
                gradients.insert(x.id(), tape.backward_onto(so_far, x, &output, gradient)?);
                continue;
            }
            for (input, gradient) in operation.backward(&output, &gradient)? {
                if !known.contains(&input) {
                    bail!("an operation between the input of a pass and its output is not on the tape");
                }
                match gradients.entry(input) {
                    Entry::Vacant(entry) => {
                        entry.insert(gradient);
                    }
                    Entry::Occupied(mut entry) => {
                        let sum = sum(entry.get(), &gradient)?;
                        entry.insert(sum);
                    }
                }
            }
        }
        match gradients.remove(&input.id()) {
            Some(gradient) => Ok(gradient),
            None => bail!("the output of a pass does not depend on its input"),
        }
    }
}

impl Operation {
    /// The gradients of the inputs.
    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<(TensorId, Tensor)>> {
        let (inputs, gradients): (Vec<&Tensor>, Vec<Option<Tensor>>) = match self {
            Self::One(operation, x) => (vec![x], vec![operation.bwd(x, output, gradient)?]),
            Self::Two(operation, [x, y]) => {
                let (first, second) = operation.bwd(x, y, output, gradient)?;
                (vec![x, y], vec![first, second])
            }
            Self::Three(operation, [x, y, z]) => {
                let (first, second, third) = operation.bwd(x, y, z, output, gradient)?;
                (vec![x, y, z], vec![first, second, third])
            }
            Self::Reshape(x) => (vec![x], vec![Some(gradient.reshape(x.shape())?)]),
            // `Tape::backward_onto` runs them again.
            Self::Recomputed(..) => (Vec::new(), Vec::new()),
        };
        let pairs = inputs.into_iter().zip(gradients);
        Ok(pairs
            .filter_map(|(input, gradient)| Some((input.id(), gradient?)))
            .collect())
    }
}

/// a + b, of two tensors of one shape.
fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !a.device().is_cpu() {
        return a + b;
    }
    let mut sum = vec![0f32; a.elem_count()];
    slices::with_all([a, b], |[a, b]| {
        sum.par_chunks_mut(BLOCK)
            .zip(a.par_chunks(BLOCK).zip(b.par_chunks(BLOCK)))
            .for_each(|(sum, (a, b))| {
                for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
                    *sum = a + b;
                }
            });
        Ok(())
    })?;
    Tensor::from_vec(sum, a.shape(), &Device::Cpu)
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a tape of {} operations", self.steps.borrow().len())
    }
}
