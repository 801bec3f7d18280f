//! The source of a template, as the engine can run it.
//!
//! Three things are changed before it is compiled. Line ends become `\n`, as Jinja2 reads them. transformers adds the tags
//! `generation` and `endgeneration` to the language to mark the assistant's tokens; they become a scope of their own, which is
//! what they are apart from the mark. The engine's operator `%` does not format text, so `a % b` becomes a call of the filter
//! [`MODULO`], which does what Python does.

/// The name of the filter for `%`.
pub(super) const MODULO: &str = "python_modulo";

/// The source with these changes.
pub(super) fn adapted(source: &str) -> String {
    let lines = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut text = String::with_capacity(lines.len());
    let mut rest = lines.as_str();
    while let Some((before, tag, after)) = next_tag(rest) {
        text += before;
        text += &tag.adapted();
        rest = after;
    }
    text + rest
}

/// A tag: its delimiters, and what lies between them.
struct Tag<'a> {
    open: &'a str,
    inner: &'a str,
    close: &'a str,
    tokens: Vec<Token<'a>>,
}

/// A piece of an expression, and the byte of the tag's inside at which it begins.
#[derive(Clone, Copy)]
struct Token<'a> {
    start: usize,
    kind: Kind,
    text: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    /// A number or a text.
    Literal,
    Operator,
}

/// Words that are no operands.
const KEYWORDS: [&str; 9] = ["and", "else", "if", "in", "is", "not", "or", "recursive", "set"];

/// The text before the next tag that has an inside to change, the tag, and the text after it. Comments and raw blocks are text.
fn next_tag(source: &str) -> Option<(&str, Tag<'_>, &str)> {
    let mut from = 0;
    loop {
        let start = from + source[from..].find('{')?;
        let (open, close) = match source.as_bytes().get(start + 1)? {
            b'%' => ("{%", "%}"),
            b'{' => ("{{", "}}"),
            b'#' => {
                from = start + 2 + source[start + 2..].find("#}")? + 2;
                continue;
            }
            _ => {
                from = start + 1;
                continue;
            }
        };
        let (tokens, length) = tokens_before(&source[start + 2..], close)?;
        let end = start + 2 + length;
        if open == "{%" && is_word(&tokens, "raw") {
            from = end_of_raw(source, end + 2)?;
            continue;
        }
        let tag = Tag {
            open,
            inner: &source[start + 2..end],
            close,
            tokens,
        };
        return Some((&source[..start], tag, &source[end + 2..]));
    }
}

/// The byte after the tag that ends a raw block.
fn end_of_raw(source: &str, mut from: usize) -> Option<usize> {
    loop {
        let start = from + source[from..].find("{%")?;
        let end = start + 2 + source[start + 2..].find("%}")?;
        let word = source[start + 2..end].trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        if word == "endraw" {
            return Some(end + 2);
        }
        from = start + 2;
    }
}

/// Whether the tag is one word, beside the marks for white space.
fn is_word(tokens: &[Token<'_>], word: &str) -> bool {
    let mut words = tokens.iter().filter(|token| !["-", "+"].contains(&token.text));
    words.next().is_some_and(|token| token.text == word) && words.next().is_none()
}

/// The tokens of `source` before the delimiter `close`, and the byte at which the delimiter begins.
fn tokens_before<'a>(source: &'a str, close: &str) -> Option<(Vec<Token<'a>>, usize)> {
    let mut tokens = Vec::new();
    let (mut at, mut depth) = (0, 0usize);
    loop {
        let rest = &source[at..];
        let first = rest.chars().next()?;
        if depth == 0 && rest.starts_with(close) {
            return Some((tokens, at));
        }
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (kind, length) = match first {
            '"' | '\'' => (Kind::Literal, length_of_text(rest, first)?),
            '0'..='9' => (Kind::Literal, length_of_number(rest)),
            _ if first.is_alphabetic() || first == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                (Kind::Name, end.unwrap_or(rest.len()))
            }
            _ => {
                match first {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                let double = ["**", "//", "==", "!=", "<=", ">="]
                    .iter()
                    .any(|two| rest.starts_with(two));
                (Kind::Operator, if double { 2 } else { first.len_utf8() })
            }
        };
        let text = &rest[..length];
        tokens.push(Token { start: at, kind, text });
        at += length;
    }
}

