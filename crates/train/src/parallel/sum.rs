//! The sum of the gradients of all processes.
//!
//! Parameters stand one after the other in the order of their names, and are added up in stretches of at most [`NUMBERS`]
//! numbers. Of each stretch every process gets one piece from all processes, adds these up in the order of the processes, and
//! sends the sum to all. So each number is added up once, by one process and in one order, whatever the library that carries it
//! does: all processes get the same bits. GPUs that NCCL connects do the same among themselves.

use std::ops::Range;

use candle_core::{DType, Result, Tensor, Var};
use leadspan_model::{GradientSum, Parameters};

use super::{nccl::Gpus, processes::Processes};

/// Numbers of one stretch: 16 MiB, and as much again for each of two copies.
const NUMBERS: usize = 1 << 22;

/// Replaces the gradients of each process by their sum over all processes, each times the `factor` of its process. A parameter
/// without a gradient counts as zeros. With `gpus` the numbers go from GPU to GPU, otherwise through host memory.
///
/// # Errors
///
/// If a tensor cannot be read or written. The exchange has then been completed with numbers that are not finite.
///
/// # Panics
///
/// If a GPU or NCCL fails: the other processes wait in the exchange, and a panic ends them.
pub(crate) fn sum_gradients(
    processes: &dyn Processes,
    gpus: Option<&Gpus>,
    parameters: &Parameters,
    factor: f64,
) -> Result<()> {
    let gradients: Vec<(&Var, &GradientSum)> = (parameters.iter().zip(parameters.gradients()))
        .map(|((_, variable), (_, gradient))| (variable, gradient))
        .collect();
    let counts: Vec<usize> = gradients.iter().map(|(variable, _)| variable.elem_count()).collect();
    let mut first_error = Ok(());
    let mut buffers = Buffers::default();
    for stretch in stretches(&counts, NUMBERS) {
        if let Some(gpus) = gpus {
            let summed = sum_on_gpus(gpus, &gradients, &stretch, factor as f32);
            summed.unwrap_or_else(|error| panic!("the GPUs could not exchange gradients: {error}"));
            continue;
        }
        let read = read(&gradients, &stretch, factor as f32, &mut buffers.numbers);
        if read.is_err() {
            buffers.numbers.clear();
            buffers.numbers.resize(stretch.iter().map(Part::len).sum(), f32::NAN);
        }
        buffers.sum(processes);
        let written = write(&gradients, &stretch, &buffers.numbers);
        // The other processes are in the same stretch: the exchange goes on, and the error is told at its end.
        first_error = first_error.and(read).and(written);
    }
    first_error
}

/// A part of one parameter.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    parameter: usize,
    /// Its numbers, counted from the first of the parameter.
    numbers: Range<usize>,
}

impl Part {
    fn len(&self) -> usize {
        self.numbers.len()
    }
}

/// Divides parameters of these sizes into stretches of at most `most` numbers, in their order.
fn stretches(counts: &[usize], most: usize) -> Vec<Vec<Part>> {
    let (mut stretches, mut stretch, mut room) = (Vec::new(), Vec::new(), most);
    for (parameter, &count) in counts.iter().enumerate() {
        let mut begin = 0;
        while begin < count {
            let end = count.min(begin + room);
            stretch.push(Part {
                parameter,
                numbers: begin..end,
            });
            room -= end - begin;
            begin = end;
            if room == 0 {
                stretches.push(std::mem::take(&mut stretch));
                room = most;
            }
        }
    }
    if !stretch.is_empty() {
        stretches.push(stretch);
    }
    stretches
}

/// Adds up a stretch of the gradients without reading it.
fn sum_on_gpus(gpus: &Gpus, gradients: &[(&Var, &GradientSum)], stretch: &[Part], factor: f32) -> Result<()> {
    let parts = stretch.iter().map(|part| numbers_of(gradients, part));
    let numbers = Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?;
    let sum = gpus.sum(&(numbers * f64::from(factor))?)?;
    let mut begin = 0;
    for part in stretch {
        let mine = sum.narrow(0, begin, part.len())?;
        flat(gradients[part.parameter].1)?.slice_set(&mine, 0, part.numbers.start)?;
        begin += part.len();
    }
    Ok(())
}

