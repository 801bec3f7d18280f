//! The configurations of a data set: those that the head of its README.md lists.
//!
//! A configuration names the files of each split by patterns. It is read as `load_dataset` of Hugging Face's datasets reads it:
//! files without a split are `train`; without files, names tell the split, in `data_dir` if it is set.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use super::{
    DEFAULT_SPLIT,
    head::{Node, configs},
    named::named_files,
    no_split, pieces,
    told::usual_name,
};
use crate::{
    CorpusError,
    error::open_error,
    pattern::{is_named_as_data, matched},
};

/// The most bytes of a README.md. Those of data sets with a thousand configurations have one megabyte.
const README_BYTES: u64 = 16 << 20;

/// The name of the configuration that is meant if none is named.
const DEFAULT_NAME: &str = "default";

/// One configuration.
struct Configuration {
    name: String,
    /// Whether it is meant if none is named.
    is_default: bool,
    data_dir: Option<String>,
    /// The patterns of each split; `None` if names tell the split.
    files: Option<Vec<(String, Vec<String>)>>,
}

/// The files of a split of the chosen configuration, sorted; `None` if README.md lists no configurations.
///
/// # Errors
///
/// A list that cannot be read, several configurations of which none is chosen, one that is not there or lacks the split, and
/// patterns that match no file or lead out of the folder.
pub(super) fn listed_files(
    folder: &Path,
    chosen: Option<&str>,
    split: &str,
) -> Result<Option<Vec<PathBuf>>, CorpusError> {
    let readme = folder.join("README.md");
    let text = match leadspan_files::read_regular(&readme, README_BYTES) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(open_error(&readme, error)),
    };
    let unreadable = |problem: String| CorpusError::UnreadableHead {
        path: readme.clone(),
        problem,
    };
    let list = configs(&text).map_err(|(line, problem)| unreadable(format!("line {line}: {problem}")))?;
    let all = match list {
        None | Some(Node::Empty) => return Ok(None),
        Some(Node::List(items)) if items.is_empty() => return Ok(None),
        Some(Node::List(items)) => items.into_iter().map(configuration).collect::<Result<Vec<_>, _>>(),
        Some(_) => Err("it is no list"),
    };
    let all = all.map_err(|problem| unreadable(problem.to_owned()))?;
    let one = choose(folder, &all, chosen)?;
    let inside = match &one.data_dir {
        Some(dir) if !is_inside(dir) => return Err(unreadable(format!("`{dir}` is not a folder inside"))),
        Some(dir) => folder.join(dir),
        None => folder.to_owned(),
    };
    let Some(splits) = &one.files else {
        return named_files(&inside, None, split).map(Some);
    };
    let of_split = splits.iter().filter(|(name, _)| name == split);
    let mut patterns: Vec<&String> = of_split.flat_map(|(_, patterns)| patterns).collect();
    if patterns.is_empty() {
        let of_split = splits.iter().filter(|(name, _)| usual_name(name) == usual_name(split));
        patterns = of_split.flat_map(|(_, patterns)| patterns).collect();
    }
    if patterns.is_empty() {
        return Err(no_split(folder, split, splits.iter().map(|(name, _)| name.clone())));
    }
    let mut files = Vec::new();
    for pattern in patterns {
        if !is_inside(pattern) {
            return Err(unreadable(format!("`{pattern}` is not a file inside the folder")));
        }
        files.extend(matching(&inside, pattern)?);
    }
    files.sort();
    files.dedup();
    pieces::checked(files).map(Some)
}

fn choose<'a>(folder: &Path, all: &'a [Configuration], chosen: Option<&str>) -> Result<&'a Configuration, CorpusError> {
    let names = || all.iter().map(|one| one.name.clone()).collect();
    if let Some(chosen) = chosen {
        return all
            .iter()
            .find(|one| one.name == chosen)
            .ok_or_else(|| CorpusError::NoSuchConfiguration {
                path: folder.to_owned(),
                config: chosen.to_owned(),
                known: names(),
            });
    }
    let mut defaults = all.iter().filter(|one| one.is_default);
    match (all, defaults.next(), defaults.next()) {
        ([only], ..) => return Ok(only),
        (_, Some(one), None) => return Ok(one),
        _ => {}
    }
    all.iter()
        .find(|one| one.name == DEFAULT_NAME)
        .ok_or_else(|| CorpusError::SeveralConfigurations {
            path: folder.to_owned(),
            known: names(),
        })
}

