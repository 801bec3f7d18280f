//! Reports of runs that were evaluated on different problems.

use super::*;

#[test]
fn accuracies_on_other_problems_are_shown_apart() {
    let runs = Runs(tempfile::tempdir().unwrap());
    for (seed, content) in [(0, "11111111aa"), (1, "11111111aa"), (2, "22222222bb")] {
        let name = format!("s{seed}");
        runs.run(&name, &train("0.5", seed), 2.0);
        runs.evaluation(&name, 3);
        let identity = json!({ "problems": { "count": 10, "content": content } });
        runs.write(&format!("{name}/evaluation/evaluation.json"), &identity);
    }
    let read = runs.read();
    let found: Vec<_> = series(&read)
        .into_iter()
        .map(|series| (series.label, series.runs.len()))
        .collect();
    assert_eq!(
        found,
        [
            ("distilled, evaluation.problems 10 (11111111)".to_owned(), 2),
            ("distilled, evaluation.problems 10 (22222222)".to_owned(), 1),
        ]
    );
}
