//! The gradient of an embedding on a GPU, summed in a fixed order.

use candle_core::{Result, Tensor, bail};

use super::{
    library::{Argument::Int, Launch, kernel, launch},
    memory::{pointer, with_rows},
    staging::upload,
};
use crate::agreement::{EMBEDDING_COLUMNS, EMBEDDING_THREADS};

/// Adds row i of `rows` to row `places[i]` of `sum` `[V, W]`, in single precision.
pub(crate) fn add_rows(sum: &Tensor, rows: &Tensor, places: &[u32]) -> Result<()> {
    let (height, width) = sum.dims2()?;
    if rows.dims() != [places.len(), width] || places.iter().any(|&place| place as usize >= height) || width % 4 != 0 {
        bail!(
            "rows of {:?} cannot be added to a matrix of [{height}, {width}]",
            rows.shape()
        );
    }
    let (targets, starts, sources) = grouped(places);
    let rows = rows.contiguous()?;
    with_rows(&rows, |device, rows| {
        let (distinct, starts, sources) = (
            upload(device, &targets)?,
            upload(device, &starts)?,
            upload(device, &sources)?,
        );
        with_rows(sum, |_, sum| {
            let arguments = [
                rows.argument(),
                pointer(device, &distinct),
                pointer(device, &starts),
                pointer(device, &sources),
                Int(width as i32),
                sum.argument(),
            ];
            let how = Launch {
                grid: (targets.len(), width.div_ceil(EMBEDDING_COLUMNS)),
                threads: EMBEDDING_THREADS,
                shared_bytes: 0,
            };
            let name = kernel("embedding_backward", rows.dtype, None)?;
            // SAFETY: the kernel's arguments; the shapes were compared.
            unsafe { launch(device, "embedding", &name, how, &arguments) }
        })
    })
}

/// The distinct places in ascending order, where the list of rows of each starts, and these lists one after the other.
fn grouped(places: &[u32]) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let mut order: Vec<u32> = (0..places.len() as u32).collect();
    // Stable: the rows of one place stay in their order.
    order.sort_by_key(|&row| places[row as usize]);
    let (mut targets, mut starts) = (Vec::new(), Vec::new());
    for (index, &row) in order.iter().enumerate() {
        let place = places[row as usize];
        if targets.last() != Some(&place) {
            targets.push(place);
            starts.push(index as u32);
        }
    }
    starts.push(order.len() as u32);
    (targets, starts, order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_one_place_are_together_and_in_order() {
        assert_eq!(
            grouped(&[7, 2, 7, 2, 9]),
            (vec![2, 7, 9], vec![0, 2, 4, 5], vec![1, 3, 0, 2, 4])
        );
        assert_eq!(grouped(&[]), (vec![], vec![0], vec![]));
    }
}
