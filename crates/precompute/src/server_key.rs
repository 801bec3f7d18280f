//! The key for a server, which is never shown or stored.

use std::{ffi::OsString, fmt};

/// The key with which requests to a server are signed.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerKey(OsString);

impl ServerKey {
    /// The environment variable in which the program looks for the key.
    pub const VARIABLE: &str = "LEADSPAN_SERVER_KEY";

    /// The key in the value of [`VARIABLE`](Self::VARIABLE); `None` if the value is empty.
    pub fn new(value: OsString) -> Option<Self> {
        (!value.is_empty()).then_some(Self(value))
    }

    /// The key as text, if it is one that fits into a header.
    pub(crate) fn text(&self) -> Option<&str> {
        let text = self.0.to_str()?.trim();
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then_some(text)
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ServerKey(…)")
    }
}