fn length_of_text(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|&(_, character)| {
        let ends = character == quote && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    });
    Some(end?.0 + 1)
}

fn length_of_number(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let is_part = byte.is_ascii_alphanumeric()
            || byte == b'_'
            || (byte == b'.' && is_digit(at + 1))
            || (matches!(byte, b'+' | b'-') && matches!(bytes[at - 1], b'e' | b'E') && is_digit(at + 1));
        if !is_part {
            break;
        }
        at += 1;
    }
    at
}

impl Tag<'_> {
    fn adapted(&self) -> String {
        let has_modulo = self.tokens.iter().any(|token| token.text == "%");
        let inner = if self.open == "{%" && is_word(&self.tokens, "generation") {
            self.inner.replace("generation", "with")
        } else if self.open == "{%" && is_word(&self.tokens, "endgeneration") {
            self.inner.replace("endgeneration", "endwith")
        } else if has_modulo {
            self.with_modulo()
        } else {
            self.inner.to_owned()
        };
        [self.open, &inner, self.close].concat()
    }

    fn with_modulo(&self) -> String {
        let mut rewriting = Rewriting {
            tag: self,
            next: 0,
            text: String::new(),
            copied: 0,
        };
        // The first word of a statement is its name.
        if self.open == "{%" {
            rewriting.copy();
        }
        while rewriting.next < self.tokens.len() {
            rewriting.copy_items();
            // A bracket that nothing opens.
            rewriting.copy();
        }
        rewriting.text + &self.inner[rewriting.copied..]
    }
}

/// Copies a tag's inside, token by token, and rewrites `%`.
struct Rewriting<'a> {
    tag: &'a Tag<'a>,
    /// The next token.
    next: usize,
    /// What was written.
    text: String,
    /// Bytes that were copied or left out.
    copied: usize,
}

