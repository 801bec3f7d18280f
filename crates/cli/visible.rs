//! Text as it is shown to people: whatever would steer a terminal is visible instead of working.
//!
//! Ids, roles, file names, messages of templates and files of other workers come from elsewhere. A terminal takes control
//! characters in them as commands: to move the cursor, to change the title, to hide or forge lines. Everything that the program
//! writes for people passes through here, at the one place where it is written, so no caller has to think of it. Line ends and
//! tabs stay.

use std::borrow::Cow;

/// Text in which what would steer a terminal is written out, and JSON in which it is escaped.
pub(crate) use leadspan_files::{visible as escaped, visible_json as escaped_json};

/// A line of a log with colours: sequences that only set a colour stay.
pub(crate) fn escaped_but_colours(text: &str) -> Cow<'_, str> {
    if !text.contains(BEGINNING) {
        return escaped(text);
    }
    let mut pieces = text.split(BEGINNING);
    let mut shown = escaped(pieces.next().unwrap_or_default()).into_owned();
    for piece in pieces {
        shown.push_str(if is_colour(piece) { BEGINNING } else { "\\x1b[" });
        shown.push_str(&escaped(piece));
    }
    shown.into()
}

/// Text without the sequences that only set a colour.
pub(crate) fn without_colours(text: &str) -> String {
    let mut pieces = text.split(BEGINNING);
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once('m') {
            Some((_, behind)) if is_colour(piece) => plain.push_str(behind),
            _ => plain.extend([BEGINNING, piece]),
        }
    }
    plain
}

/// The beginning of the sequences that set colours, and of many others.
const BEGINNING: &str = "\x1b[";

/// Whether the rest of a sequence sets a colour.
fn is_colour(piece: &str) -> bool {
    let end = piece.find(|letter: char| !(letter.is_ascii_digit() || letter == ';'));
    end.is_some_and(|end| piece[end..].starts_with('m'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_its_own_colours_only() {
        for (text, expected) in [
            ("\x1b[32m INFO\x1b[0m done\n", "\x1b[32m INFO\x1b[0m done\n"),
            ("\x1b[2m12\x1b[0m \x1b[1;31mx", "\x1b[2m12\x1b[0m \x1b[1;31mx"),
            ("\x1b[2J\x1b[1A\x1b]0;t\x07", "\\x1b[2J\\x1b[1A\\x1b]0;t\\x07"),
            ("no colour \u{9b}", "no colour \\x9b"),
            ("\x1b[", "\\x1b["),
        ] {
            assert_eq!(escaped_but_colours(text), expected);
        }
    }

    #[test]
    fn colours_alone_are_taken_out() {
        for (text, expected) in [
            ("\x1b[1m\x1b[31merror:\x1b[0m more", "error: more"),
            ("\x1b[2Jm", "\x1b[2Jm"),
            ("plain", "plain"),
        ] {
            assert_eq!(without_colours(text), expected);
        }
    }
}
