//! Lines and levels over two axes, drawn as SVG that takes its colours from the page.
//!
//! The drawing library takes colours as numbers only. Each role therefore has a number of its own that occurs nowhere else in the
//! drawing, and these numbers are then replaced by the page's variables: `#0A0B02` becomes `var(--line-2)`.

use std::ops::Range;

use plotters::{
    prelude::{ChartBuilder, Circle, Cross, IntoDrawingArea as _, PathElement, SVGBackend, TriangleMarker},
    style::{Color as _, RGBColor, ShapeStyle, TextStyle},
};

use crate::ExperimentError;

/// The size of a plot. It is small, so that its text is legible on a phone, and scaled up on larger screens.
const SIZE: (u32, u32) = (360, 250);
const FONT: (&str, u32) = ("sans-serif", 15);
/// The number of colours. Further lines start again with the first.
pub(super) const COLOURS: usize = 6;
/// Patterns of strokes, by which lines differ even without colours.
pub(super) const DASHES: [&str; 4] = ["none", "7 4", "2 3", "9 3 2 3"];

const TEXT: RGBColor = RGBColor(10, 11, 100);
const AXIS: RGBColor = RGBColor(10, 11, 101);
const GRID: RGBColor = RGBColor(10, 11, 102);
const NONE: RGBColor = RGBColor(10, 11, 103);

/// Formats a number at an axis.
type Shown = fn(f64) -> String;

/// A plot to be drawn.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    /// The label of the horizontal axis.
    pub(super) x: &'static str,
    /// A value that the horizontal axis must include.
    pub(super) x_from: Option<f64>,
    pub(super) x_shown: Shown,
    pub(super) y_shown: Shown,
    /// A value that the vertical axis must include, such as 0.
    pub(super) y_from: Option<f64>,
    pub(super) lines: Vec<Line>,
}

/// One line: through points, or at a constant level.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) label: String,
    pub(super) points: Vec<Mark>,
    pub(super) shape: Shape,
}

/// How a line's points are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Marks connected by a line.
    Marked,
    /// A line without marks.
    Plain,
    /// One point, drawn as a level across the plot.
    Level,
}

/// A point and its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mark {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Plot {
    /// The elements inside the SVG, for a view of [`SIZE`].
    pub(super) fn draw(&self) -> Result<String, ExperimentError> {
        let mut svg = String::new();
        self.draw_into(&mut svg).map_err(|error| ExperimentError::Drawing {
            title: self.title.clone(),
            because: error.to_string(),
        })?;
        Ok(self.coloured(inner(&svg)))
    }

    /// The view box of the elements.
    pub(super) fn view_box() -> String {
        format!("0 0 {} {}", SIZE.0, SIZE.1)
    }

    fn draw_into(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let (x, y) = self.ranges();
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let text = TextStyle::from(FONT).color(&TEXT);
        let mut chart = ChartBuilder::on(&area)
            .margin(6)
            .margin_right(20)
            .x_label_area_size(44)
            .y_label_area_size(58)
            .build_cartesian_2d(x.clone(), y)?;
        chart
            .configure_mesh()
            .light_line_style(NONE)
            .bold_line_style(GRID)
            .axis_style(AXIS)
            .label_style(text.clone())
            .axis_desc_style(text)
            .x_labels(5)
            .y_labels(6)
            .x_desc(self.x)
            .x_label_formatter(&|&value| (self.x_shown)(value))
            .y_label_formatter(&|&value| (self.y_shown)(value))
            .draw()?;
        // The first line is drawn last, so that it lies above the others.
        for (number, line) in self.lines.iter().enumerate().rev() {
            let stroke = stroke(number);
            let path: Vec<(f64, f64)> = match (line.shape, line.points.first()) {
                (Shape::Level, Some(level)) => vec![(x.start, level.y), (x.end, level.y)],
                _ => line.points.iter().map(|mark| (mark.x, mark.y)).collect(),
            };
            chart.draw_series([PathElement::new(path, stroke.stroke_width(2))])?;
            if line.shape != Shape::Marked {
                continue;
            }
            let solid = solid(number);
            let spread = line.points.iter().filter(|mark| mark.low < mark.high);
            chart
                .draw_series(spread.map(|mark| {
                    PathElement::new(vec![(mark.x, mark.low), (mark.x, mark.high)], solid.stroke_width(2))
                }))?;
            let places = line.points.iter().map(|mark| (mark.x, mark.y));
            let filled: ShapeStyle = solid.filled();
            match number % 3 {
                0 => chart.draw_series(places.map(|place| Circle::new(place, 4, filled)))?,
                1 => chart.draw_series(places.map(|place| TriangleMarker::new(place, 6, filled)))?,
                _ => chart.draw_series(places.map(|place| Cross::new(place, 4, solid.stroke_width(2))))?,
            };
        }
        area.present()?;
        Ok(())
    }

    /// The ranges of the axes: all points with their intervals, and a margin.
    fn ranges(&self) -> (Range<f64>, Range<f64>) {
        let marks = || self.lines.iter().flat_map(|line| &line.points);
        let across = self.lines.iter().filter(|line| line.shape != Shape::Level);
        let x = across.flat_map(|line| &line.points).map(|mark| mark.x);
        let y = marks().flat_map(|mark| [mark.low, mark.y, mark.high]);
        (axis(x, self.x_from, 0.04), axis(y, self.y_from, 0.06))
    }

    /// Replaces the numbers of colours by the page's variables.
    fn coloured(&self, svg: &str) -> String {
        let mut svg = svg
            .replace(&quoted(TEXT), "\"var(--text)\"")
            .replace(&quoted(AXIS), "\"var(--axis)\"")
            .replace(&quoted(GRID), "\"var(--grid)\"")
            .replace(&quoted(NONE), "\"none\"");
        for number in 0..self.lines.len() {
            let colour = number % COLOURS + 1;
            let dashes = DASHES[number % DASHES.len()];
            svg = svg
                .replace(
                    &quoted(stroke(number)),
                    &format!("\"var(--line-{colour})\" stroke-dasharray=\"{dashes}\""),
                )
                .replace(&quoted(solid(number)), &format!("\"var(--line-{colour})\""));
        }
        svg
    }
}

