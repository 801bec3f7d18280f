//! The view of a watched cache as lines of text.

use std::{fmt::Write as _, path::Path};

use leadspan_workers::WorkerState;

use super::{IgnoredView, View, WorkerView};
use crate::{
    amounts::{bytes, duration, grouped, rounded, short, spelt},
    heartbeat::SILENCE,
};

/// Lines beside the rows of the table: its head, the count of omitted workers, and the line of the cursor.
const AROUND: usize = 3;
/// The width of a bar, in characters.
const BAR: usize = 24;

const HEADS: [&str; 9] = [
    "worker",
    "host",
    "pid",
    "state",
    "work unit",
    "units",
    "samples",
    "tokens/s",
    "memory",
];

/// All lines. With the `size` of a screen, in lines and columns, only as many workers are shown as fit, those that need attention
/// first.
pub(super) fn lines(dir: &Path, view: Option<&View>, size: Option<(usize, usize)>) -> Vec<String> {
    let Some(view) = view else {
        return vec![format!("cache      {}: not prepared yet", dir.display())];
    };
    let mut lines = vec![format!("cache      {}", dir.display())];
    if view.layers.is_empty() {
        lines.push("layers     none yet".to_owned());
    }
    for layer in &view.layers {
        let filled = BAR * layer.units_committed / layer.units.max(1);
        lines.push(format!(
            "layer      {}{} {} of {} work units  {}",
            "█".repeat(filled),
            "░".repeat(BAR - filled),
            grouped(layer.units_committed as u64),
            grouped(layer.units as u64),
            layer.name
        ));
    }
    lines.push(pace(view));
    let stalled: Vec<&str> = view
        .workers
        .iter()
        .filter(|worker| worker.stalled)
        .map(|worker| worker.worker.as_str())
        .collect();
    if !stalled.is_empty() {
        lines.push(format!(
            "STALLED    no sign of life for over {}: {}",
            duration(SILENCE),
            listed(&stalled)
        ));
    }
    for IgnoredView { file, because } in &view.ignored {
        lines.push(format!("ignored    {}: {because}", file.display()));
    }
    if view.workers.is_empty() {
        lines.push("workers    none".to_owned());
        return lines;
    }
    lines.push(String::new());
    let room = size.map_or(usize::MAX, |(height, _)| height.saturating_sub(lines.len() + AROUND));
    lines.extend(table(&view.workers, room));
    lines
}

fn pace(view: &View) -> String {
    if view.complete {
        return "complete   nothing is left to do".to_owned();
    }
    let count = |what: fn(&WorkerView) -> bool| view.workers.iter().filter(|worker| what(worker)).count();
    let active = count(WorkerView::is_active);
    let loading = count(|worker| worker.state == WorkerState::Loading && !worker.stalled);
    let left = match view.seconds_left {
        Some(seconds) => format!("{} left", spelt(seconds)),
        None if active + loading == 0 => "no worker is active".to_owned(),
        None => "just begun".to_owned(),
    };
    let and_loading = match loading {
        0 => String::new(),
        loading => format!(", {loading} loading"),
    };
    let workers = if active == 1 { "worker" } else { "workers" };
    format!(
        "rate       {} tokens/s by {active} {workers}{and_loading}; {} tokens to go, {left}",
        rounded(view.tokens_per_second),
        short(view.tokens_left as f64)
    )
}

/// The head of the table, and a line for each of at most `room` workers.
fn table(workers: &[WorkerView], room: usize) -> Vec<String> {
    let mut shown: Vec<&WorkerView> = workers.iter().collect();
    let left_out = shown.len().saturating_sub(room);
    if left_out > 0 {
        // The sort is stable, so workers in the same state keep their order.
        shown.sort_by_key(|worker| (!worker.stalled, worker.state.has_ended()));
        shown.truncate(room);
    }
    let rows: Vec<([String; 9], String)> = shown.into_iter().map(row).collect();
    let mut widths = HEADS.map(|head| head.chars().count());
    for (cells, _) in &rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; 9], last: &str| {
        let mut text = String::new();
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            // Words are aligned to the left, numbers to the right.
            let _ = match index {
                0 | 1 | 3 | 4 => write!(text, "{cell:<width$}  "),
                _ => write!(text, "{cell:>width$}  "),
            };
        }
        text + last
    };
    let mut lines = vec![line(&HEADS.map(str::to_owned), "last sign")];
    lines.extend(rows.iter().map(|(cells, last)| line(cells, last)));
    if left_out > 0 {
        lines.push(format!("and {} more", grouped(left_out as u64)));
    }
    lines
}

