//! The process that holds a claim, as the claim's text names it.

use std::{fmt, fs, io, path::Path, process};

use serde::{Deserialize, Serialize};

/// The process that holds a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// A random token, different for every claim.
    pub(super) token: String,
    /// The name of its machine.
    pub host: String,
    /// The boot id of the running kernel; empty if the system does not have one.
    pub(super) kernel: String,
    /// Its process id.
    pub process: u32,
}

impl Holder {
    /// This process, with a new token.
    pub(super) fn this_process() -> io::Result<Self> {
        let of_kernel = |name: &str| {
            let text = fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).unwrap_or_default();
            text.trim().to_owned()
        };
        Ok(Self {
            token: token()?,
            host: of_kernel("hostname"),
            kernel: of_kernel("random/boot_id"),
            process: process::id(),
        })
    }

    /// The same process, with a new token.
    pub(super) fn with_new_token(&self) -> io::Result<Self> {
        Ok(Self {
            token: token()?,
            ..self.clone()
        })
    }

    /// The holder of a claim whose text is not whole.
    pub(super) fn unknown() -> Self {
        Self {
            token: String::new(),
            host: String::new(),
            kernel: String::new(),
            process: 0,
        }
    }

    /// Whether it runs on the same machine as `own`.
    pub(super) fn is_on_this_machine(&self, own: &Self) -> bool {
        !self.kernel.is_empty() && self.kernel == own.kernel
    }
}

/// 24 random hexadecimal digits.
fn token() -> io::Result<String> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.map(|byte| format!("{byte:02x}")).concat())
}

impl fmt::Display for Holder {
    /// Such as `process 4711 on node7`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.process == 0 {
            return formatter.write_str("a process that its claim does not name");
        }
        write!(formatter, "process {}", self.process)?;
        if self.host.is_empty() {
            Ok(())
        } else {
            write!(formatter, " on {}", self.host)
        }
    }
}
