//! The parts of the page between its headline and the wrong answers. Each part has a file of its own.

mod compute;
mod configuration;
mod cost;
mod equal_compute;
mod every_run;
mod losses;
mod plots;
mod quality;
mod sections;

use serde::Serialize;

use super::{
    figure::{Figure, Table},
    measure::Measure,
    series::Series,
};
use crate::{ExperimentError, Run};

pub(super) use self::{equal_compute::pairs, every_run::every_run};

/// A part of the page.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    id: &'static str,
    heading: &'static str,
    text: Vec<String>,
    figures: Vec<Figure>,
    tables: Vec<Table>,
}

impl Part {
    fn new(id: &'static str, heading: &'static str) -> Self {
        Self {
            id,
            heading,
            text: Vec::new(),
            figures: Vec::new(),
            tables: Vec::new(),
        }
    }
}

/// The parts of the page, in their order.
pub(super) fn parts(runs: &[Run], series: &[Series], measure: Option<Measure>) -> Result<Vec<Part>, ExperimentError> {
    Ok(vec![
        quality::part(series, measure)?,
        compute::part(series, measure)?,
        cost::part(series)?,
        sections::part(series, measure),
        losses::part(series)?,
        configuration::part(runs),
    ])
}
