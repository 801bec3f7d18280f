//! Text as it is shown to people: whatever would steer a terminal is visible instead of working.
//!
//! Ids, roles, file names, messages of templates and files of other workers come from elsewhere. A terminal takes control
//! characters in them as commands: to move the cursor, to change the title, to hide or forge lines. Everything that the program
//! writes for people passes through here, at the one place where it is written, so no caller has to think of it. Line ends and
//! tabs stay.

use std::{borrow::Cow, fmt::Write as _};

use leadspan_files::steers;

/// Text in which what would steer a terminal is written out: `\x1b`, `\u{202e}`.
pub(crate) use leadspan_files::visible as escaped;

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

/// JSON in which they are escaped as JSON does it. A parser reads the same value.
pub(crate) fn escaped_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(steers) {
        return json.into();
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for letter in json.chars() {
        if steers(letter) {
            // None of them is beyond the 16 bits of such an escape.
            let _ = write!(shown, "\\u{:04x}", u32::from(letter));
        } else {
            shown.push(letter);
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out_and_the_rest_stays() {
        for (text, expected) in [
            ("a\tb\nc é 漢 ±", "a\tb\nc é 漢 ±"),
            ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            ("\x1b[2J\x1b[31mred", "\\x1b[2J\\x1b[31mred"),
            ("over\rwritten\x08\x7f", "over\\x0dwritten\\x08\\x7f"),
            ("\u{9b}31m\u{85}", "\\x9b31m\\x85"),
            ("a\u{202e}b\u{2066}c\u{200f}", "a\\u{202e}b\\u{2066}c\\u{200f}"),
            ("\0", "\\x00"),
        ] {
            assert_eq!(escaped(text), expected);
        }
        assert!(matches!(escaped("plain"), Cow::Borrowed(_)));
    }

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

    #[test]
    fn json_stays_json_of_the_same_value() {
        let value = serde_json::json!({ "id": "\x1b[2J\u{9b}\u{202e}\u{7f}é\n" });
        let text = value.to_string();
        let shown = escaped_json(&text);
        assert!(shown.is_ascii() || !shown.chars().any(steers), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
