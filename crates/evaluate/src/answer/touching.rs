//! What directly touches a box: signs, operators, units, and words that change the value.

use std::sync::LazyLock;

use regex::Regex;

use super::{
    beside::{after_spaces, before_spaces, length_of_unit, rest_of_formula, words_after, words_before},
    prose::{denies, ends_with_term, is_behind_dash, is_in_multiples},
    remark::Remark,
    unit::{TEXT_COMMANDS, split_word, text_command},
    unit_words::{is_change, is_no_unit, is_scale, is_turn},
};

/// Commands beside a box that do not change its value: relations, spaces, ends and styles.
const HARMLESS: &str = " approx equiv cong in to rightarrow Rightarrow implies iff longrightarrow Longrightarrow leadsto therefore \
    because quad qquad hspace vspace hfill tag label nonumber newline end begin blacksquare square Box qed checkmark pmod mod left \
    right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle boxed fbox large Large huge Huge \
    boldsymbol bm underline color ";
/// Those that do change it if they follow it: `\boxed{5}\left(2\right)` is a product.
const HARMFUL_AFTER: &str = " in to rightarrow left big Big bigg Bigg bigl Bigl biggl Biggl ";
/// Words in a text command behind a box that change its value.
const CHANGES: &str =
    " squared cubed factorial choose mod modulo base over times plus minus divided multiplied th st nd rd ppm ppb ";

/// A command with its arguments that changes only how what follows it looks.
static DECORATION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\\(?:begin|color|textcolor|label|tag|hspace|vspace)\*?\s*(?:\{[^{}\\]*\}|\[[^\[\]\\]*\])+$")
        .expect("it is a valid expression")
});

/// The most bytes of a decoration.
const LONGEST_DECORATION: usize = 100;

/// What precedes a box directly.
pub(super) enum Before {
    /// Nothing that changes its value.
    Nothing,
    /// A minus sign or a currency.
    Sign(&'static str),
    /// The box is a part of an expression.
    Part,
}

/// What directly precedes a box.
pub(super) fn before(text: &str, is_formula: bool) -> Before {
    let mut rest = text;
    // Styles, and braces that enclose the box alone.
    loop {
        rest = without_decoration(before_spaces(rest, is_formula));
        let Some(stem) = rest.strip_suffix('{').map(str::trim_end) else {
            break;
        };
        let stem = without_decoration(stem);
        let name = last_command(stem);
        if name.is_some_and(|name| !is_style(name)) || stem.ends_with(['^', '_', '}']) {
            return Before::Part;
        }
        rest = &stem[..stem.len() - name.map_or(0, |name| name.len() + 1)];
    }
    if let Some(name) = last_command(rest) {
        let is_negated = rest[..rest.len() - name.len() - 1].trim_end().ends_with("\\not");
        return if is_style(name) && !is_negated {
            Before::Nothing
        } else {
            Before::Part
        };
    }
    let opening = ["$$", "$", "\\(", "\\["]
        .iter()
        .find_map(|open| rest.strip_suffix(open));
    let outside = opening.filter(|outside| is_formula && !outside.ends_with('\\'));
    if ends_with_term(outside.unwrap_or(if is_formula { "" } else { rest })) {
        return Before::Part;
    }
    let is_glued = rest.len() == text.len();
    for (sign, name) in [("\\$", "\\$"), ("€", "€"), ("£", "£"), ("¥", "¥")] {
        if rest.ends_with(sign) {
            return Before::Sign(name);
        }
    }
    let Some(last) = rest.chars().next_back() else {
        return Before::Nothing;
    };
    let stem = before_spaces(&rest[..rest.len() - last.len_utf8()], is_formula);
    let is_operand = stem.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ')' | ']' | '}'));
    let is_first = stem.is_empty() || stem.ends_with(['\n', '$', '(', '[', '{', '=', ':', ',', '&', '≈']);
    let is_part = match last {
        '-' | '−' | '–' if is_first || last_command(stem).is_some_and(is_style) => {
            // `- \boxed{5}` at the start of a line is an item.
            return if is_formula || is_glued {
                Before::Sign("-")
            } else {
                Before::Nothing
            };
        }
        '-' | '−' | '–' if is_formula || stem.ends_with(|c: char| c.is_ascii_digit() || matches!(c, ')' | '}')) => {
            true
        }
        '-' | '−' if is_glued && rest[..rest.len() - last.len_utf8()].ends_with(char::is_whitespace) => {
            return Before::Sign("-");
        }
        '+' => !is_first,
        '*' => !rest.ends_with("**") && (is_formula || stem.ends_with(|c: char| c.is_ascii_digit() || c == ')')),
        '_' => is_formula,
        // `> \boxed{5}` is a quotation, `=>` and `->` are arrows, `<b>` is a tag.
        '>' => !is_first && !stem.ends_with('-') && (is_formula || !is_tag(rest)),
        '=' => stem.ends_with(['!', '/', '<', '>', '~']) || stem.ends_with("\\not"),
        '≈' | '≡' | '≅' | '≃' | '∈' | '∴' | '∵' | '−' => false,
        '/' | '^' | '×' | '·' | '÷' | '±' | '!' | '<' | '\'' | '\u{338}' | '\u{2200}'..='\u{22ff}' => true,
        '.' => is_glued && stem.ends_with(|c: char| c.is_ascii_digit()),
        '}' if is_formula => words_of_text(rest).is_none_or(is_joining),
        ')' | ']' | '}' => is_formula || is_glued && is_operand,
        _ if last.is_ascii_digit() => is_formula || is_glued,
        // `x\boxed{5}`, but not `is\boxed{5}`.
        _ if last.is_alphabetic() && !is_formula && words_before(rest).next().is_some_and(|word| word == "or") => true,
        _ if last.is_alphabetic() => is_formula || is_glued && !stem.ends_with(char::is_alphabetic),
        _ => false,
    };
    if is_part { Before::Part } else { Before::Nothing }
}

