//! Reports of runs that are written by hand.

mod copies;
mod equal_compute;
mod one_seed;
mod policies;
mod problems;
mod unrecorded;

use std::{
    fs,
    path::{Path, PathBuf},
};

use leadspan_diagnosis::Diagnosis as _;
use serde_json::{Value, json};

use super::{
    Report,
    measure::{Measure, relative},
    series::series,
};
use crate::{ExperimentError, Kind, Run, read_runs};

/// A folder of runs.
struct Runs(tempfile::TempDir);

impl Runs {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: &Value) {
        self.write_text(name, &content.to_string());
    }

    fn write_text(&self, name: &str, content: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A finished run with these `train` settings that took `seconds`.
    fn run(&self, name: &str, train: &Value, seconds: f64) {
        self.write(&format!("{name}/run.json"), &json!({ "config": { "train": train } }));
        let held_out = json!({ "cross_entropy": 2.0, "forward_kl": 1.0 + seconds, "top_1_agreement": 0.5 });
        let summary = json!({ "steps": 3, "tokens": 30, "seconds": seconds, "held_out_after": held_out, "training_flops": 1e9 * seconds });
        self.write(&format!("{name}/summary.json"), &summary);
    }

    /// An evaluation on ten problems without the answers.
    fn evaluation(&self, run: &str, correct: u64) {
        let accuracy = correct as f64 / 10.0;
        // Wilson's interval.
        let square = 1.959_963_984_540_054_f64.powi(2);
        let half = (square * accuracy * (1.0 - accuracy) / 10.0 + square * square / 400.0).sqrt();
        let [low, high] = [-half, half].map(|half| (accuracy + square / 20.0 + half) / (1.0 + square / 10.0));
        let interval = [low.max(0.0), high];
        let summary = json!({
            "problems": 10, "correct": correct, "accuracy": accuracy, "accuracy_interval": interval, "held_out": null,
        });
        self.write(&format!("{run}/evaluation/summary.json"), &summary);
    }

    /// An evaluation on one problem with this wrong answer.
    fn wrong_answer(&self, run: &str, answer: &Value) {
        let summary = json!({ "problems": 1, "correct": 0, "accuracy": 0.0, "held_out": null });
        self.write(&format!("{run}/evaluation/summary.json"), &summary);
        self.write_text(&format!("{run}/evaluation/answers.jsonl"), &format!("{answer}\n"));
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn read(&self) -> Vec<Run> {
        read_runs(&[self.path().to_owned()]).unwrap()
    }

    fn page(&self) -> String {
        Report::new(&self.read()).unwrap().page
    }
}

/// The first table of a page whose caption has these words.
fn table<'a>(page: &'a str, caption: &str) -> &'a str {
    let from = page.find(caption).unwrap();
    &page[from..from + page[from..].find("</table>").unwrap()]
}

/// The cells of the terminal's table, with each label on one line again.
fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in text.lines() {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        let cells: Vec<String> = cells.map(str::to_owned).collect();
        match rows.last_mut() {
            Some(row) if line.starts_with("  ") => row[0] = [&row[0], &cells[0]].map(String::as_str).join(" "),
            _ => rows.push(cells),
        }
    }
    rows
}

fn train(proportion: &str, seed: u64) -> Value {
    json!({ "lead_span_proportion": proportion, "seed": seed, "distillation_weight": 0.5, "supervised_sections": ["prompt", "answer"] })
}

/// Two seeds at two proportions: 0.3 of 0.4 and 0.3 of 0.5 are retained.
fn two_seeds() -> Runs {
    let runs = Runs::new();
    for (name, proportion, seed, correct) in [
        ("a", "0.5", 0, 3),
        ("b", "0.5", 1, 3),
        ("c", "1.0", 0, 4),
        ("d", "1.0", 1, 5),
    ] {
        runs.run(
            name,
            &train(proportion, seed),
            if proportion == "0.5" { 2.0 } else { 4.0 },
        );
        runs.evaluation(name, correct);
    }
    runs
}

#[test]
fn what_is_retained_is_the_ratio_of_runs_with_the_same_seed() {
    let runs = two_seeds().read();
    let series = series(&runs);
    assert_eq!(series.len(), 1);
    let retained = relative(&series[0], &series[0], |run| Measure::Accuracy.of(run));
    // ¾ and ⅗: their mean is 0.675, and half their distance times 12.7062 is 0.952965. No ratio is negative.
    let (low, high) = retained[0].estimate.interval.unwrap();
    assert!((retained[0].estimate.mean - 0.675).abs() < 1e-12);
    assert!(low == 0.0 && (high - (0.675 + 0.952_965)).abs() < 1e-6);
    assert_eq!(
        (retained[1].estimate.mean, retained[1].estimate.interval),
        (1.0, Some((1.0, 1.0)))
    );
    let headline = Report::new(&runs).unwrap().headline;
    assert_eq!(
        headline,
        "Trained on the first 50 % of every sequence, the student keeps 67.5 % (0.0 % to 162.8 %) of the accuracy that whole \
         sequences give, at 50.0 % of the operations."
    );
}

