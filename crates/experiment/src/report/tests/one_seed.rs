//! Reports of runs with one seed.

use super::*;

#[test]
fn the_accuracy_of_one_seed_has_its_interval_over_problems_wherever_intervals_are() {
    let runs = Runs::new();
    let mut equal = train("1.0", 0);
    equal["max_flops"] = json!(2e9);
    for (name, settings, seconds, correct) in [
        ("half", train("0.5", 0), 2.0, 3),
        ("whole", train("1.0", 0), 4.0, 5),
        ("equal", equal, 2.0, 4),
    ] {
        runs.run(name, &settings, seconds);
        runs.evaluation(name, correct);
    }
    let report = Report::new(&runs.read()).unwrap();
    // Wilson's, of 3 of 10.
    let of_half = "30.0 % (10.8 % to 60.3 %)";
    assert!(report.text.unwrap().contains(of_half));
    for caption in [
        "At each proportion, relative to whole sequences (",
        "Accuracy beside whole sequences at equal compute (",
    ] {
        let table = table(&report.page, caption);
        let said = "95 % intervals over seeds; of the accuracy of one seed, over problems)";
        assert!(table.contains(&format!("{caption}{said}")), "{table}");
        assert!(table.contains(of_half), "{table}");
    }
}
