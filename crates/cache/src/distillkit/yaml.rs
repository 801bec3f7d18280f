//! The part of YAML in which DistillKit's settings are written: mappings, lists and plain values.
//!
//! Anchors, tags, texts of several lines and nested flow collections are refused.

use serde_json::{Map, Value};

/// The most collections inside one another. The settings have three.
const LEVELS: usize = 8;

/// A line without its indentation and comment.
#[derive(Debug)]
struct Line {
    number: usize,
    indent: usize,
    text: String,
}

/// Reads a document as JSON. A document that is JSON is read as well.
///
/// # Errors
///
/// The line and what it has that is not read.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let text = without_comment(line).trim_end();
        let content = text.trim_start_matches(' ');
        if content.starts_with('\t') {
            return Err(format!("line {}: it is indented with a tab", number + 1));
        }
        if !content.is_empty() && !["---", "..."].contains(&content) {
            lines.push(Line {
                number: number + 1,
                indent: text.len() - content.len(),
                text: content.to_owned(),
            });
        }
    }
    let mut reader = Reader { lines, next: 0 };
    let indent = reader.lines.first().map_or(0, |line| line.indent);
    let value = reader.block(indent, 0)?;
    match reader.lines.get(reader.next) {
        None => Ok(value),
        Some(line) => Err(format!(
            "line {}: its indentation is that of no line before it",
            line.number
        )),
    }
}

fn without_comment(line: &str) -> &str {
    let comments = line.match_indices('#').map(|(at, _)| at);
    let mut real = comments.filter(|&at| line[..at].chars().next_back().is_none_or(char::is_whitespace));
    real.next().map_or(line, |at| &line[..at])
}

struct Reader {
    lines: Vec<Line>,
    next: usize,
}

impl Reader {
    /// The lines from the next one on that have this indentation, and those below them.
    fn block(&mut self, indent: usize, level: usize) -> Result<Value, String> {
        let Some(line) = self.lines.get(self.next) else {
            return Ok(Value::Null);
        };
        if level > LEVELS {
            return Err(format!(
                "line {}: more than {LEVELS} collections are inside one another",
                line.number
            ));
        }
        if is_item(&line.text) {
            return self.list(indent, level);
        }
        if key_of(&line.text).is_none() {
            let value = scalar(&line.text, line.number);
            self.next += 1;
            return value;
        }
        self.map(indent, level)
    }

