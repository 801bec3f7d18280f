//! Progress of a long job: a bar on a terminal, occasional log lines elsewhere.

use std::{
    io::{self, IsTerminal as _},
    sync::Mutex,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle};

use crate::{
    amounts::{bytes, duration, grouped, rounded},
    arguments::ProgressStyle,
    holding, visible,
};

/// The shortest time between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// The longest time without a line while work goes on.
const SILENCE: Duration = Duration::from_mins(1);

/// A rate over less time is not meaningful.
const TOO_SOON: Duration = Duration::from_secs(1);

/// How often what is on the terminal moves.
const TICK: Duration = Duration::from_millis(500);

/// The bar on the terminal. Log lines are written while it is off the screen.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Runs `write` while the bar, if any, is off the screen.
pub(crate) fn standing_aside<T>(write: impl FnOnce() -> T) -> T {
    let bar = BAR.lock().ok().and_then(|bar| bar.clone());
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Takes the bar off the screen before the process ends early.
pub(crate) fn remove() {
    if let Some(bar) = BAR.lock().ok().and_then(|mut bar| bar.take()) {
        bar.finish_and_clear();
    }
}

/// The unit of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Bytes,
    Positions,
    Problems,
    Runs,
    Samples,
    Shards,
    Steps,
    Tokens,
}

impl Counted {
    fn noun(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Positions => "positions",
            Self::Problems => "problems",
            Self::Runs => "runs",
            Self::Samples => "samples",
            Self::Shards => "shards",
            Self::Steps => "steps",
            Self::Tokens => "tokens",
        }
    }

    fn rate(self, per_second: f64) -> String {
        match self {
            Self::Bytes => format!("{}/s", bytes(per_second.round() as u64)),
            _ => format!("{} {}/s", rounded(per_second), self.noun()),
        }
    }
}

/// Shows the progress that this process makes with one job.
pub(crate) struct ProgressMeter {
    total: u64,
    /// The amount that was done before this process began.
    before: u64,
    counted: Counted,
    started: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl ProgressMeter {
    /// Begins a job of size `total`.
    pub(crate) fn new(style: ProgressStyle, counted: Counted, total: u64) -> Self {
        let bar = style
            .is_bar()
            .then(|| shown_bar(Some(total), "{bar:16} {percent:>3} % {spinner} {wide_msg}"));
        let started = Instant::now();
        Self {
            total,
            before: 0,
            counted,
            started,
            last_line: started,
            bar,
        }
    }

    /// Notes that an earlier process did `done` of the total.
    pub(crate) fn begin_at(&mut self, done: u64) {
        self.before = done;
    }

    /// Reduces the total by `by`.
    pub(crate) fn lower_total(&mut self, by: u64) {
        self.total = self.total.saturating_sub(by);
        if let Some(bar) = &self.bar {
            bar.set_length(self.total);
        }
    }

    /// Notes that `done` of the total is done. At a `milestone`, lines are written more often.
    pub(crate) fn advance(&mut self, done: u64, milestone: bool, detail: impl FnOnce() -> String) {
        if self.bar.is_some() || self.line_is_due(done, milestone) {
            self.say(done, detail);
        }
        holding::reached(self.counted.noun());
    }

    /// Notes that `done` of the total is done, and writes a line if there is no bar.
    pub(crate) fn advance_by_a_unit(&mut self, done: u64, detail: impl FnOnce() -> String) {
        self.say(done, detail);
        holding::reached(self.counted.noun());
    }

    fn say(&mut self, done: u64, detail: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            say_beside(bar, &format!("{}  {}", self.pace(done), detail()));
        } else {
            self.last_line = Instant::now();
            let share = if self.total == 0 {
                100.0
            } else {
                100.0 * done as f64 / self.total as f64
            };
            let (done_text, total, noun) = (grouped(done), grouped(self.total), self.counted.noun());
            tracing::info!(
                "{share:.1} % ({done_text} of {total} {noun}), {}; {}",
                self.pace(done),
                detail()
            );
        }
    }

    fn line_is_due(&self, done: u64, milestone: bool) -> bool {
        let quiet = self.last_line.elapsed();
        if milestone {
            quiet >= LINE_INTERVAL || done >= self.total
        } else {
            quiet >= SILENCE
        }
    }

    fn pace(&self, done: u64) -> String {
        pace(
            self.counted,
            done.saturating_sub(self.before),
            self.total.saturating_sub(done),
            self.started.elapsed(),
        )
    }
}

impl Drop for ProgressMeter {
    fn drop(&mut self) {
        clear(self.bar.as_ref());
    }
}

/// Shows that work of unknown length goes on, and for how long already: on a terminal alone, since a log line says that it began.
pub(crate) struct Working {
    bar: Option<ProgressBar>,
}

impl Working {
    /// Begins with what is done, in words.
    pub(crate) fn new(style: ProgressStyle, doing: &str) -> Self {
        let bar = style
            .is_bar()
            .then(|| shown_bar(None, "{spinner} {elapsed}  {wide_msg}"));
        if let Some(bar) = &bar {
            say_beside(bar, doing);
        }
        Self { bar }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        clear(self.bar.as_ref());
    }
}

impl ProgressStyle {
    /// Whether progress is shown as a bar.
    pub(crate) fn is_bar(self) -> bool {
        match self {
            Self::Auto => io::stderr().is_terminal(),
            Self::Bar => true,
            Self::Lines => false,
        }
    }
}

/// Puts a bar on the terminal. Part of it moves by itself, so that slow work does not look stuck.
fn shown_bar(total: Option<u64>, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(5));
    bar.set_style(BarStyle::with_template(template).expect("the template is well formed"));
    bar.enable_steady_tick(TICK);
    if let Ok(mut shared) = BAR.lock() {
        *shared = Some(bar.clone());
    }
    bar
}

fn say_beside(bar: &ProgressBar, message: &str) {
    bar.set_message(visible::escaped(message).into_owned());
}

/// Takes a bar off the terminal.
fn clear(bar: Option<&ProgressBar>) {
    if let Ok(mut shared) = BAR.lock() {
        *shared = None;
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

/// The rate and the time left.
fn pace(counted: Counted, done: u64, left: u64, elapsed: Duration) -> String {
    if done == 0 || elapsed.is_zero() || (left > 0 && elapsed < TOO_SOON) {
        return "just begun".to_owned();
    }
    let per_second = done as f64 / elapsed.as_secs_f64();
    match left {
        0 => format!("{} for {}", counted.rate(per_second), duration(elapsed)),
        left => {
            let left = Duration::try_from_secs_f64(left as f64 / per_second).unwrap_or(Duration::MAX);
            format!("{}, {} left", counted.rate(per_second), duration(left))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_shows_the_rate_and_the_time_left() {
        let after = |seconds| Duration::from_secs(seconds);
        assert_eq!(pace(Counted::Tokens, 100, 300, after(10)), "10.0 tokens/s, 30 s left");
        assert_eq!(pace(Counted::Bytes, 4096, 0, after(1)), "4.0 KiB/s for 1 s");
        assert_eq!(pace(Counted::Steps, 0, 300, after(10)), "just begun");
    }
}
