//! What a grader can do wrong.

/// Why a grader's verdict could not be had.
#[derive(Debug, thiserror::Error)]
pub enum GraderFault {
    /// It wrote no line within the limit.
    #[error("it gave no verdict within {seconds} s (`evaluate.grader_seconds`)")]
    Late {
        /// The limit.
        seconds: u64,
    },
    /// It ended, and wrote no line within the limit; a program that it started still holds its standard output.
    #[error(
        "it ended ({status}), but a program that it started still held its standard output after {seconds} s \
         (`evaluate.grader_seconds`)"
    )]
    LeftOpen {
        /// Its exit status.
        status: String,
        /// The limit.
        seconds: u64,
    },
    /// It wrote a line that is no verdict.
    #[error("its line `{line}` is not a verdict: {because}")]
    NoVerdict {
        /// The start of the line.
        line: String,
        /// What is wrong with it.
        because: String,
    },
    /// It wrote a line that is longer than any verdict.
    #[error("it wrote a line of more than 1 MiB")]
    TooLong,
    /// It ended.
    #[error("it ended ({status}){}", after(errors))]
    Ended {
        /// Its exit status.
        status: String,
        /// The end of its standard error.
        errors: String,
    },
}

fn after(errors: &str) -> String {
    if errors.is_empty() {
        String::new()
    } else {
        format!(": {errors}")
    }
}

/// The start of a line, with what a terminal would act on escaped.
pub(super) fn shown(line: &[u8]) -> String {
    const SHOWN: usize = 200;
    let text = String::from_utf8_lossy(line);
    let mut shown: String = text.chars().take(SHOWN).flat_map(escaped).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The last line that is not empty, with what a terminal would act on escaped.
pub(super) fn last_line(errors: &[u8]) -> String {
    let last = errors
        .split(|&byte| byte == b'\n')
        .rev()
        .find(|line| !line.trim_ascii().is_empty());
    last.map(|line| shown(line.trim_ascii())).unwrap_or_default()
}

fn escaped(character: char) -> impl Iterator<Item = char> {
    let escape = character.is_control() && character != '\t';
    let plain = (!escape).then_some(character);
    escape
        .then(|| character.escape_default())
        .into_iter()
        .flatten()
        .chain(plain)
}
