//! Writing plain values as YAML in block style.

use std::fmt::Write as _;

use serde_json::Value;

/// Writes a value as YAML in block style. A text is written as JSON, which YAML contains, unless it is a plain word.
pub(super) fn yaml(value: &Value, indent: usize, text: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(fields) => {
            for (number, (key, value)) in fields.iter().enumerate() {
                // The first key of an item stands behind its dash.
                let pad = if number == 0 && text.ends_with("- ") { "" } else { &pad };
                match value {
                    Value::Array(_) => {
                        let _ = writeln!(text, "{pad}{key}:");
                        yaml(value, indent, text);
                    }
                    Value::Object(_) => {
                        let _ = writeln!(text, "{pad}{key}:");
                        yaml(value, indent + 2, text);
                    }
                    plain => {
                        let _ = writeln!(text, "{pad}{key}: {}", word(plain));
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                let _ = write!(text, "{pad}- ");
                match item {
                    Value::Object(_) | Value::Array(_) => yaml(item, indent + 2, text),
                    plain => {
                        let _ = writeln!(text, "{}", word(plain));
                    }
                }
            }
        }
        plain => {
            let _ = writeln!(text, "{}", word(plain));
        }
    }
}

fn word(value: &Value) -> String {
    let is_plain = |text: &str| {
        text.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && text
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "-_./*".contains(letter))
            && !["true", "false", "null", "yes", "no", "on", "off"].contains(&text.to_ascii_lowercase().as_str())
    };
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_are_written_as_yaml_in_blocks() {
        let value =
            json!([{"config_name": "a", "default": true, "data_files": [{"split": "train", "path": "data/train-*"}]}]);
        let mut text = String::new();
        yaml(&json!({ "configs": value }), 0, &mut text);
        let expected =
            "configs:\n- config_name: a\n  default: true\n  data_files:\n  - split: train\n    path: data/train-*\n";
        assert_eq!(text, expected);
    }
}
