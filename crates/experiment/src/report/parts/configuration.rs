//! The keys whose values differ between the runs.

use super::Part;
use crate::{
    Run,
    report::{figure::Table, series::differing_keys},
};

pub(super) fn part(runs: &[Run]) -> Part {
    let mut part = Part::new("configuration", "What differs between the runs");
    let all: Vec<&Run> = runs.iter().collect();
    let keys: Vec<String> = differing_keys(&all)
        .into_iter()
        .filter(|key| key != "train.dir")
        .collect();
    if keys.is_empty() {
        part.text.push("Their configurations are the same.".into());
        return part;
    }
    part.text
        .push("Only keys whose values differ; everything else is the same in all runs that have recorded it.".into());
    let mut table = Table::new("Configuration of each run", &["run"]);
    table.head.extend(keys.iter().cloned());
    for run in runs {
        let cell = |key: &String| run.config.get(key).cloned().unwrap_or_else(|| "not recorded".into());
        table
            .rows
            .push([run.name.clone()].into_iter().chain(keys.iter().map(cell)).collect());
    }
    part.tables.push(table);
    part
}