/// The text without the decorations that it ends with. One line is looked at, which bounds the time.
fn without_decoration(text: &str) -> &str {
    let mut rest = text;
    while rest.ends_with(['}', ']']) {
        let mut start = rest.len().saturating_sub(LONGEST_DECORATION);
        while !rest.is_char_boundary(start) {
            start += 1;
        }
        let Some(found) = DECORATION.find(&rest[start..]) else {
            break;
        };
        rest = rest[..start + found.start()].trim_end_matches([' ', '\t']);
    }
    rest
}

/// The name of the command that a text ends with.
fn last_command(text: &str) -> Option<&str> {
    let stem = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    (stem.ends_with('\\') && stem.len() < text.len()).then(|| &text[stem.len()..])
}

/// Whether a text ends with a tag.
fn is_tag(text: &str) -> bool {
    let inner = text
        .trim_end_matches('>')
        .rsplit_once('<')
        .map_or("", |(_, inner)| inner);
    inner.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') && !inner.contains(' ')
}

/// Whether a command changes no value beside it.
fn is_style(name: &str) -> bool {
    let is_text = |name: &str| TEXT_COMMANDS.iter().any(|command| &command[1..] == name);
    HARMLESS.split(' ').any(|harmless| harmless == name) || is_text(name)
}

/// The words in the text command that a text ends with.
fn words_of_text(text: &str) -> Option<&str> {
    let (before, inner) = text.strip_suffix('}')?.rsplit_once('{')?;
    last_command(before.trim_end())
        .is_some_and(is_style)
        .then(|| inner.trim())
}

/// The end of what precedes a box in its formula.
pub(super) fn start_of_formula(text: &str) -> &str {
    let starts = ["$", "\\(", "\\[", "\\\\", "\n", "&", "=", ":", ". "];
    let start = starts
        .iter()
        .filter_map(|start| text.rfind(start).map(|place| place + start.len()))
        .max();
    text[start.unwrap_or(0)..].trim_start()
}

/// What directly follows a box.
#[derive(Clone, Copy)]
pub(super) enum After<'a> {
    /// Nothing that changes its value.
    Nothing,
    /// The unit of the number in it, or a percent sign.
    Unit(&'a str),
    /// The box is a part of an expression, which goes on with this.
    Part(&'a str),
}

impl<'a> After<'a> {
    pub(super) fn text(self) -> &'a str {
        match self {
            Self::Nothing => "",
            Self::Unit(text) | Self::Part(text) => text,
        }
    }
}

