//! Reports of runs with supervision policies.

use super::*;

#[test]
fn policies_are_named_and_compared_over_seeds_at_equal_compute() {
    let runs = two_seeds();
    for (seed, correct) in [(0, 3), (1, 5)] {
        let mut mixed = train("0.5", seed);
        mixed["lead_span"] = json!({ "mixture": [["0.33", 0.75], ["1.0", 0.25]] });
        runs.run(&format!("m{seed}"), &mixed, 2.0 + 0.01 * seed as f64);
        runs.evaluation(&format!("m{seed}"), correct);
        let mut falling = train("1.0", seed);
        falling["position_weights"] = json!("falling");
        runs.run(&format!("f{seed}"), &falling, 4.0);
        runs.evaluation(&format!("f{seed}"), correct);
        // Stopped at the operations of the mixture with the same seed, which are not those of the other seed.
        let mut whole = train("1.0", seed);
        whole["max_flops"] = json!(1e9 * (2.0 + 0.01 * seed as f64));
        runs.run(&format!("e{seed}"), &whole, 2.0);
        runs.evaluation(&format!("e{seed}"), correct);
    }
    let read = runs.read();
    let labels: Vec<String> = series(&read).into_iter().map(|series| series.label).collect();
    // The plain runs come first, although “falling” comes before “flat”.
    assert_eq!(
        labels,
        [
            "distilled",
            "distilled, position weights falling",
            "distilled, lead span mixture [0.33, 0.75] [1.0, 0.25]",
            "equal compute",
        ]
    );
    let text = Report::new(&read).unwrap().text.unwrap();
    let line = |start: &str| {
        let found = rows(&text).into_iter().filter(|cells| cells[0].starts_with(start));
        let found: Vec<Vec<String>> = found.collect();
        assert_eq!(found.len(), 1, "{start}: {text}");
        found[0].clone()
    };
    // Means over two seeds with their intervals: s²/n = 0.01, e = 20, t²/e = 8.07238: (4.43619 ± √(1.93737 + 16.29083)) / 9.07238.
    assert_eq!(
        line("distilled, lead span mixture")[1..3],
        ["mixture", "40.0 % (1.8 % to 96.0 %)"]
    );
    // The plain half took the operations of one of the seeds, too.
    assert_eq!(
        line("equal compute, for lead span mixture")[1..3],
        ["1.0", "40.0 % (1.8 % to 96.0 %)"]
    );
    assert_eq!(
        line("equal compute, for lead span 0.5")[1..3],
        ["1.0", "30.0 % (10.8 % to 60.3 %)"]
    );
    let page = runs.page();
    assert!(page.contains("they are compared by their operations below"));
}

#[test]
fn each_policy_stands_beside_whole_sequences_of_as_many_operations() {
    let runs = two_seeds();
    for (seed, correct, of_whole) in [(0, 3, 2), (1, 5, 5)] {
        for (name, weights, correct) in [("flat", "flat", correct), ("rising", "rising", 1)] {
            let mut mixed = train("0.5", seed);
            mixed["lead_span"] = json!({ "mixture": [["0.33", 0.75], ["1.0", 0.25]] });
            mixed["position_weights"] = json!(weights);
            runs.run(&format!("{name}{seed}"), &mixed, 2.0);
            runs.evaluation(&format!("{name}{seed}"), correct);
        }
        let mut whole = train("1.0", seed);
        whole["max_flops"] = json!(2e9);
        runs.run(&format!("e{seed}"), &whole, 2.0);
        runs.evaluation(&format!("e{seed}"), of_whole);
    }
    let report = Report::new(&runs.read()).unwrap();
    // Of the plain half: its accuracies are 0.3 and 0.3, those of whole sequences 0.2 and 0.5.
    assert!(
        report.headline.contains(
            "At the same number of operations, accuracy is 35.0 % (0.7 % to 97.5 %) after whole sequences for fewer steps, and 30.0 % \
             (1.0 % to 94.5 %) after the first 50 % of every sequence."
        ),
        "{}",
        report.headline
    );
    let text = report.text.unwrap();
    // ¾ and 1 of the same seeds on whole sequences: policies are retained, too.
    let mixed: Vec<&str> = text.lines().filter(|line| line.contains("mixture [")).collect();
    assert!(mixed[0].contains(" 87.5 % "), "{text}");
    let table = table(&report.page, "beside whole sequences at equal compute");
    // 0.3 − 0.2 and 0.5 − 0.5: 5 points ± 12.7062 · 5. The plain half of two_seeds() took as many operations, too.
    assert!(table.contains("+5.0 points (-58.5 points to +68.5 points)"), "{table}");
    // No run with rising weights was stopped at these operations.
    assert_eq!(table.matches("mixture [").count(), 2, "{table}");
    assert!(!table.contains("rising"), "{table}");
}

#[test]
fn runs_of_several_proportions_come_before_shorter_ones_on_whole_sequences() {
    let runs = Runs::new();
    for (name, proportion, epochs, correct) in [("a", "1.0", 1, 3), ("b", "0.5", 3, 4), ("c", "1.0", 3, 5)] {
        let mut trained = train(proportion, 0);
        trained["epochs"] = json!(epochs);
        runs.run(name, &trained, 4.0);
        runs.evaluation(name, correct);
    }
    let report = Report::new(&runs.read()).unwrap();
    // Not 3 of 10, which the runs of one epoch reach.
    assert!(
        report.headline.contains("keeps 80.0 % of the accuracy"),
        "{}",
        report.headline
    );
    assert!(
        report.headline.contains("about the runs “distilled, epochs 3”"),
        "{}",
        report.headline
    );
}
