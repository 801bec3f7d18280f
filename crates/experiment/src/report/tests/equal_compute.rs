//! Runs of equal compute beside the runs whose operations limit them.

use super::*;

/// The rows of the terminal's table of equal compute: label and seeds.
fn labels(text: &str) -> Vec<(String, String)> {
    let equal = rows(text).into_iter().filter(|cells| cells[0].starts_with("equal"));
    equal
        .map(|cells| (cells[0].clone(), cells[cells.len() - 1].clone()))
        .collect()
}

fn text(runs: &Runs) -> String {
    Report::new(&runs.read()).unwrap().text.unwrap()
}

fn limited(seed: u64, max_flops: f64) -> Value {
    let mut whole = train("1.0", seed);
    whole["max_flops"] = json!(max_flops);
    whole
}

/// Three choices of positions of one half at three seeds, whose operations are close. So the runs of equal compute end at one step
/// and are three students, one for each seed.
fn close() -> Runs {
    let runs = Runs::new();
    for seed in 0..3 {
        for (name, share, seconds) in [("a", None, 16.30), ("b", Some(0.9), 16.20), ("c", Some(0.8), 16.11)] {
            let mut half = train("0.5", seed);
            if let Some(share) = share {
                half["positions"] = json!({ "teacher_entropy": share });
            }
            runs.run(&format!("{name}{seed}"), &half, seconds);
            runs.run(
                &format!("e{name}{seed}"),
                &limited(seed, 1e9 * seconds),
                17.0 + seed as f64,
            );
        }
    }
    runs
}

#[test]
fn one_student_for_several_policies_is_one_seed_of_each() {
    let runs = close();
    let report = Report::new(&runs.read()).unwrap();
    let text = report.text.unwrap();
    let expected = [
        "equal compute, for lead span 0.5",
        "equal compute, for lead span 0.5, positions teacher entropy 0.8",
        "equal compute, for lead span 0.5, positions teacher entropy 0.9",
    ];
    assert_eq!(
        labels(&text),
        expected.map(|label| (label.to_owned(), "3".to_owned())),
        "{text}"
    );
    // 18, 19 and 20 nats: the mean of three seeds, and 4.30265 · 1 / √3 = 2.484. Nine made it 0.628.
    assert_eq!(text.matches("19.000 (16.516 to 21.484)").count(), 3, "{text}");
    // The page has them in the table of compute, that of losses and that of every run, and the file in a column.
    let compute = &report.page[report.page.find("against operations of training").unwrap()..];
    let compute = &compute[..compute.find("</table>").unwrap()];
    for label in expected {
        assert!(compute.contains(label), "{compute}");
    }
    assert_eq!(compute.matches("19.000 (16.516 to 21.484)").count(), 3, "{compute}");
    let row = |name: &str| {
        let mut rows = report.table.lines();
        rows.find(|row| row.starts_with(&format!("{name},")))
            .unwrap()
            .to_owned()
    };
    assert!(
        row("eb1").ends_with(",\"lead span 0.5, positions teacher entropy 0.9\""),
        "{}",
        row("eb1")
    );
    assert!(row("b1").ends_with(','));
    let every = &report.page[report.page.find("Every run").unwrap()..];
    assert!(every.contains("equal compute, for lead span 0.5, positions teacher entropy 0.9"));
}

#[test]
fn the_seeds_of_a_case_are_one_row_however_far_their_operations_are_apart() {
    let runs = Runs::new();
    for (seed, seconds) in [(0, 2.0), (1, 2.052), (2, 2.2)] {
        let mut mixed = train("0.5", seed);
        mixed["lead_span"] = json!({ "mixture": [["0.33", 0.75], ["1.0", 0.25]] });
        runs.run(&format!("m{seed}"), &mixed, seconds);
        runs.run(&format!("e{seed}"), &limited(seed, 1e9 * seconds), 3.0);
    }
    assert_eq!(
        labels(&text(&runs)),
        [(
            "equal compute, for lead span mixture [0.33, 0.75] [1.0, 0.25]".to_owned(),
            "3".to_owned()
        )]
    );
}

#[test]
fn a_run_that_is_for_two_cases_is_in_the_group_of_each() {
    let runs = Runs::new();
    for seed in 0..2 {
        runs.run(&format!("half{seed}"), &train("0.5", seed), 2.0);
        let mut column = train("0.5", seed);
        column["lead_span"] = json!({ "column": "keep" });
        runs.run(&format!("column{seed}"), &column, 2.0);
        // Whole sequences with the same operations are no case.
        let mut weighted = train("1.0", seed);
        weighted["micro_batch_tokens"] = json!(7);
        runs.run(&format!("whole{seed}"), &weighted, 2.0);
        for name in ["e", "again"] {
            let mut whole = limited(seed, 2e9);
            whole["dir"] = json!(name);
            runs.run(&format!("{name}{seed}"), &whole, 2.0);
        }
    }
    let expected = [
        "equal compute, for lead span column keep",
        "equal compute, for lead span 0.5",
    ];
    assert_eq!(
        labels(&text(&runs)),
        expected.map(|label| (label.to_owned(), "2".to_owned()))
    );
}