/// What follows a box directly. `is_bare` says that the box has a number without a unit.
pub(super) fn after(text: &str, mut is_formula: bool, is_bare: bool) -> After<'_> {
    let mut rest = text;
    let mut is_closed = false;
    let marks = ["}", "$$", "$", "\\)", "\\]", "**", "__", "`"];
    loop {
        let next = after_spaces(rest, true);
        let unit = if is_bare { length_of_unit(rest) } else { 0 };
        if unit > 0 {
            // `5^\circ\text{ N}` is no angle.
            return match after(&rest[unit..], is_formula, false) {
                After::Part(_) => After::Part(rest_of_formula(rest)),
                _ => After::Unit(&rest[..unit]),
            };
        }
        match marks
            .into_iter()
            .find_map(|mark| Some((mark, next.strip_prefix(mark)?)))
        {
            Some((mark, within)) => {
                let is_end = mark.starts_with(['$', '\\']);
                (rest, is_formula, is_closed) = (within, is_formula && !is_end, is_closed || is_end);
            }
            None => break,
        }
    }
    let next = after_spaces(rest, true);
    let is_glued = next.len() == rest.len();
    let Some(first) = next.chars().next() else {
        return After::Nothing;
    };
    let second = next[first.len_utf8()..].chars().next();
    let operand = after_spaces(&next[first.len_utf8()..], true);
    let has_operand = operand.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '\\' | '$' | '('));
    let is_part = match first {
        '\\' => return after_command(next),
        '!' => !is_closed,
        '.' if next.starts_with("...") && !is_closed && is_glued => return After::Part("\\dots"),
        '.' if next.starts_with(".\\overline") => !is_closed && is_glued,
        ',' | ';' | ':' if is_in_multiples(&next[1..]) => true,
        '.' | ',' | ':' => !is_closed && is_glued && second.is_some_and(|c| c.is_ascii_digit()),
        '_' if !is_closed && is_glued && second == Some('{') => true,
        '<' => is_formula || !second.is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '/' | '|')),
        '|' => is_formula || !is_closed && is_glued && second.is_some_and(char::is_alphanumeric),
        '\'' => is_formula,
        '?' => !is_formula,
        '-' | '−' | '–' | '—' | '+' if operand.starts_with(char::is_alphabetic) && !is_formula => {
            !is_behind_dash(operand)
        }
        '+' | '*' | '/' | '-' | '−' | '–' | '—' | '_' => {
            is_formula || has_operand || is_glued && !is_closed && second.is_some_and(char::is_alphanumeric)
        }
        '(' if !is_formula && (!is_glued || is_closed || words_after(&next[1..]).any(|word| word.len() > 2)) => {
            let (remark, unit) = Remark::behind_bracket(&next[1..]);
            if remark == Remark::Unit && is_bare && length_of_unit(unit) == unit.len() {
                return After::Unit(unit);
            }
            remark == Remark::Change
        }
        '(' | '[' => is_formula || is_glued && !is_closed && !words_after(&next[1..]).any(|word| word.len() > 2),
        '≡' => !next.lines().next().unwrap_or_default().contains("mod"),
        '≈' | '≅' | '≃' | '∴' | '∵' | '∎' => false,
        '>' | '^' | '%' | '‰' | '°' | '×' | '·' | '÷' | '±' | '{' | '\u{2200}'..='\u{22ff}' => true,
        _ if first.is_alphabetic() && !is_formula && (!is_glued || is_closed) => return after_words(next),
        _ => first.is_alphanumeric(),
    };
    if is_part {
        After::Part(rest_of_formula(next))
    } else {
        After::Nothing
    }
}

/// What follows a box that has this command behind it.
fn after_command(text: &str) -> After<'_> {
    if let Some((inner, rest)) = text_command(text) {
        return match (inner.trim(), after_words(inner.trim_start())) {
            (word, _) if word.starts_with('(') && Remark::behind_bracket(&word[1..]).0 == Remark::Change => {
                After::Part(rest_of_formula(text))
            }
            (word, _) if is_joining(word) || is_changing(word) => After::Part(rest_of_formula(text)),
            (_, After::Nothing) => After::Nothing,
            _ => After::Part(&text[..text.len() - rest.len()]),
        };
    }
    // `\%` has no name, and no more have `\\` and `\{`.
    let (name, _) = split_word(&text[1..]);
    // Without a modulus in this line, a congruence says nothing that `5` alone says.
    let line = text.lines().next().unwrap_or_default();
    if name == "equiv" && !line.contains("mod") {
        return After::Part(rest_of_formula(text));
    }
    let is_harmful = HARMFUL_AFTER.split(' ').any(|harmful| harmful == name);
    let is_part = (!is_style(name) || is_harmful) && !name.is_empty() || text.starts_with("\\%");
    if is_part {
        After::Part(rest_of_formula(text))
    } else {
        After::Nothing
    }
}

/// Whether a word joins what is beside it.
fn is_joining(word: &str) -> bool {
    matches!(
        word.trim_end_matches(','),
        "or" | "and" | "to" | "plus" | "minus" | "times"
    )
}

/// Whether words in a text command change the value before them: a single letter, `squared`, `and a half`, `per mille`.
fn is_changing(words: &str) -> bool {
    let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
    let first = words
        .first()
        .map_or("", |word| word.trim_matches(|c: char| !c.is_alphanumeric()));
    let is_letter = words.len() == 1 && first.chars().count() == 1 && first.chars().all(char::is_alphabetic);
    is_letter
        || !first.is_empty() && CHANGES.split(' ').any(|change| change == first)
        || matches!(first, "and" | "per") && words.iter().any(|word| is_no_unit(word) && word != "and")
}

/// What follows a box that has these words behind it.
fn after_words(text: &str) -> After<'_> {
    let words: Vec<String> = words_after(text).take(2).collect();
    let word = |place: usize| words.get(place).map_or("", String::as_str);
    let (first, second) = (word(0), word(1));
    let is_variable = first.chars().count() == 1 && !matches!(first, "a" | "i");
    let is_joined = first == "or" && (second.is_empty() || second.contains(|c: char| c.is_ascii_digit()));
    if denies(text) || is_joined || is_in_multiples(text) {
        After::Part(rest_of_formula(text))
    } else if is_variable
        || is_scale(first) && first != "one"
        || is_change(first)
        || is_turn(first) && !matches!(first, "not" | "never")
    {
        After::Part(split_word(text).0)
    } else {
        After::Nothing
    }
}