/// The files in `folder` that a pattern matches, at least one.
fn matching(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, CorpusError> {
    let literal = folder.join(pattern);
    if literal.is_file() {
        return Ok(vec![literal]);
    }
    // At its end, two asterisks mean all files below.
    let below = if pattern.ends_with("**") { "/*" } else { "" };
    let found = matched(folder, &format!("{pattern}{below}"), pattern)?;
    // Others leave folders out, and only data may not be passed over.
    if let Some(path) = found.folders.into_iter().find(|path| is_named_as_data(path)) {
        return Err(CorpusError::NotAFile { path });
    }
    let files = found.files;
    if files.is_empty() {
        return Err(CorpusError::NoFilesOfConfiguration {
            path: folder.to_owned(),
            pattern: pattern.to_owned(),
        });
    }
    Ok(files)
}

/// Whether a path or pattern stays inside the folder that it is relative to.
fn is_inside(path: &str) -> bool {
    let part = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    !path.is_empty() && !path.contains("://") && Path::new(path).components().all(part)
}

fn configuration(node: Node) -> Result<Configuration, &'static str> {
    let Node::Map(entries) = node else {
        return Err("a configuration is no map");
    };
    let mut one = Configuration {
        name: DEFAULT_NAME.to_owned(),
        is_default: false,
        data_dir: None,
        files: None,
    };
    for (key, value) in entries {
        match (key.as_str(), value) {
            (_, Node::Empty) => {}
            ("config_name", Node::Text(name)) => one.name = name,
            ("default", Node::Text(text)) => one.is_default = text == "true" || text == "True",
            ("data_dir", Node::Text(dir)) => one.data_dir = Some(dir),
            ("data_files", files) => one.files = Some(splits(files)?),
            ("config_name" | "data_dir" | "default", _) => return Err("the value of a key is no text"),
            _ => {}
        }
    }
    Ok(one)
}

/// The patterns of each split.
fn splits(files: Node) -> Result<Vec<(String, Vec<String>)>, &'static str> {
    let default = |patterns| (DEFAULT_SPLIT.to_owned(), patterns);
    match files {
        Node::Text(pattern) => Ok(vec![default(vec![pattern])]),
        Node::Map(entries) => entries
            .into_iter()
            .map(|(split, files)| Ok((split, patterns(files)?)))
            .collect(),
        Node::List(items) => items
            .into_iter()
            .map(|item| match item {
                Node::Text(pattern) => Ok(default(vec![pattern])),
                Node::Map(entries) => {
                    let (mut split, mut files) = (None, None);
                    for (key, value) in entries {
                        match (key.as_str(), value) {
                            ("split", Node::Text(name)) => split = Some(name),
                            ("path", value) => files = Some(patterns(value)?),
                            _ => return Err("`data_files` has more than `split` and `path`"),
                        }
                    }
                    let files = files.ok_or("`data_files` has a split without `path`")?;
                    Ok((split.unwrap_or_else(|| DEFAULT_SPLIT.to_owned()), files))
                }
                _ => Err("`data_files` is neither a pattern nor a list of patterns or splits"),
            })
            .collect(),
        Node::Empty => Ok(Vec::new()),
    }
}

fn patterns(files: Node) -> Result<Vec<String>, &'static str> {
    match files {
        Node::Text(pattern) => Ok(vec![pattern]),
        Node::List(items) => items
            .into_iter()
            .map(|item| match item {
                Node::Text(pattern) => Ok(pattern),
                _ => Err("a pattern is no text"),
            })
            .collect(),
        _ => Err("the files of a split are neither a pattern nor a list of patterns"),
    }
}
