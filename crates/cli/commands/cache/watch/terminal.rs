//! A table that is redrawn in place on a terminal. The terminal's settings are restored at the end.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
};

use crate::{output::OutputError, visible};

/// The size assumed for a terminal that does not report its size.
const USUAL: (usize, usize) = (24, 80);

/// A part of the terminal. Until it is dropped, the cursor is hidden and long lines are cut at the edge.
pub(super) struct Screen {
    /// The number of lines above the cursor that were drawn.
    lines: usize,
}

impl Screen {
    /// `None` if standard output is not a terminal.
    pub(super) fn of_stdout() -> Option<Self> {
        io::stdout().is_terminal().then(|| {
            // If the terminal cannot be written to, drawing the first table reports that.
            let _ = write("\x1b[?25l\x1b[?7l");
            Self { lines: 0 }
        })
    }

    /// The size in lines and columns.
    pub(super) fn size() -> (usize, usize) {
        let size = terminal_size::terminal_size_of(io::stdout());
        size.map_or(USUAL, |(columns, lines)| (usize::from(lines.0), usize::from(columns.0)))
    }

    /// Replaces the lines drawn before with `lines`. The last ones stay when the screen is dropped.
    ///
    /// # Errors
    ///
    /// If the terminal cannot be written to.
    pub(super) fn show(&mut self, lines: &[String]) -> Result<(), OutputError> {
        let mut text = String::new();
        if self.lines > 0 {
            let _ = write!(text, "\x1b[{}F", self.lines);
        }
        for line in lines {
            text.push_str(&visible::escaped(line));
            // Clears the rest of a line that was longer before.
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        self.lines = lines.len();
        write(&text).map_err(OutputError::Stdout)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write("\x1b[?7h\x1b[?25h");
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