/// The number that stands for a line's own stroke.
fn stroke(number: usize) -> RGBColor {
    RGBColor(10, 12, number as u8)
}

/// The number that stands for the strokes and filling of its marks.
fn solid(number: usize) -> RGBColor {
    RGBColor(10, 13, number as u8)
}

fn quoted(colour: RGBColor) -> String {
    format!("\"#{:02X}{:02X}{:02X}\"", colour.0, colour.1, colour.2)
}

/// The content of the outermost element.
fn inner(svg: &str) -> &str {
    let start = svg.find('>').map_or(0, |end| end + 1);
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    svg.get(start..end).unwrap_or_default()
}

/// The range of an axis: all values and `from`, with a margin. If `from` is 0 and no value is below, the axis starts at 0.
fn axis(values: impl Iterator<Item = f64>, from: Option<f64>, room: f64) -> Range<f64> {
    let range = spanned(values.chain(from));
    let all = roomy(&range, room);
    if from == Some(0.0) && range.start == 0.0 {
        return 0.0..all.end;
    }
    all
}

/// From the least to the greatest of the finite values.
fn spanned(values: impl Iterator<Item = f64>) -> Range<f64> {
    values
        .filter(|value| value.is_finite())
        .map(|value| value..value)
        .reduce(|all, value| all.start.min(value.start)..all.end.max(value.end))
        .unwrap_or(0.0..1.0)
}

/// The same with room on both sides, and never empty.
fn roomy(range: &Range<f64>, share: f64) -> Range<f64> {
    let width = range.end - range.start;
    let room = if width > 0.0 {
        width * share
    } else {
        (range.start.abs() * 0.1).max(1e-6)
    };
    range.start - room..range.end + room
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(lines: usize) -> Plot {
        let line = |number: usize| Line {
            label: format!("line {number}"),
            points: [0.25, 1.0]
                .map(|x| Mark {
                    x,
                    y: x + number as f64,
                    low: x,
                    high: x + 2.0,
                })
                .to_vec(),
            shape: [Shape::Marked, Shape::Plain, Shape::Level][number % 3],
        };
        Plot {
            title: "a".into(),
            x: "<proportion>",
            x_from: None,
            x_shown: |value| format!("<{value:.1}>"),
            y_shown: |value| format!("{value:.1}"),
            y_from: Some(0.0),
            lines: (0..lines).map(line).collect(),
        }
    }

    #[test]
    fn a_drawing_has_no_colours_of_its_own_and_only_escaped_text() {
        let svg = plot(8).draw().unwrap();
        assert!(!svg.contains('#'), "{svg}");
        for part in [
            "var(--line-1)",
            "var(--line-6)",
            "stroke-dasharray=\"7 4\"",
            "&lt;proportion&gt;",
            "&lt;0.",
        ] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        assert!(!svg.contains("<svg") && !svg.contains("</svg"));
    }

    #[test]
    fn drawings_of_nothing_of_one_point_and_of_equal_points_are_no_failure() {
        assert!(plot(0).draw().is_ok());
        for y in [0.0, -3.0, 1e18] {
            let mut single = plot(1);
            single.lines[0].points = vec![Mark {
                x: 1.0,
                y,
                low: y,
                high: y,
            }];
            assert!(single.draw().unwrap().contains("var(--line-1)"));
        }
    }
}
