//! A table that is drawn again in its place on a terminal, which is left as it was found.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
};

use crate::output::OutputError;

/// The size of a terminal that does not tell.
const USUAL: (usize, usize) = (24, 80);

/// Part of the terminal that standard output is: the cursor is hidden and lines are cut at the edge until it is dropped.
pub(super) struct Screen {
    /// Lines that are there, above the cursor.
    lines: usize,
}

impl Screen {
    /// `None` where standard output is no terminal.
    pub(super) fn of_stdout() -> Option<Self> {
        io::stdout().is_terminal().then(|| {
            // Where it cannot be written to, the first table says so.
            let _ = write("\x1b[?25l\x1b[?7l");
            Self { lines: 0 }
        })
    }

    /// Lines and columns.
    pub(super) fn size() -> (usize, usize) {
        let size = terminal_size::terminal_size_of(io::stdout());
        size.map_or(USUAL, |(columns, lines)| (usize::from(lines.0), usize::from(columns.0)))
    }

    /// Shows `lines` in the place of those before; the last stay when the screen is dropped.
    ///
    /// # Errors
    ///
    /// Where the terminal cannot be written to.
    pub(super) fn show(&mut self, lines: &[String]) -> Result<(), OutputError> {
        let mut text = String::new();
        if self.lines > 0 {
            let _ = write!(text, "\x1b[{}F", self.lines);
        }
        for line in lines {
            text.push_str(line);
            // What was longer before.
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
