//! The activations of gates.

/// The activation of the gate in [`swiglu`](crate::swiglu) or [`geglu`](crate::geglu).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Activation {
    Silu,
    Gelu,
}
