//! Text in which nothing steers the program that shows it: ids, questions and answers come from elsewhere, and go into files that
//! people read in a terminal or a browser.

use std::{borrow::Cow, fmt::Write as _};

/// Whether a character would steer a terminal: the controls of ASCII and Latin-1, and those that turn the direction of writing
/// or break lines. Line ends and tabs do not.
pub fn steers(letter: char) -> bool {
    matches!(
        letter,
        '\0'..='\x08'
            | '\x0b'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
}

/// Text in which what would steer a terminal is written out: `\x1b`, `\u{202e}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        let code = u32::from(letter);
        let _ = match code {
            _ if !steers(letter) => {
                shown.push(letter);
                Ok(())
            }
            ..0x100 => write!(shown, "\\x{code:02x}"),
            _ => write!(shown, "\\u{{{code:x}}}"),
        };
    }
    shown.into()
}

/// JSON in which they are escaped as JSON does it. A parser reads the same value.
pub fn visible_json(json: &str) -> Cow<'_, str> {
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

/// Like [`visible`], for the text of a whole page: line ends of Windows become plain ones.
pub fn visible_page(page: &str) -> String {
    visible(&page.replace("\r\n", "\n")).into_owned()
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
            ("\u{9b}31m\u{85}\0", "\\x9b31m\\x85\\x00"),
            ("a\u{202e}b\u{2066}c\u{200f}", "a\\u{202e}b\\u{2066}c\\u{200f}"),
        ] {
            assert_eq!(visible(text), expected);
        }
        assert!(matches!(visible("plain"), Cow::Borrowed(_)));
        assert_eq!(visible_page("one\r\ntwo\rthree"), "one\ntwo\\x0dthree");
    }

    #[test]
    fn json_stays_json_of_the_same_value() {
        let value = serde_json::json!({ "id": "\x1b[2J\u{9b}\u{202e}\u{7f}é\n" });
        let text = value.to_string();
        let shown = visible_json(&text);
        assert!(!shown.chars().any(steers) && shown.contains("\\u202e"), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
