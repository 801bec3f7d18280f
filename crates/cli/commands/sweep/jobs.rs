//! The runs of a sweep and the settings of each. All settings are checked before anything runs.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use leadspan_cache::{Cache, CacheError, Coverage, Reader};
use leadspan_experiment::sweep::{self, Axis, AxisValue, Baseline, Case, PlannedRun, Unswept};
use leadspan_sequence::LeadSpanProportion;
use leadspan_train::TrainSettings;
use serde_json::Value;

use super::error::SweepError;
use crate::{
    arguments::SweepArguments,
    commands::{Showing, missing},
    configuration::Configuration,
    configuration_error::ConfigurationError,
    failure::Result,
    given,
    overrides::{Override, layered},
    place::Place,
    sweep_table::{CaseSetting, SweepSettings, SweptCase, SweptKey, SweptValue},
};

/// A sweep whose runs are all valid.
pub(super) struct Sweep {
    /// The folder of the runs, relative to the current folder.
    pub(super) dir: PathBuf,
    pub(super) jobs: Vec<Job>,
    /// Whether students are evaluated.
    pub(super) evaluate: bool,
}

/// A run and its folder.
pub(super) struct Job {
    pub(super) planned: PlannedRun,
    /// Its folder, relative to the current folder.
    pub(super) folder: PathBuf,
    /// Its folder, relative to the pipeline file.
    train_dir: PathBuf,
}

impl Sweep {
    /// Reads the pipeline file and checks every run.
    ///
    /// # Errors
    ///
    /// If the file, a value or the settings of a run are wrong, or the cache lacks what a run would read.
    pub(super) fn new(arguments: &SweepArguments) -> Result<Self> {
        // The sweep sets `train.dir` for each run, so the file need not set it.
        let asked = Given {
            file: &arguments.pipeline.config,
            overrides: [
                &[set("train.dir", "\"sweep\"")],
                arguments.pipeline.overrides.as_slice(),
            ]
            .concat(),
        };
        let configuration = asked.load(&[])?;
        let (settings, evaluate) = configuration.sweep()?;
        given::note_with("train.dir", "sweep.dir");
        for swept in &settings.swept {
            if let Some(value) = swept.values.first() {
                given::note(&swept.key, value.place.clone());
            }
        }
        given::note_first(
            settings
                .cases
                .iter()
                .flat_map(|case| &case.settings)
                .map(CaseSetting::place),
        );
        let (cases, axes) = (asked.cases(settings)?, asked.axes(settings)?);
        let resolved = configuration.resolved();
        let planned = sweep::plan(&cases, &axes, &unswept(&resolved["train"]), &settings.own.baselines)?;
        let jobs = planned.into_iter().map(|planned| {
            let train_dir = settings.own.dir.join(&planned.name);
            Job {
                folder: configuration.base().join(&train_dir),
                train_dir,
                planned,
            }
        });
        let sweep = Self {
            dir: configuration.base().join(&settings.own.dir),
            jobs: jobs.collect(),
            evaluate,
        };
        sweep.check(&asked, arguments)?;
        Ok(sweep)
    }

    /// Checks the settings of each run, and that the cache covers them.
    fn check(&self, asked_for: &Given<'_>, arguments: &SweepArguments) -> Result<()> {
        let mut asked: BTreeMap<String, (Coverage, Option<Baseline>)> = BTreeMap::new();
        let mut cache_dir = PathBuf::new();
        for job in &self.jobs {
            if self.evaluate {
                asked_for.load(&job.overrides(None))?.evaluation(None)?;
            }
            let stage = asked_for.load(&job.overrides(None))?.stage_two()?;
            stage.train.check()?;
            if let (Some(Baseline::EqualCompute), Some(patience)) = (job.planned.baseline, stage.train.patience) {
                return Err(SweepError::MayEndEarly { patience }.into());
            }
            // How much a column of the data keeps is known only to the run.
            let longest = stage.train.longest_coverage();
            if let Some(coverage) = longest.filter(|_| stage.train.distillation_weight > 0.0) {
                let baseline = job.planned.baseline;
                let (_, asking) = asked.entry(coverage.to_string()).or_insert((coverage, baseline));
                *asking = asking.and(baseline);
            }
            cache_dir = stage.cache_dir;
        }
        let cache = Cache::open(&cache_dir)?;
        let mut beyond: Vec<(LeadSpanProportion, Option<Baseline>)> = Vec::new();
        let mut captured = None;
        for (coverage, baseline) in asked.into_values() {
            match Reader::open(&cache, coverage, missing(arguments.allow_incomplete)) {
                Ok(_) => {}
                Err(CacheError::ProportionNotCaptured { largest, .. }) => {
                    beyond.push((coverage.proportion, baseline));
                    captured = captured.max(Some(largest));
                }
                Err(error) => return Err(error.into()),
            }
        }
        match captured {
            None => Ok(()),
            Some(captured) => Err(SweepError::beyond_cache(cache_dir, captured, beyond).into()),
        }
    }
}

/// What a resolved `[train]` table says of keys that are not swept.
fn unswept(train: &Value) -> Unswept {
    let proportion = serde_json::from_value(train["lead_span_proportion"].clone());
    let defaults = serde_json::to_value(TrainSettings::default()).expect("settings serialize");
    let is_set = |key: &&str| train[*key] != defaults[*key];
    let policies = ["lead_span", "positions", "position_weights"]
        .into_iter()
        .filter(is_set);
    Unswept {
        proportion: proportion.expect("a proportion serializes as it is read"),
        policies: policies.map(|key| format!("train.{key}")).collect(),
    }
}