/// Reads a stretch of the gradients, times `factor`.
fn read(gradients: &[(&Var, &GradientSum)], stretch: &[Part], factor: f32, numbers: &mut Vec<f32>) -> Result<()> {
    numbers.clear();
    for part in stretch {
        let mine = numbers_of(gradients, part)?.to_vec1::<f32>()?;
        numbers.extend(mine.into_iter().map(|number| number * factor));
    }
    Ok(())
}

/// The numbers of a part.
fn numbers_of(gradients: &[(&Var, &GradientSum)], part: &Part) -> Result<Tensor> {
    let (variable, gradient) = gradients[part.parameter];
    if gradient.get().is_none() {
        gradient.add(&Tensor::zeros(variable.shape(), DType::F32, variable.device())?)?;
    }
    flat(gradient)?.narrow(0, part.numbers.start, part.len())
}

/// Writes a stretch of the gradients.
fn write(gradients: &[(&Var, &GradientSum)], stretch: &[Part], mut numbers: &[f32]) -> Result<()> {
    for part in stretch {
        let (mine, rest) = numbers.split_at(part.len());
        numbers = rest;
        let flat = flat(gradients[part.parameter].1)?;
        flat.slice_set(
            &Tensor::from_slice(mine, part.len(), flat.device())?,
            0,
            part.numbers.start,
        )?;
    }
    Ok(())
}

/// A gradient as one row, in the memory of the gradient itself.
fn flat(gradient: &GradientSum) -> Result<Tensor> {
    match gradient.get() {
        Some(sum) => sum.flatten_all(),
        None => candle_core::bail!("a parameter has no gradient"),
    }
}

/// The memory of a sum.
#[derive(Default)]
struct Buffers {
    /// Those of this process, and then the sum.
    numbers: Vec<f32>,
    /// The same piece of every process.
    pieces: Vec<f32>,
    /// The sum of the pieces.
    sum: Vec<f32>,
}

impl Buffers {
    /// Adds `numbers` up over all processes, in their order.
    fn sum(&mut self, processes: &dyn Processes) {
        let (count, length) = (processes.count(), self.numbers.len());
        let piece = length.div_ceil(count);
        self.numbers.resize(piece * count, 0.0);
        self.pieces.resize(piece * count, 0.0);
        processes.exchange_pieces(&self.numbers, &mut self.pieces);
        let (first, others) = self.pieces.split_at(piece);
        self.sum.clear();
        self.sum.extend_from_slice(first);
        // An empty stretch has no pieces.
        for other in others.chunks_exact(piece.max(1)) {
            for (sum, &number) in self.sum.iter_mut().zip(other) {
                *sum += number;
            }
        }
        processes.gather_pieces(&self.sum, &mut self.numbers);
        self.numbers.truncate(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::threads::together;

    #[test]
    fn stretches_hold_every_number_once_in_order() {
        let part = |parameter, numbers| Part { parameter, numbers };
        assert_eq!(
            stretches(&[3, 0, 9, 1], 4),
            [
                vec![part(0, 0..3), part(2, 0..1)],
                vec![part(2, 1..5)],
                vec![part(2, 5..9)],
                vec![part(3, 0..1)],
            ]
        );
        assert_eq!(stretches(&[4], 4), [vec![part(0, 0..4)]]);
        assert!(stretches(&[], 4).is_empty());
    }

    #[test]
    fn every_process_gets_the_sum_in_the_order_of_the_processes() {
        let numbers = |rank: usize, length: usize| -> Vec<f32> {
            let wave = |index: usize| ((index * 31 + rank * 7919) as f32 * 0.618).sin() * 10f32.powi(rank as i32 * 3);
            (0..length).map(wave).collect()
        };
        for count in [1, 2, 3, 5] {
            for length in [0, 1, 4, 1001] {
                let expected: Vec<u32> = (0..length)
                    .map(|index| {
                        let all = (0..count).map(|rank| numbers(rank, length)[index]);
                        all.reduce(|sum, number| sum + number).unwrap().to_bits()
                    })
                    .collect();
                let sums = together(count, |processes| {
                    let mut buffers = Buffers {
                        numbers: numbers(processes.rank(), length),
                        ..Buffers::default()
                    };
                    buffers.sum(processes);
                    buffers.numbers.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
                });
                assert_eq!(sums, vec![expected; count], "{length} numbers of {count} processes");
            }
        }
    }
}
