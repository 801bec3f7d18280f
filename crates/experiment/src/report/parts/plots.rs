//! Plots of a value against the proportion, and helpers for other plots.

use crate::{
    Estimate, ExperimentError, Kind,
    report::{
        figure::{Figure, Table},
        plot::{Line, Mark, Plot, Shape},
        series::{Point, Series},
        shown,
    },
};

const PROPORTION: &str = "lead-span proportion";

/// How a plot of one value shows several series.
pub(super) struct PlotOf {
    pub(super) id: &'static str,
    pub(super) title: String,
    pub(super) y_shown: fn(f64) -> String,
    pub(super) y_from: Option<f64>,
    /// Formats a number in the table.
    pub(super) cell: fn(f64) -> String,
}

impl PlotOf {
    /// Draws the value against the proportion; `None` if there is no point. The untrained student is drawn as a level, and so is
    /// a supervised series of one proportion beside longer series.
    pub(super) fn against_proportion(
        self,
        lines: Vec<(&Series, Vec<Point>)>,
    ) -> Result<Option<Figure>, ExperimentError> {
        let mut numbers = Table::new(
            format!("{} at each proportion", self.title),
            &["runs", PROPORTION, "mean (95 % interval)", "runs counted"],
        );
        let longest = lines.iter().map(|(_, points)| points.len()).max().unwrap_or(0);
        let mut drawn = Vec::new();
        for (series, points) in lines.into_iter().filter(|(_, points)| !points.is_empty()) {
            let level =
                series.kind == Kind::Untrained || (series.kind == Kind::Supervised && points.len() == 1 && longest > 1);
            for point in &points {
                numbers.rows.push(vec![
                    series.label.clone(),
                    if series.kind == Kind::Untrained {
                        "none".into()
                    } else {
                        point.proportion.to_string()
                    },
                    shown::estimate(&point.estimate, self.cell),
                    point.estimate.values.to_string(),
                ]);
            }
            let marks = points
                .iter()
                .map(|point| mark(point.proportion.as_f64(), &point.estimate));
            drawn.push(Line {
                label: series.label.clone(),
                points: marks.collect(),
                shape: if level { Shape::Level } else { Shape::Marked },
            });
        }
        if drawn.is_empty() {
            return Ok(None);
        }
        let plot = Plot {
            title: self.title,
            x: PROPORTION,
            x_from: Some(0.0),
            x_shown: |value| format!("{value:.1}"),
            y_shown: self.y_shown,
            y_from: self.y_from,
            lines: drawn,
        };
        let description = described(&plot, &numbers);
        Figure::new(self.id, &plot, description, numbers).map(Some)
    }
}

/// A point with its interval.
pub(super) fn mark(x: f64, estimate: &Estimate) -> Mark {
    let (low, high) = estimate.span();
    Mark {
        x,
        y: estimate.mean,
        low,
        high,
    }
}

/// Describes a plot in words.
pub(super) fn described(plot: &Plot, numbers: &Table) -> String {
    let names: Vec<&str> = plot.lines.iter().map(|line| line.label.as_str()).collect();
    format!(
        "{} against {}, of {}. The {} numbers are in the table below the plot.",
        plot.title,
        plot.x,
        names.join("; "),
        numbers.rows.len()
    )
}

/// `text` with a capital first letter.
pub(super) fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
