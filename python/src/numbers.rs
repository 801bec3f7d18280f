//! Numbers as bytes of Python, which `numpy.frombuffer` makes an array of without a copy.

use pyo3::{Bound, PyResult, Python, types::PyByteArray};

/// `values` in the machine's order of bytes.
///
/// # Errors
///
/// If Python has no memory for them.
pub(crate) fn bytes<'py, T: Number>(py: Python<'py>, values: &[T]) -> PyResult<Bound<'py, PyByteArray>> {
    PyByteArray::new_with(py, size_of_val(values), |bytes| {
        let (places, _) = bytes.as_chunks_mut::<4>();
        for (place, value) in places.iter_mut().zip(values) {
            *place = value.bytes();
        }
        Ok(())
    })
}

/// A number of four bytes.
pub(crate) trait Number: Copy {
    fn bytes(self) -> [u8; 4];
}

impl Number for u32 {
    fn bytes(self) -> [u8; 4] {
        self.to_ne_bytes()
    }
}

impl Number for f32 {
    fn bytes(self) -> [u8; 4] {
        self.to_ne_bytes()
    }
}
