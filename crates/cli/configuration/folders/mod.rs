//! Checks that a folder that a command writes is apart from what it reads: the models, the data and other caches.
//!
//! A run replaces `model/` in its folder, so a run in the folder of a teacher would remove it. Everything is checked before
//! anything is written. Only names are looked at, and links are followed.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::{
    configuration_error::ConfigurationError,
    outputs::{cache_around, is_cache, obstacle, without_links},
    tables::Tables,
};

/// A path that is read.
struct Input {
    key: &'static str,
    /// As it is written in the pipeline file.
    written: PathBuf,
    place: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A file, or a folder that is read as a whole.
    Whole,
    /// A folder from which files that match a pattern are read; [`own_outputs`](super::own_outputs) looks at these.
    Matched,
}

impl Input {
    /// Whether it is data, of which every file that matches is read.
    fn is_data(&self) -> bool {
        self.key.ends_with(".files") || self.key.ends_with(".path")
    }
}

/// How the place to write lies to a place that is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    Same,
    Inside,
    Holds,
}

/// A folder that is to be written.
struct Output<'a> {
    key: &'static str,
    /// As it is written in the pipeline file.
    written: &'a Path,
    place: PathBuf,
}

impl<'a> Output<'a> {
    fn new(key: &'static str, written: &'a Path, base: &Path) -> Self {
        Self {
            key,
            written,
            place: without_links(&base.join(written)),
        }
    }

    /// Refuses the first input to which it lies in one of these relations.
    fn require_apart(&self, inputs: &[Input], relations: &[Relation]) -> Result<(), ConfigurationError> {
        let refused = |input: &&Input| {
            self.relation(input)
                .is_some_and(|relation| relations.contains(&relation))
        };
        let Some(input) = inputs.iter().find(refused) else {
            return Ok(());
        };
        Err(ConfigurationError::NotApart {
            output_key: self.key,
            output: self.written.to_owned(),
            relation: match self.relation(input) {
                Some(Relation::Inside) => "is inside",
                Some(Relation::Holds) => "holds",
                _ => "is the same as",
            },
            input_key: input.key,
            input: input.written.clone(),
        })
    }

    fn relation(&self, input: &Input) -> Option<Relation> {
        if self.place == input.place {
            Some(Relation::Same)
        } else if input.place.starts_with(&self.place) {
            Some(Relation::Holds)
        } else if self.place.starts_with(&input.place) && input.kind == Kind::Whole {
            Some(Relation::Inside)
        } else {
            None
        }
    }

    /// Refuses a path with what a shell would replace, unless that is there under this very name.
    fn require_written_out(&self, base: &Path) -> Result<(), ConfigurationError> {
        let mut so_far = base.to_owned();
        for (index, part) in self.written.components().enumerate() {
            so_far.push(part);
            let text = part.as_os_str().to_string_lossy();
            let is_variable = text.strip_prefix('$').is_some_and(|name| {
                name.starts_with(|first: char| first == '{' || first == '_' || first.is_ascii_alphabetic())
            });
            if (is_variable || index == 0 && text.starts_with('~')) && so_far.symlink_metadata().is_err() {
                return Err(ConfigurationError::NotWrittenOut {
                    output_key: self.key,
                    output: self.written.to_owned(),
                    part: text.into_owned(),
                });
            }
        }
        Ok(())
    }

    /// Refuses a place where no folder can be.
    fn require_folder(&self, base: &Path) -> Result<(), ConfigurationError> {
        self.require_written_out(base)?;
        if self.written.as_os_str().is_empty() {
            return Err(self.taken("no path".to_owned()));
        }
        match obstacle(&self.place) {
            None => Ok(()),
            Some(found) => Err(self.taken(found)),
        }
    }

    /// Refuses the folder of the pipeline file, which has files of its own.
    fn require_not_around(&self, base: &Path) -> Result<(), ConfigurationError> {
        if self.place == without_links(&base.join(".")) {
            return Err(self.taken("the folder of the pipeline file".to_owned()));
        }
        Ok(())
    }

    /// Refuses a place inside a cache.
    fn require_outside_caches(&self) -> Result<(), ConfigurationError> {
        match cache_around(&self.place) {
            None => Ok(()),
            Some(cache) => Err(self.taken(format!("inside the cache `{}`", cache.display()))),
        }
    }