impl Rewriting<'_> {
    /// The next token, or an operator that is none.
    fn peek(&self) -> (Kind, &str) {
        let token = self.tag.tokens.get(self.next);
        token.map_or((Kind::Operator, ""), |token| (token.kind, token.text))
    }

    /// Copies the white space before the next token.
    fn copy_space(&mut self) {
        if let Some(token) = self.tag.tokens.get(self.next) {
            self.text += &self.tag.inner[self.copied..token.start];
            self.copied = token.start;
        }
    }

    fn copy(&mut self) {
        self.copy_space();
        if let Some(token) = self.tag.tokens.get(self.next) {
            self.text += token.text;
            self.copied = token.start + token.text.len();
            self.next += 1;
        }
    }

    /// Copies expressions and what separates them, up to a closing bracket.
    fn copy_items(&mut self) {
        let mut after_operand = false;
        loop {
            match self.peek() {
                (Kind::Operator, "" | ")" | "]" | "}") => return,
                (Kind::Name, word) if KEYWORDS.contains(&word) => {
                    self.copy();
                    after_operand = false;
                }
                (Kind::Name | Kind::Literal, _) | (Kind::Operator, "(" | "[" | "{") => {
                    self.copy_products();
                    after_operand = true;
                }
                (Kind::Operator, "-" | "+") if !after_operand => {
                    self.copy_products();
                    after_operand = true;
                }
                _ => {
                    self.copy();
                    after_operand = false;
                }
            }
        }
    }

    /// Copies operands with `*`, `/`, `//` and `%` between them, from left to right.
    fn copy_products(&mut self) {
        self.copy_space();
        let start = self.text.len();
        self.copy_operand();
        loop {
            match self.peek() {
                (Kind::Operator, "*" | "/" | "//") => {
                    self.copy();
                    self.copy_operand();
                }
                (Kind::Operator, "%") => {
                    self.copy_space();
                    self.text.insert(start, '(');
                    self.text += ")|";
                    self.text += MODULO;
                    self.text.push('(');
                    self.next += 1;
                    self.copied += 1;
                    self.copy_operand();
                    self.text.push(')');
                }
                _ => return,
            }
        }
    }

    /// Copies one operand with its signs, attributes, calls, filters and powers.
    fn copy_operand(&mut self) {
        while let (Kind::Operator, "-" | "+") = self.peek() {
            self.copy();
        }
        match self.peek() {
            (Kind::Literal, _) => {
                while let (Kind::Literal, _) = self.peek() {
                    self.copy();
                }
            }
            (Kind::Name, _) => self.copy(),
            (Kind::Operator, "(" | "[" | "{") => self.copy_group(),
            _ => return,
        }
        loop {
            match self.peek() {
                (Kind::Operator, "." | "|") => {
                    self.copy();
                    self.copy();
                }
                (Kind::Operator, "(" | "[") => self.copy_group(),
                (Kind::Operator, "**") => {
                    self.copy();
                    return self.copy_operand();
                }
                _ => return,
            }
        }
    }

    /// Copies an opening bracket, what is in it, and the closing one.
    fn copy_group(&mut self) {
        self.copy();
        self.copy_items();
        self.copy();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_those_of_unix() {
        assert_eq!(adapted("a\r\nb\rc\n{{ 'd\r\n' }}"), "a\nb\nc\n{{ 'd\n' }}");
    }

    #[test]
    fn generation_tags_become_scopes_outside_of_text() {
        let source = "{%- generation -%}{{ generation }}{% endgeneration %} {% if x %}generation{% endif %} {% open";
        let expected = "{%- with -%}{{ generation }}{% endwith %} {% if x %}generation{% endif %} {% open";
        assert_eq!(adapted(source), expected);
        for unchanged in [
            "a{%}b",
            "{%}{%generation%}",
            "{# {% generation %} #}",
            "{% raw %}{% generation %}{%- endraw %}",
            "{{ '{% generation %}' }}",
        ] {
            assert_eq!(adapted(unchanged), unchanged);
        }
        assert_eq!(adapted("{%%}{%generation%}"), "{%%}{%with%}");
    }

    #[test]
    fn a_percent_sign_is_a_call_of_a_filter_with_its_operands() {
        for (source, expected) in [
            ("'%s' % x", "('%s' )|python_modulo( x)"),
            ("a % b + c", "(a )|python_modulo( b) + c"),
            ("c + a % b", "c + (a )|python_modulo( b)"),
            ("a * b % c * d", "(a * b )|python_modulo( c) * d"),
            ("a%b%c", "((a)|python_modulo(b))|python_modulo(c)"),
            ("-a % -b", "(-a )|python_modulo( -b)"),
            (
                "a.b[0](1)|f % x|g(2) == 1",
                "(a.b[0](1)|f )|python_modulo( x|g(2)) == 1",
            ),
            ("(a % b, [c % d])", "((a )|python_modulo( b), [(c )|python_modulo( d)])"),
            ("not a % b", "not (a )|python_modulo( b)"),
            ("{'a': b % {'c': 1}}", "{'a': (b )|python_modulo( {'c': 1})}"),
            ("x if a % 2 else y", "x if (a )|python_modulo( 2) else y"),
            ("2 ** 3 % 5", "(2 ** 3 )|python_modulo( 5)"),
            ("'%' ~ 'a %} b'", "'%' ~ 'a %} b'"),
        ] {
            assert_eq!(adapted(&format!("{{{{ {source} }}}}")), format!("{{{{ {expected} }}}}"));
        }
        assert_eq!(
            adapted("{% if a % 2 == 0 %}b % c{% endif %}"),
            "{% if (a )|python_modulo( 2) == 0 %}b % c{% endif %}"
        );
        assert_eq!(
            adapted("{%- set a = '%s' % b -%}"),
            "{%- set a = ('%s' )|python_modulo( b) -%}"
        );
        // What is not an expression stays as it is.
        for broken in ["{{ % }}", "{{ ) % ( }}", "{{ a % }}", "{{ 1 %", "{% % %}"] {
            drop(adapted(broken));
        }
    }
}