#[test]
fn without_the_runs_that_limit_them_no_seed_counts_twice() {
    let runs = close();
    for name in ["a", "b", "c"] {
        for seed in 0..3 {
            fs::remove_dir_all(runs.path().join(format!("{name}{seed}"))).unwrap();
        }
    }
    // Runs with exactly one limit are of one case.
    let three = vec![("equal compute".to_owned(), "3".to_owned()); 3];
    assert_eq!(labels(&text(&runs)), three);
    // Limits that differ a little by seed are also of one case, if each seed has one.
    let drawn = Runs::new();
    for (seed, max_flops) in [(0, 2e9), (1, 2.02e9)] {
        drawn.run(&format!("e{seed}"), &limited(seed, max_flops), 2.0);
    }
    assert_eq!(labels(&text(&drawn)), [("equal compute".to_owned(), "2".to_owned())]);
    // Of two cases, which run belongs to which other one is not known.
    for (seed, max_flops) in [(0, 2.01e9), (1, 2.03e9)] {
        drawn.run(&format!("f{seed}"), &limited(seed, max_flops), 2.0);
    }
    let alone = Report::new(&drawn.read()).unwrap().text.unwrap();
    assert_eq!(
        alone.lines().filter(|line| line.starts_with("equal")).count(),
        4,
        "{alone}"
    );
}

#[test]
fn a_run_that_ended_before_its_limit_is_compared_with_none_and_named() {
    for (seconds, is_compared) in [(2.0, true), (1.97, true), (1.9, false)] {
        let runs = Runs::new();
        runs.run("half", &train("0.5", 0), 2.0);
        runs.run("whole", &limited(0, 2e9), seconds);
        let page = runs.page();
        assert_eq!(page.contains("beside whole sequences at equal compute"), is_compared);
        let told =
            "ended before the operations at which they should stop, so they are compared with no other run: whole.";
        assert_eq!(page.contains(told), !is_compared, "{seconds}");
    }
}

#[test]
fn whole_sequences_that_took_more_operations_are_shown_with_both_numbers() {
    let same = "At the same number of operations, accuracy is 40.0 % (16.8 % to 68.7 %) after whole sequences for fewer steps, and \
                30.0 % (10.8 % to 60.3 %) after the first 50 % of every sequence.";
    let other = "With 2.3 GFLOP, accuracy is 40.0 % (16.8 % to 68.7 %) after whole sequences for fewer steps, and with 2 GFLOP it \
                 is 30.0 % (10.8 % to 60.3 %) after the first 50 % of every sequence: whole sequences took more operations,";
    for (seconds, said, taken) in [(2.0, same, "2"), (2.03, same, "2.03"), (2.3, other, "2.3")] {
        let runs = Runs::new();
        for (name, settings, seconds, correct) in [
            ("half", train("0.5", 0), 2.0, 3),
            ("whole", train("1.0", 0), 4.0, 5),
            ("equal", limited(0, 2e9), seconds, 4),
        ] {
            runs.run(name, &settings, seconds);
            runs.evaluation(name, correct);
        }
        let report = Report::new(&runs.read()).unwrap();
        assert!(report.headline.contains(said), "{seconds}: {}", report.headline);
        let table = table(&report.page, "beside whole sequences at equal compute");
        for cell in ["<td>2 GFLOP</td>".to_owned(), format!("<td>{taken} GFLOP</td>")] {
            assert!(table.contains(&cell), "{seconds}: {table}");
        }
    }
}

#[test]
fn a_setting_without_effect_tells_no_runs_apart() {
    let runs = Runs::new();
    // One student: the proportion has no effect beside a lead span.
    for (name, proportion) in [("one", "0.5"), ("two", "1.0")] {
        let mut growing = train(proportion, 0);
        growing["lead_span"] = json!({ "growing": ["0.1", "0.5"] });
        runs.run(name, &growing, 2.0);
    }
    for (name, epochs, steps) in [("c", 1, None), ("d", 2, Some(7)), ("e", 3, Some(7))] {
        let mut long = train("0.5", 1);
        long["lead_span"] = json!({ "growing": ["0.1", "0.5"] });
        (long["epochs"], long["steps"]) = (json!(epochs), json!(steps));
        runs.run(name, &long, 2.0);
    }
    let read = runs.read();
    let found: Vec<_> = series(&read)
        .into_iter()
        .map(|series| (series.label, series.runs.len()))
        .collect();
    let expected = [
        ("distilled, epochs not recorded", 1),
        ("distilled, epochs 1", 1),
        ("distilled, steps 7", 1),
    ];
    assert_eq!(found, expected.map(|(label, runs)| (label.to_owned(), runs)));
}