    fn is_run(&self) -> bool {
        self.place.join("run.json").exists()
    }

    /// Refuses the folder of a run.
    fn require_no_run(&self) -> Result<(), ConfigurationError> {
        if self.is_run() {
            return Err(self.taken("the folder of a run".to_owned()));
        }
        Ok(())
    }

    /// Refuses the folder of a model, also of one that the pipeline file does not name.
    fn require_no_model(&self) -> Result<(), ConfigurationError> {
        if self.place.join("config.json").exists() {
            return Err(self.taken("the folder of a model".to_owned()));
        }
        Ok(())
    }

    fn taken(&self, by: String) -> ConfigurationError {
        ConfigurationError::Taken {
            output_key: self.key,
            output: self.written.to_owned(),
            by,
        }
    }
}

/// The folder of the cache, at a place where one can be. A cache that is there already is used where it is.
fn cache_output<'a>(base: &Path, dir: &'a Path) -> Result<Output<'a>, ConfigurationError> {
    let output = Output::new("cache.dir", dir, base);
    if !is_cache(&output.place) {
        output.require_folder(base)?;
        output.require_not_around(base)?;
    }
    Ok(output)
}

/// The folder of the run, at a place where one can be. A run that is there already is continued where it is.
fn run_output<'a>(base: &Path, dir: &'a Path) -> Result<Output<'a>, ConfigurationError> {
    let output = Output::new("train.dir", dir, base);
    output.require_folder(base)?;
    if !output.is_run() {
        output.require_not_around(base)?;
    }
    Ok(output)
}

/// Checks that `cache.dir` and `train.dir` are places where a folder can be, whatever else is there.
///
/// # Errors
///
/// If one of them is empty, the folder of the pipeline file, a file, inside one, or belongs to the system.
pub(super) fn check_places(base: &Path, tables: &Tables) -> Result<(), ConfigurationError> {
    if let Some(cache) = &tables.cache {
        cache_output(base, &cache.dir)?;
    }
    if let Some(train) = &tables.train {
        run_output(base, &train.dir)?;
    }
    Ok(())
}

/// Checks `cache.dir`. A cache that is there already is used where it is.
///
/// # Errors
///
/// If it is the folder of a run, of a model or of data, inside one that is read, or holds one, or if it is inside another cache.
pub(super) fn check_cache(base: &Path, tables: &Tables) -> Result<(), ConfigurationError> {
    let Some(cache) = &tables.cache else {
        return Ok(());
    };
    let output = cache_output(base, &cache.dir)?;
    if is_cache(&output.place) {
        return Ok(());
    }
    output.require_outside_caches()?;
    let all = [Relation::Same, Relation::Inside, Relation::Holds];
    output.require_apart(&inputs(base, tables), &all)?;
    output.require_no_run()?;
    output.require_no_model()
}

/// Checks `train.dir`. A run that is there already is continued where it is, unless it would remove what it reads.
///
/// # Errors
///
/// If it is the folder of a model or of data, inside one, or holds one, or if it is inside a cache.
pub(super) fn check_run(base: &Path, tables: &Tables) -> Result<(), ConfigurationError> {
    let Some(train) = &tables.train else {
        return Ok(());
    };
    let output = run_output(base, &train.dir)?;
    output.require_outside_caches()?;
    let relations: &[Relation] = if output.is_run() {
        &[Relation::Same, Relation::Holds]
    } else {
        &[Relation::Same, Relation::Inside, Relation::Holds]
    };
    output.require_apart(&inputs(base, tables), relations)?;
    output.require_no_model()
}