    fn list(&mut self, indent: usize, level: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        while let Some(line) = self
            .lines
            .get_mut(self.next)
            .filter(|line| line.indent == indent && is_item(&line.text))
        {
            let rest = line.text[1..].trim_start();
            if rest.is_empty() {
                self.next += 1;
                items.push(self.below(indent, level)?);
                continue;
            }
            // What follows the dash is the first line of a block of its own.
            line.indent += line.text.len() - rest.len();
            line.text = rest.to_owned();
            let inner = line.indent;
            items.push(self.block(inner, level + 1)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, indent: usize, level: usize) -> Result<Value, String> {
        let mut fields = Map::new();
        while let Some(line) = self.lines.get(self.next).filter(|line| line.indent == indent) {
            let Some((key, rest)) = key_of(&line.text) else {
                return Err(format!("line {}: `{}` is no key with a value", line.number, line.text));
            };
            let (key, number) = (unquoted(key).unwrap_or(key).to_owned(), line.number);
            let value = if rest.is_empty() {
                self.next += 1;
                // A list may stand at the indentation of its key.
                let next = self.lines.get(self.next);
                if next.is_some_and(|next| next.indent == indent && is_item(&next.text)) {
                    self.list(indent, level + 1)?
                } else {
                    self.below(indent, level)?
                }
            } else {
                let value = scalar(rest, number)?;
                self.next += 1;
                value
            };
            if fields.insert(key.clone(), value).is_some() {
                return Err(format!("line {number}: the key `{key}` is there twice"));
            }
        }
        Ok(Value::Object(fields))
    }

    /// The block below a line with this indentation; null if there is none.
    fn below(&mut self, indent: usize, level: usize) -> Result<Value, String> {
        match self.lines.get(self.next) {
            Some(next) if next.indent > indent => {
                let indent = next.indent;
                self.block(indent, level + 1)
            }
            _ => Ok(Value::Null),
        }
    }
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// The key of a line and what stands behind it.
fn key_of(text: &str) -> Option<(&str, &str)> {
    let end = text.match_indices(':').map(|(at, _)| at);
    let mut ends = end.filter(|at| text[at + 1..].is_empty() || text[at + 1..].starts_with(' '));
    let end = ends.next()?;
    (!text.starts_with(['[', '{'])).then(|| (text[..end].trim_end(), text[end + 1..].trim_start()))
}

fn unquoted(text: &str) -> Option<&str> {
    let inside = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('\'').or_else(|| inside('"'))
}

fn scalar(text: &str, line: usize) -> Result<Value, String> {
    if let Some(items) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        if items.trim().is_empty() {
            return Ok(Value::Array(Vec::new()));
        }
        let items = items.split(',').map(|item| match item.trim() {
            nested if nested.starts_with('[') => Err(format!("line {line}: `{text}` has a list inside a list")),
            plain => scalar(plain, line),
        });
        return items.collect::<Result<_, _>>().map(Value::Array);
    }
    if let Some(inside) = unquoted(text) {
        return Ok(Value::String(inside.to_owned()));
    }
    if text.starts_with(['&', '*', '!', '|', '>', '{', '[', '@', '`', '"', '\'']) {
        return Err(format!("line {line}: `{text}` is YAML that is not read here"));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(number), _) => number.into(),
            (_, Ok(number)) if number.is_finite() => number.into(),
            _ => Value::String(text.to_owned()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_yaml_writers_make_of_the_settings_is_read() {
        let dumped = "d: 49152\ndelta_encoding: true\nexact_dtype: float16 # half\npolynomial_terms:\n- 0\n- sqrt\n\
                      residual_bins:\n- element_bits: 6\n  scale_dtype: float16\n- element_bits: 3\n  scale_dtype: 'float32'\n";
        let expected = json!({
            "d": 49152, "delta_encoding": true, "exact_dtype": "float16", "polynomial_terms": [0, "sqrt"],
            "residual_bins": [{"element_bits": 6, "scale_dtype": "float16"}, {"element_bits": 3, "scale_dtype": "float32"}],
        });
        assert_eq!(parse(dumped).unwrap(), expected);
        let by_hand = "---\n# of a user\nd: 49152\ndelta_encoding: True\nexact_dtype: \"float16\"\npolynomial_terms: [0, sqrt]\n\
                       residual_bins:\n    -\n        element_bits: 6\n        scale_dtype: float16\n    - element_bits: 3\n\
                       \x20     scale_dtype: float32\n";
        assert_eq!(parse(by_hand).unwrap(), expected);
        assert_eq!(parse(&expected.to_string()).unwrap(), expected);
        assert_eq!(
            parse("a: []\nb:\nc: 1.5\n").unwrap(),
            json!({"a": [], "b": null, "c": 1.5})
        );
        assert_eq!(parse("").unwrap(), Value::Null);
    }

    #[test]
    fn other_yaml_is_refused_with_its_line() {
        for (text, said) in [
            ("a: &x 1\n", "line 1"),
            ("a: 1\n\tb: 2\n", "line 2: it is indented with a tab"),
            ("a: 1\nb\n", "line 2: `b`"),
            ("a: 1\na: 2\n", "the key `a` is there twice"),
            ("a: {b: 1}\n", "line 1"),
            ("a: 1\n  b: 2\n", "line 2"),
            ("a: [[1]]\n", "line 1: `[[1]]` has a list inside a list"),
            ("a: |\n  text\n", "line 1"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        let deep = "- ".repeat(10_000) + "1";
        assert!(parse(&deep).unwrap_err().contains("more than 8"));
    }
}
