//! Reads the list `configs` in the head of a data set's README.md.
//!
//! The head is YAML between two lines of three hyphens. Only the part of YAML that such lists are written in is read: lists and
//! maps by indentation, texts with and without quotation marks, and lists of texts in brackets. Everything else in the list is
//! refused by its line, and the other keys of the head are not looked at.

/// A value of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Nothing, or `null`.
    Empty,
    /// A text, number or boolean as it is written.
    Text(String),
    /// The items of a list.
    List(Vec<Node>),
    /// The keys of a map with their values.
    Map(Vec<(String, Node)>),
}

/// Why the list cannot be read: the line, counted from 1, and what is wrong with it.
pub(super) type Unreadable = (usize, &'static str);

/// The most levels of lists and maps.
const LEVELS: usize = 16;

/// A line without its comment.
#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

/// The value of `configs` in the head of `readme`; `None` if it is not there.
pub(super) fn configs(readme: &str) -> Result<Option<Node>, Unreadable> {
    let mut numbered = (1..).zip(readme.trim_start_matches('\u{feff}').lines());
    if numbered.next().is_none_or(|(_, first)| first.trim_end() != "---") {
        return Ok(None);
    }
    let head: Vec<(usize, &str)> = numbered
        .take_while(|(_, line)| !matches!(line.trim_end(), "---" | "..."))
        .collect();
    let mut starts = head
        .iter()
        .enumerate()
        .filter(|(_, (_, line))| line.starts_with("configs:"));
    let Some((start, &(number, first))) = starts.next() else {
        return Ok(None);
    };
    if let Some((_, &(number, _))) = starts.next() {
        return Err((number, "`configs` is there a second time"));
    }
    let value = without_comment(&first["configs:".len()..]).trim();
    if !value.is_empty() {
        return scalar(value).map(Some).map_err(|problem| (number, problem));
    }
    let mut lines = Vec::new();
    for &(number, line) in &head[start + 1..] {
        let text = without_comment(line).trim_end();
        let content = text.trim_start_matches(' ');
        if content.is_empty() {
            continue;
        }
        if content.starts_with('\t') {
            return Err((number, "a tab is no indentation"));
        }
        let indent = text.len() - content.len();
        if indent == 0 && !is_item(content) {
            break;
        }
        lines.push(Line {
            number,
            indent,
            text: content,
        });
    }
    let mut reader = Reader { lines, at: 0 };
    let Some(first) = reader.line() else {
        return Ok(Some(Node::Empty));
    };
    let node = reader.block(first.indent, LEVELS)?;
    match reader.line() {
        Some(more) => Err((more.number, "its indentation fits no line above")),
        None => Ok(Some(node)),
    }
}

/// The line up to a `#` that is not part of a text.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, letter) in line.char_indices() {
        match (letter, quote) {
            ('#', None) if before.is_whitespace() => return &line[..at],
            // Only a quotation mark where a value begins is one.
            ('"' | '\'', None) if matches!(before, ' ' | '[' | ',') => quote = Some(letter),
            (letter, Some(open)) if letter == open && before != '\\' => quote = None,
            _ => {}
        }
        before = letter;
    }
    line
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

struct Reader<'a> {
    lines: Vec<Line<'a>>,
    at: usize,
}

