//! Copies of a run: one student, which counts once.

use super::*;

#[test]
fn a_copy_of_a_run_is_no_further_seed() {
    let runs = two_seeds();
    // The copy is in another folder, and was not evaluated.
    let mut copied = train("0.5", 0);
    copied["dir"] = json!("elsewhere");
    runs.run("a0", &copied, 2.0);
    let read = runs.read();
    assert_eq!(read.len(), 5);
    let all = &series(&read)[0];
    let names: Vec<_> = all.runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    let retained = relative(all, all, |run| Measure::Accuracy.of(run));
    assert!((retained[0].estimate.mean - 0.675).abs() < 1e-12);
    // As an evaluation records its problems.
    let of_problems = |content: &str| json!({ "problems": { "count": 10, "content": content } });
    for run in ["a", "b", "c", "d"] {
        runs.write(&format!("{run}/evaluation/evaluation.json"), &of_problems("12345678"));
    }
    let names = |read: &[Run]| -> Vec<String> {
        let all = series(read);
        let runs = all.iter().flat_map(|one| &one.runs);
        runs.map(|run| run.name.clone()).collect()
    };
    assert_eq!(names(&runs.read()), ["a", "b", "c", "d"]);
    // Answers to other problems are results of their own.
    runs.evaluation("a0", 3);
    runs.write("a0/evaluation/evaluation.json", &of_problems("87654321"));
    assert_eq!(names(&runs.read()).len(), 5);
}