#[test]
fn a_ratio_to_nothing_is_none() {
    let runs = two_seeds();
    for whole in ["c", "d"] {
        runs.evaluation(whole, 0);
    }
    let read = runs.read();
    let all = &series(&read)[0];
    assert_eq!(relative(all, all, |run| Measure::Accuracy.of(run)), []);
    assert!(
        runs.page()
            .contains("no seed has a positive accuracy on whole sequences")
    );
}

#[test]
fn a_terminal_shows_one_line_for_each_proportion_of_each_series() {
    let runs = two_seeds();
    let mut untrained = train("1.0", 0);
    untrained["max_flops"] = json!(0.0);
    runs.run("before", &untrained, 0.0);
    runs.evaluation("before", 1);
    runs.write("going-on/run.json", &json!({ "config": { "train": train("0.75", 0) } }));
    let text = Report::new(&runs.read()).unwrap().text.unwrap();
    assert_eq!(
        text,
        "\
runs       proportion                  accuracy  retained  training  time  memory  seeds
distilled         0.5  30.0 % (1.0 % to 94.5 %)    67.5 %   2 GFLOP   2 s       –      2
distilled         1.0  45.0 % (2.3 % to 96.6 %)   100.0 %   4 GFLOP   4 s       –      2
untrained           –  10.0 % (1.8 % to 40.4 %)    25.0 %    0 FLOP   0 s       –      1"
    );
}

#[test]
fn runs_without_an_evaluation_are_compared_by_what_was_held_out() {
    let runs = Runs::new();
    runs.run("half", &train("0.5", 0), 2.0);
    runs.run("whole", &train("1.0", 0), 4.0);
    let report = Report::new(&runs.read()).unwrap();
    assert!(
        report
            .headline
            .contains("ends at a held-out forward KL of 3.000, against 5.000 on whole sequences, at 50.0 %"),
        "{}",
        report.headline
    );
    assert!(report.page.contains("No run was evaluated on problems."));
    assert!(
        report
            .page
            .contains("There is no run of plain supervised training to compare with.")
    );
}

#[test]
fn runs_are_told_apart_by_what_they_were_for_and_by_what_else_differs() {
    let runs = two_seeds();
    let mut other = train("1.0", 0);
    other["learning_rate"] = json!(1e-3);
    runs.run("slow", &other, 1.0);
    let mut supervised = train("1.0", 0);
    supervised["distillation_weight"] = json!(0.0);
    runs.run("text", &supervised, 1.0);
    for (name, max_flops) in [("before", 0.0), ("equal", 5e8), ("equal-more", 6e8)] {
        let mut stopped = train("1.0", 0);
        stopped["max_flops"] = json!(max_flops);
        runs.run(name, &stopped, 1.0);
    }
    let mut faster = train("1.0", 0);
    faster["learning_rate"] = json!(2e-3);
    runs.run("fast", &faster, 1.0);
    let runs = runs.read();
    let found: Vec<_> = series(&runs)
        .iter()
        .map(|series| (series.kind, series.label.clone(), series.runs.len()))
        .collect();
    let expected = [
        (Kind::Distilled, "distilled, learning rate not recorded", 4),
        (Kind::Distilled, "distilled, learning rate 0.001", 1),
        (Kind::Distilled, "distilled, learning rate 0.002", 1),
        (Kind::Supervised, "supervised only", 1),
        (Kind::EqualCompute, "equal compute", 2),
        (Kind::Untrained, "untrained", 1),
    ];
    assert_eq!(
        found,
        expected.map(|(kind, label, runs)| (kind, label.to_owned(), runs))
    );
}

#[test]
fn whatever_comes_from_files_is_text_on_the_page() {
    let runs = two_seeds();
    runs.run("<i>odd</i> & \"so\"".replace('/', "").as_str(), &train("1.0", 2), 4.0);
    let answer = json!({
        "id": "<b>1", "correct": false, "expected": "<u>", "found": "</code>", "question": "a < b & c?", "text": "<script>alert(1)</script>",
    });
    runs.wrong_answer("a", &answer);
    let page = runs.page();
    for text in ["<i>", "<b>1", "<script", "</code></code>", "a < b"] {
        assert!(!page.contains(text), "{text}");
    }
    for text in [
        "&lt;i&gt;odd",
        "&lt;b&gt;1",
        "&lt;script&gt;alert(1)",
        "a &lt; b &amp; c?",
        "a: 1 of 1 answers are wrong",
        "b: the answers to 10 problems are not on record",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn answers_without_a_verdict_are_counted_wherever_right_ones_are() {
    let runs = two_seeds();
    let summary = json!({ "accuracy": 0.25, "problems": 4, "correct": 1, "ungraded": 1, "held_out": null });
    runs.write("a/evaluation/summary.json", &summary);
    let answer = |correct: bool, ungraded: Option<&str>| {
        let mut answer =
            json!({ "id": "p", "correct": correct, "expected": "1", "found": null, "question": "q", "text": "t" });
        if let Some(because) = ungraded {
            answer["ungraded"] = json!(because);
        }
        format!("{answer}\n")
    };
    let answers = [
        answer(true, None),
        answer(false, Some("a matrix")),
        answer(false, None),
        answer(false, None),
    ];
    runs.write_text("a/evaluation/answers.jsonl", &answers.concat());
    let report = Report::new(&runs.read()).unwrap();
    for text in [
        "a: 2 of 4 answers are wrong, 1 ungraded<",
        "<dt>Ungraded</dt><dd><code>a matrix</code></dd>",
        "25.0 % of 4, 1 ungraded<",
    ] {
        assert!(report.page.contains(text), "{text}");
    }
    let rows: Vec<&str> = report.table.lines().collect();
    assert!(
        rows[0].ends_with(",accuracy_high,ungraded,lead_span,positions_learnt,position_weights,equal_compute_for")
            && rows[1].ends_with(",4,0.25,,,1,,all,flat,"),
        "{rows:?}"
    );
    let text = report.text.unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].ends_with("seeds  ungraded") && lines[1].ends_with("2         1"),
        "{text}"
    );
    assert!(!two_seeds().page().contains("ungraded"));
}

