//! The module `leadspan._native`.

use std::{cell::UnsafeCell, ptr};

use pyo3::{Bound, PyResult, Python, ffi, prelude::*, types::PyModule};

use crate::{open_cache, program};

/// What Python knows of the module before it exists. Python writes to it.
struct Definition(UnsafeCell<ffi::PyModuleDef>);

// SAFETY: only Python reads and writes it, with its lock.
unsafe impl Sync for Definition {}

static DEFINITION: Definition = Definition(UnsafeCell::new(ffi::PyModuleDef {
    m_base: ffi::PyModuleDef_HEAD_INIT,
    m_name: c"_native".as_ptr(),
    m_doc: ptr::null(),
    m_size: -1,
    m_methods: ptr::null_mut(),
    m_slots: ptr::null_mut(),
    m_traverse: None,
    m_clear: None,
    m_free: None,
}));

/// Makes the module. Python calls this when it is first imported.
// SAFETY: nothing else has this name, which Python looks up.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn PyInit__native() -> *mut ffi::PyObject {
    Python::attach(|py| match made(py) {
        Ok(module) => module.into_ptr(),
        Err(error) => {
            error.restore(py);
            ptr::null_mut()
        }
    })
}

fn made(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    let definition = DEFINITION.0.get();
    // SAFETY: the interpreter's lock is held, the definition is valid for ever, and the result is a new reference or null with an
    // error.
    let module =
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyModule_Create2(definition, ffi::PYTHON_ABI_VERSION))? };
    let module = module.cast_into::<PyModule>()?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("run", program::function(py)?)?;
    module.add("open", open_cache::function(py)?)?;
    Ok(module)
}