impl<'a> Reader<'a> {
    fn line(&self) -> Option<Line<'a>> {
        self.lines.get(self.at).copied()
    }

    /// The list or map whose lines have this indentation.
    fn block(&mut self, indent: usize, levels: usize) -> Result<Node, Unreadable> {
        let Some(line) = self.line() else {
            return Ok(Node::Empty);
        };
        let levels = levels
            .checked_sub(1)
            .ok_or((line.number, "there are too many levels"))?;
        if is_item(line.text) {
            self.list(indent, levels)
        } else {
            self.map(indent, levels)
        }
    }

    fn list(&mut self, indent: usize, levels: usize) -> Result<Node, Unreadable> {
        let mut items = Vec::new();
        while let Some(line) = self.line().filter(|line| line.indent == indent && is_item(line.text)) {
            let item = line.text[1..].trim_start();
            if item.is_empty() {
                self.at += 1;
                items.push(self.below(indent, levels)?);
            } else if is_item(item) || key_and_value(item).is_some() {
                // The item is a block that begins on this line.
                let indent = indent + line.text.len() - item.len();
                self.lines[self.at] = Line {
                    indent,
                    text: item,
                    ..line
                };
                items.push(self.block(indent, levels)?);
            } else {
                self.at += 1;
                items.push(scalar(item).map_err(|problem| (line.number, problem))?);
            }
        }
        Ok(Node::List(items))
    }

    fn map(&mut self, indent: usize, levels: usize) -> Result<Node, Unreadable> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        while let Some(line) = self.line().filter(|line| line.indent == indent && !is_item(line.text)) {
            let failed = |problem| (line.number, problem);
            let (key, value) = key_and_value(line.text).ok_or_else(|| failed("it has no `key: value`"))?;
            let Node::Text(key) = scalar(key).map_err(failed)? else {
                return Err(failed("the key is no text"));
            };
            if entries.iter().any(|(known, _)| *known == key) {
                return Err(failed("the key is there a second time"));
            }
            self.at += 1;
            let value = if !value.is_empty() {
                scalar(value).map_err(failed)?
            } else if self
                .line()
                .is_some_and(|next| next.indent == indent && is_item(next.text))
            {
                // A list may have the indentation of its key.
                self.block(indent, levels)?
            } else {
                self.below(indent, levels)?
            };
            entries.push((key, value));
        }
        Ok(Node::Map(entries))
    }

    /// The block of the following lines, if they are indented more.
    fn below(&mut self, indent: usize, levels: usize) -> Result<Node, Unreadable> {
        match self.line().filter(|line| line.indent > indent) {
            Some(line) => self.block(line.indent, levels),
            None => Ok(Node::Empty),
        }
    }
}

/// The parts of `key: value`; the value may be empty.
fn key_and_value(text: &str) -> Option<(&str, &str)> {
    let start = match text.chars().next()? {
        quote @ ('"' | '\'') => text[1..].find(quote)? + 2,
        '[' | '{' => return None,
        _ => 0,
    };
    let colon = start
        + text[start..]
            .match_indices(':')
            .find(|&(at, _)| text[start + at + 1..].starts_with([' ', '\t']) || start + at + 1 == text.len())?
            .0;
    Some((&text[..colon], text[colon + 1..].trim()))
}

