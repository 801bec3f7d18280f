//! Pauses between attempts.

use std::{thread, time::Duration};

/// Pauses that grow from 20 milliseconds to two seconds.
#[derive(Debug)]
pub struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(Duration::from_millis(20))
    }
}

impl Pauses {
    /// Sleeps for the next pause.
    pub fn next(&mut self) {
        thread::sleep(self.0);
        self.0 = (self.0 * 3 / 2).min(Duration::from_secs(2));
    }
}
