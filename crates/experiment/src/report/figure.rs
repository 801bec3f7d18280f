//! A plot with its legend, its description and its numbers as a table.

use serde::Serialize;

use super::plot::{COLOURS, DASHES, Plot, Shape};
use crate::ExperimentError;

/// A plot on the page.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    /// The id for references within the page.
    id: String,
    title: String,
    /// A description for readers who cannot see the plot.
    description: String,
    /// The elements inside its SVG.
    drawing: String,
    legend: Vec<LegendEntry>,
    numbers: Table,
}

/// The legend of one line of a plot.
#[derive(Debug, Serialize)]
struct LegendEntry {
    label: String,
    /// The number of its colour, counted from 1.
    colour: usize,
    dashes: &'static str,
    /// The mark of its points; empty if they have none.
    mark: &'static str,
}

/// A table on the page; the first column names the rows.
#[derive(Debug, Default, Serialize)]
pub(super) struct Table {
    pub(super) caption: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(caption: impl Into<String>, head: &[&str]) -> Self {
        Self {
            caption: caption.into(),
            head: head.iter().map(ToString::to_string).collect(),
            rows: Vec::new(),
        }
    }
}

impl Figure {
    /// Draws `plot`; `numbers` is the table of its numbers.
    pub(super) fn new(id: &str, plot: &Plot, description: String, numbers: Table) -> Result<Self, ExperimentError> {
        let entry = |(number, line): (usize, &super::plot::Line)| LegendEntry {
            label: line.label.clone(),
            colour: number % COLOURS + 1,
            dashes: DASHES[number % DASHES.len()],
            mark: match line.shape {
                Shape::Marked => ["●", "▲", "✕"][number % 3],
                Shape::Plain | Shape::Level => "",
            },
        };
        Ok(Self {
            id: id.to_owned(),
            title: plot.title.clone(),
            description,
            drawing: plot.draw()?,
            legend: plot.lines.iter().enumerate().map(entry).collect(),
            numbers,
        })
    }
}