#[test]
fn nothing_on_the_page_steers_a_terminal() {
    let runs = two_seeds();
    runs.run("odd\u{1b}[2J\u{202e}", &train("1.0", 2), 4.0);
    let answer = json!({
        "id": "\u{9b}31m", "correct": false, "expected": "\r", "found": "\u{7}", "question": "a\r\nb", "text": "\u{1b}]0;t",
    });
    runs.wrong_answer("a", &answer);
    let page = runs.page();
    let raw: Vec<char> = page.chars().filter(|&letter| leadspan_files::steers(letter)).collect();
    assert!(raw.is_empty(), "{raw:?}");
    for text in [
        "odd\\x1b[2J\\u{202e}",
        "\\x9b31m",
        "<code>\\x07</code>",
        "a\nb",
        "\\x1b]0;t",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn unfinished_runs_are_listed_as_such() {
    let runs = Runs::new();
    runs.write("begun/run.json", &json!({ "config": { "train": train("0.5", 0) } }));
    let step = json!({ "event": "step", "step": 7, "steps": 20, "loss": 1.5 });
    // The last line is being written.
    runs.write_text("begun/metrics.jsonl", &format!("{step}\n{{\"event\": \"st"));
    let page = runs.page();
    assert!(page.contains("unfinished: 7 of 20 steps"), "{page}");
    assert!(page.contains("No finished distilled run has an evaluation"));
    assert!(page.contains("No training is finished."));
    let table = Report::new(&runs.read()).unwrap().table;
    assert!(
        table.ends_with("begun,distilled,unfinished,0.5,prompt+answer,0,,7,,,,,,,,,,,,,,,,,,,all,flat,\r\n"),
        "{table}"
    );
}

#[test]
fn a_folder_that_is_no_run_and_a_file_that_is_damaged_are_errors_with_their_names() {
    let runs = Runs::new();
    let read = |path: &Path| read_runs(&[PathBuf::from(path)]).unwrap_err();
    assert!(matches!(
        read(&runs.path().join("nowhere")),
        ExperimentError::NotFound { .. }
    ));
    assert!(matches!(read(runs.path()), ExperimentError::NotARun { .. }));
    runs.run("half", &train("0.5", 0), 2.0);
    runs.write_text("half/metrics.jsonl", "{\"event\": \"other\"}\n{\"event\": \"step\"}\n");
    let error = read(&runs.path().join("half"));
    assert!(
        matches!(&error, ExperimentError::Damaged { line: Some(2), .. }),
        "{error}"
    );
    runs.write_text("half/summary.json", "{}");
    let error = read(runs.path());
    assert!(
        error.to_string().ends_with("half/summary.json` cannot be parsed"),
        "{error}"
    );
    assert!(!error.is_unexpected() && error.hint().is_some());
}

#[test]
fn a_folder_named_twice_is_one_run_and_two_of_the_same_name_are_shown_with_their_folders() {
    let runs = Runs::new();
    runs.run("one/half", &train("0.5", 0), 2.0);
    runs.run("two/half", &train("0.5", 0), 2.0);
    let [one, two] = ["one", "two"].map(|name| runs.path().join(name));
    let found = read_runs(&[one.clone(), one.join("half"), two]).unwrap();
    let names: Vec<_> = found.iter().map(|run| run.name.clone()).collect();
    assert_eq!(
        names,
        ["one", "two"].map(|name| runs.path().join(name).join("half").display().to_string())
    );
}

#[test]
fn a_report_is_written_into_a_new_folder_and_over_an_old_one() {
    let runs = two_seeds();
    let out = runs.path().join("deep/report");
    let report = Report::new(&runs.read()).unwrap();
    for _ in 0..2 {
        report.write(&out).unwrap();
    }
    assert_eq!(fs::read_to_string(out.join(Report::PAGE)).unwrap(), report.page);
    assert_eq!(fs::read_to_string(out.join(Report::TABLE)).unwrap(), report.table);
}