/// Checks `evaluate.dir`, which is `dir`. The evaluated model is `model`.
///
/// # Errors
///
/// If it is the folder of a model, of data or of a run, or inside a model, data or a cache. An evaluation that is there already is
/// continued inside a model or data.
pub(super) fn check_evaluation(
    base: &Path,
    tables: &Tables,
    dir: &Path,
    model: &Path,
) -> Result<(), ConfigurationError> {
    let written = match dir.strip_prefix(base).unwrap_or(dir) {
        here if here.as_os_str().is_empty() => Path::new("."),
        written => written,
    };
    let output = Output::new("evaluate.dir", written, base);
    let is_evaluation = output.place.join("evaluation.json").exists();
    output.require_folder(base)?;
    if !is_evaluation {
        output.require_not_around(base)?;
    }
    output.require_outside_caches()?;
    output.require_no_run()?;
    let mut inputs = inputs(base, tables);
    if !is_evaluation {
        let (data, others): (Vec<Input>, Vec<Input>) = inputs.into_iter().partition(Input::is_data);
        output.require_apart(&data, &[Relation::Same, Relation::Inside])?;
        inputs = others;
    }
    inputs.push(Input {
        key: "evaluate.model",
        written: model.strip_prefix(base).unwrap_or(model).to_owned(),
        place: without_links(model),
        kind: Kind::Whole,
    });
    // What is there already is continued: an evaluation, and a run that an earlier version made inside a model.
    let is_of_run = output.place.parent().is_some_and(|run| run.join("run.json").exists());
    if !is_evaluation && !is_of_run {
        output.require_apart(&inputs, &[Relation::Inside])?;
    }
    if let Some(train) = &tables.train {
        inputs.push(whole("train.dir", &train.dir, base));
    }
    output.require_apart(&inputs, &[Relation::Same])?;
    output.require_no_model()
}

/// Checks `sweep.dir`, which holds the folders of runs.
///
/// # Errors
///
/// If it is the folder of a model or of data or inside one, or if it is that of a run or inside a cache.
pub(super) fn check_sweep(base: &Path, tables: &Tables, dir: &Path) -> Result<(), ConfigurationError> {
    let output = Output::new("sweep.dir", dir, base);
    output.require_folder(base)?;
    output.require_outside_caches()?;
    output.require_no_run()?;
    output.require_apart(&inputs(base, tables), &[Relation::Same, Relation::Inside])?;
    output.require_no_model()
}

fn whole(key: &'static str, written: &Path, base: &Path) -> Input {
    Input {
        key,
        written: written.to_owned(),
        place: without_links(&base.join(written)),
        kind: Kind::Whole,
    }
}

/// A model, unless nothing is there: it may be the id of a model of the Hub.
fn existing(key: &'static str, written: &Path, base: &Path) -> Option<Input> {
    base.join(written).exists().then(|| whole(key, written, base))
}

/// A file, or the folder of the files that match a pattern.
fn files(key: &'static str, pattern: &str, base: &Path) -> Input {
    let is_pattern = |part: &std::path::Component<'_>| {
        part.as_os_str()
            .to_str()
            .is_some_and(|part| part.contains(['*', '?', '[', '{']))
    };
    let mut literal = PathBuf::new();
    let mut parts = Path::new(pattern).components().peekable();
    while let Some(part) = parts.next_if(|part| !is_pattern(part)) {
        literal.push(part);
    }
    let kind = if parts.peek().is_some() {
        Kind::Matched
    } else {
        Kind::Whole
    };
    Input {
        key,
        written: pattern.into(),
        place: without_links(&base.join(literal)),
        kind,
    }
}

/// The models and data that the tables name.
fn inputs(base: &Path, tables: &Tables) -> Vec<Input> {
    let mut inputs = Vec::new();
    if let Some(teacher) = &tables.teacher {
        inputs.extend(existing("teacher.model", &teacher.model, base));
        inputs.extend(
            teacher
                .adapter
                .as_ref()
                .and_then(|adapter| existing("teacher.adapter", adapter, base)),
        );
    }
    if let Some(student) = &tables.student {
        let keys = [
            ("student.model", &student.model),
            ("student.config", &student.config),
            ("student.tokenizer", &student.tokenizer),
        ];
        let named = keys.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?)));
        inputs.extend(named.filter_map(|(key, path)| existing(key, path, base)));
    }
    let data = tables.data.as_ref().map(|data| (&data.files[..], data.path.as_deref()));
    let evaluate = tables.evaluate.as_ref();
    let evaluate = evaluate.map(|evaluate| (&evaluate.files[..], evaluate.path.as_deref()));
    let sources = [
        ("data.files", "data.path", data),
        ("replay.files", "replay.path", Some(tables.replay.sources())),
        ("evaluate.files", "evaluate.path", evaluate),
    ];
    for (files_key, path_key, source) in sources {
        let Some((patterns, path)) = source else { continue };
        inputs.extend(patterns.iter().map(|pattern| files(files_key, pattern, base)));
        inputs.extend(path.iter().map(|path| whole(path_key, Path::new(path), base)));
    }
    inputs
}