/// A value on one line.
fn scalar(text: &str) -> Result<Node, &'static str> {
    let text = text.trim();
    if let Some(inside) = text.strip_prefix('[') {
        let inside = inside.strip_suffix(']').ok_or("the list does not end on this line")?;
        if inside.contains(['[', '{']) {
            return Err("lists in brackets hold only texts here");
        }
        let items = inside.split(',').map(str::trim).filter(|item| !item.is_empty());
        return items.map(scalar).collect::<Result<_, _>>().map(Node::List);
    }
    let Some(first) = text.chars().next() else {
        return Ok(Node::Empty);
    };
    match first {
        '"' => {
            let inside = text[1..].strip_suffix('"').ok_or("the text has no end on this line")?;
            if inside.contains(['\\', '"']) {
                return Err("escapes in a text are not read here");
            }
            Ok(Node::Text(inside.to_owned()))
        }
        '\'' => {
            let inside = text[1..].strip_suffix('\'').ok_or("the text has no end on this line")?;
            Ok(Node::Text(inside.replace("''", "'")))
        }
        '{' | '&' | '*' | '!' | '|' | '>' | '%' | '@' | '`' => Err("such values are not read here"),
        _ if matches!(text, "~" | "null" | "Null" | "NULL") => Ok(Node::Empty),
        _ => Ok(Node::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Node {
        Node::Text(text.to_owned())
    }

    fn map(entries: &[(&str, Node)]) -> Node {
        Node::Map(
            entries
                .iter()
                .map(|(key, node)| ((*key).to_owned(), node.clone()))
                .collect(),
        )
    }

    #[test]
    fn the_list_is_read_in_every_way_that_readmes_write_it() {
        let piece = |split: &str, path: Node| map(&[("split", text(split)), ("path", path)]);
        let expected = Node::List(vec![
            map(&[
                ("config_name", text("main")),
                (
                    "data_files",
                    Node::List(vec![
                        piece("train", text("main/train-*")),
                        piece("test", Node::List(vec![text("main/a.parquet"), text("main/b.parquet")])),
                    ]),
                ),
                ("default", text("true")),
            ]),
            map(&[
                ("config_name", text("it's")),
                ("data_files", text("*.jsonl")),
                ("data_dir", Node::Empty),
            ]),
        ]);
        let by_the_hub = "---\nlicense: mit\ndataset_info:\n- config_name: main\n  features:\n  - name: question\n\
            configs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/train-*\n  - split: test\n    path:\n\
            \x20   - main/a.parquet\n    - main/b.parquet\n  default: true\n- config_name: \"it's\"\n  data_files: '*.jsonl'\n\
            \x20 data_dir:\ntags:\n- math\n---\nconfigs:\n- none\n";
        let by_hand = "\u{feff}---\r\nconfigs:   # all of them\r\n\r\n  -\r\n    config_name: main  # one\r\n    data_files:\r\n\
            \x20       - {0}\r\n          path: main/train-*\r\n        - split:   'test'\r\n          path: [main/a.parquet, \"main/b.parquet\"]\r\n\
            \x20   default: true\r\n  # no comment\r\n  - config_name: 'it''s'\r\n    data_files: \"*.jsonl\"\r\n    data_dir: null\r\n---\r\n"
            .replace("{0}", "split: train");
        assert_eq!(configs(by_the_hub), Ok(Some(expected.clone())));
        assert_eq!(configs(&by_hand), Ok(Some(expected)));
    }

    #[test]
    fn a_readme_without_the_list_has_none() {
        for readme in [
            "",
            "# Title\n",
            "---\n---\n",
            "---\nlicense: mit\n---\nconfigs:\n- a\n",
            "---\nother_configs:\n- a\n---",
        ] {
            assert_eq!(configs(readme), Ok(None), "{readme}");
        }
        assert_eq!(configs("---\nconfigs:\n---\n"), Ok(Some(Node::Empty)));
        assert_eq!(configs("---\nconfigs: []\n---\n"), Ok(Some(Node::List(Vec::new()))));
    }

    #[test]
    fn what_is_not_read_is_refused_by_its_line() {
        for (head, line) in [
            ("configs: {a: b}", 2),
            ("configs:\n- config_name: &x main", 3),
            ("configs:\n- config_name: main\n  data_files: [a,\n    b]", 4),
            ("configs:\n- config_name: |\n    main", 3),
            ("configs:\n- config_name: main\n    data_files: a", 4),
            ("configs:\n- config_name: main\n  config_name: other", 4),
            ("configs:\n- config_name: main\n  data_files: \"a\\x41\"", 4),
            ("configs:\n\t- config_name: main", 3),
            ("configs:\n- a: b\nconfigs:\n- c: d", 4),
            ("configs:\n- a: b\n  c", 4),
        ] {
            assert_eq!(
                configs(&format!("---\n{head}\n---\n")).map_err(|(line, _)| line),
                Err(line),
                "{head}"
            );
        }
        let deep = format!("---\nconfigs:\n{}a: b\n---\n", "- ".repeat(100_000));
        assert_eq!(configs(&deep), Err((3, "there are too many levels")));
    }
}