impl Job {
    /// The overrides of the run, which come after those of the command line.
    fn overrides(&self, max_flops: Option<&str>) -> Vec<Override> {
        let dir = toml_text(&self.train_dir);
        let settings = self
            .planned
            .settings
            .iter()
            .map(|setting| set(&setting.key, &setting.toml));
        let max_flops = max_flops.map(|flops| set("train.max_flops", flops));
        [set("train.dir", &dir)]
            .into_iter()
            .chain(settings)
            .chain(max_flops)
            .collect()
    }

    /// The arguments of the training; `max_flops` limits its operations.
    pub(super) fn train_arguments(&self, arguments: &SweepArguments, max_flops: Option<&str>) -> Vec<OsString> {
        let mut line = self.arguments("train", arguments, max_flops);
        // The launcher's variables say which runs of the sweep this process does.
        line.push("--alone".into());
        if arguments.allow_incomplete {
            line.push("--allow-incomplete".into());
        }
        line
    }

    /// The arguments of the evaluation.
    pub(super) fn evaluate_arguments(&self, arguments: &SweepArguments, max_flops: Option<&str>) -> Vec<OsString> {
        let mut line = self.arguments("evaluate", arguments, max_flops);
        // These take precedence over the model and the folder in the file.
        let dir = set("evaluate.dir", &toml_text(&self.train_dir.join("evaluation")));
        line.extend(["--set".into(), dir.given().into()]);
        line.extend(["--model".into(), self.folder.join("model").into()]);
        line
    }

    fn arguments(&self, command: &str, arguments: &SweepArguments, max_flops: Option<&str>) -> Vec<OsString> {
        let pipeline = &arguments.pipeline;
        let mut line: Vec<OsString> = vec![command.into(), "-c".into(), pipeline.config.clone().into()];
        for setting in &layered(&pipeline.overrides, &self.overrides(max_flops)) {
            line.extend(["--set".into(), setting.given().into()]);
        }
        if let Some(grace) = arguments.stopping.grace {
            line.extend(["--grace".into(), format!("{}s", grace.0.as_secs()).into()]);
        }
        line
    }
}

/// The arguments by which a child writes its log.
pub(super) fn shown_as(showing: Showing) -> [OsString; 4] {
    let level = showing.log_level.given();
    ["--progress".into(), "lines".into(), "--log-level".into(), level.into()]
}

/// The pipeline file and the overrides that the command was given.
struct Given<'a> {
    file: &'a Path,
    overrides: Vec<Override>,
}

impl Given<'_> {
    fn load(&self, more: &[Override]) -> Result<Configuration, ConfigurationError> {
        Configuration::load(self.file, &layered(&self.overrides, more))
    }

    /// The keys and their values, after each value was checked.
    fn axes(&self, settings: &SweepSettings) -> Result<Vec<Axis>, ConfigurationError> {
        let axis = |swept: &SweptKey| {
            let value = |value| self.checked(&[(swept.written.as_str(), swept.key.as_str(), value)]);
            let values = swept.values.iter().map(value).collect::<Result<Vec<_>, _>>()?;
            Ok(Axis {
                key: swept.key.clone(),
                values: values.into_iter().flatten().collect(),
            })
        };
        settings.swept.iter().map(axis).collect()
    }

    /// The cases, after the settings of each were checked together.
    fn cases(&self, settings: &SweepSettings) -> Result<Vec<Case>, ConfigurationError> {
        let case = |case: &SweptCase| -> Result<Case, ConfigurationError> {
            let settings: Vec<_> = case
                .settings
                .iter()
                .map(|setting| (setting.written.as_str(), setting.key.as_str(), &setting.value))
                .collect();
            let keys = case.settings.iter().map(|setting| setting.key.clone());
            Ok(Case {
                name: case.name.clone(),
                settings: keys.zip(self.checked(&settings)?).collect(),
            })
        };
        settings.cases.iter().map(case).collect()
    }

    /// The values of settings that a run has together. Each setting is its name in `[sweep]`, its key and its value.
    fn checked(&self, settings: &[(&str, &str, &SweptValue)]) -> Result<Vec<AxisValue>, ConfigurationError> {
        let overrides: Vec<Override> = settings.iter().map(|(_, key, value)| set(key, &value.toml)).collect();
        let configuration = self.load(&overrides).map_err(|error| match error {
            // The value was written in `[sweep]`, so the error names that place.
            ConfigurationError::Value { place, key, problem } => {
                let given = |setting: &Override| matches!(&place, Place::Override(given) if given == setting.given());
                match overrides.iter().position(given).map(|index| settings[index]) {
                    Some((written, _, value)) => ConfigurationError::Value {
                        place: value.place.clone(),
                        key: format!("sweep.{written}"),
                        problem,
                    },
                    None => ConfigurationError::Value { place, key, problem },
                }
            }
            other => other,
        })?;
        let resolved = configuration.resolved();
        let value = |(_, key, value): &(&str, &str, &SweptValue)| AxisValue {
            toml: value.toml.clone(),
            setting: resolved
                .pointer(&format!("/{}", key.replace('.', "/")))
                .cloned()
                .unwrap_or_default(),
        };
        Ok(settings.iter().map(value).collect())
    }
}

fn set(key: &str, toml: &str) -> Override {
    Override::parse(&format!("{key}={toml}")).expect("a key of the pipeline file has a table")
}

fn toml_text(path: &Path) -> String {
    toml::Value::String(path.to_string_lossy().into_owned()).to_string()
}