/// The cells of a worker, and the age of its heartbeat.
fn row(worker: &WorkerView) -> ([String; 9], String) {
    let state = match worker.state {
        _ if worker.stalled => "STALLED".to_owned(),
        WorkerState::Capturing if worker.quiet_seconds > SILENCE.as_secs_f64() => {
            format!("no batch for {}", spelt(worker.quiet_seconds))
        }
        state => state.as_str().to_owned(),
    };
    let cells = [
        worker.worker.clone(),
        worker.host.clone(),
        worker.pid.to_string(),
        state,
        worker.unit.clone().unwrap_or_else(|| "–".to_owned()),
        format!("{}/{}", worker.units_done, worker.units),
        grouped(worker.samples),
        rounded(worker.tokens_per_second),
        bytes(worker.memory_bytes),
    ];
    (cells, format!("{} ago", spelt(worker.age_seconds)))
}

/// The first few names of a list.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    match names.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::cache::watch::LayerView;

    fn worker(name: &str, state: WorkerState, stalled: bool) -> WorkerView {
        WorkerView {
            worker: name.to_owned(),
            host: "node-7".to_owned(),
            pid: 4711,
            state,
            stalled,
            unit: Some("train-000012".to_owned()),
            units_done: 3,
            units: 11,
            samples: 1234,
            tokens: 99_000,
            tokens_per_second: 612.3,
            memory_bytes: 700 << 20,
            age_seconds: if stalled { 125.0 } else { 2.0 },
            quiet_seconds: 1.0,
        }
    }

    fn view(workers: Vec<WorkerView>) -> View {
        View {
            layers: vec![LayerView {
                name: "all-to-1".to_owned(),
                units: 22,
                units_committed: 11,
            }],
            workers,
            tokens_per_second: 1224.6,
            tokens_left: 120_000,
            seconds_left: Some(98.0),
            complete: false,
            ignored: Vec::new(),
        }
    }

    #[test]
    fn a_view_is_a_table_that_names_stalled_workers() {
        let view = view(vec![
            worker("0/2", WorkerState::Capturing, false),
            worker("1/2", WorkerState::Capturing, true),
        ]);
        insta::assert_snapshot!(lines(Path::new("cache"), Some(&view), None).join("\n"), @r"
        cache      cache
        layer      ████████████░░░░░░░░░░░░ 11 of 22 work units  all-to-1
        rate       1,225 tokens/s by 1 worker; 120 k tokens to go, 1 min 38 s left
        STALLED    no sign of life for over 1 min 00 s: 1/2

        worker  host     pid  state      work unit     units  samples  tokens/s     memory  last sign
        0/2     node-7  4711  capturing  train-000012   3/11    1,234       612  700.0 MiB  2 s ago
        1/2     node-7  4711  STALLED    train-000012   3/11    1,234       612  700.0 MiB  2 min 05 s ago
        ");
    }

    #[test]
    fn a_file_that_is_no_sign_of_life_is_named() {
        let mut view = view(Vec::new());
        view.ignored.push(IgnoredView {
            file: "cache/.workers/x.json".into(),
            because: "it is a named pipe, not a regular file".to_owned(),
        });
        let lines = lines(Path::new("cache"), Some(&view), None);
        let said = "ignored    cache/.workers/x.json: it is a named pipe, not a regular file";
        assert!(lines.contains(&said.to_owned()), "{lines:?}");
    }

    #[test]
    fn on_a_small_screen_workers_that_need_attention_come_first() {
        let mut workers: Vec<WorkerView> = (0..50)
            .map(|index| worker(&format!("{index}/50"), WorkerState::Done, false))
            .collect();
        workers[7] = worker("7/50", WorkerState::Capturing, false);
        workers[40] = worker("40/50", WorkerState::Capturing, true);
        let lines = lines(Path::new("cache"), Some(&view(workers)), Some((14, 80)));
        assert!(lines.len() < 14, "{}", lines.join("\n"));
        let at = |name: &str| lines.iter().position(|line| line.starts_with(name)).unwrap();
        assert!(at("40/50") < at("7/50") && at("7/50") < at("0/50"));
        assert_eq!(lines.last().unwrap(), "and 44 more");
    }
}
