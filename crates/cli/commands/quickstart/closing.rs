//! What the students of the quickstart show, in words. It is about these students alone, so no report says it.

use leadspan_experiment::Run;

/// Says how half of every sequence, whole sequences for as many operations and the mixture compare, and why half keeps little here;
/// `None` if a run of these is not among `runs`, or if half is not behind.
pub(super) fn closing(runs: &[Run]) -> Option<String> {
    let run = |name: &str| runs.iter().find(|run| run.name == name);
    let share_right = |name| Some(run(name)?.evaluation.as_ref()?.accuracy);
    let accuracy = |name| Some(format!("{:.1} %", 100.0 * share_right(name)?));
    if share_right("equal_compute-proportion-0.5")? <= share_right("proportion-0.5")? {
        return None;
    }
    let operations = |name| run(name)?.summary()?.training_flops;
    let share = operations("mixture")? / operations("proportion-1.0")?;
    Some(format!(
        "At as many operations, whole sequences (`equal_compute-proportion-0.5`: {}) are the better bargain here than half of every \
         sequence (`proportion-0.5`: {}); a mixture of whole and short samples (`mixture`) reaches {} with {:.0} % of the operations \
         of whole sequences.\n\
         Half keeps little because this student of 0.62 million weights was taught no hard step in the second half of a sequence, \
         and most of its mistakes are there. The paper's models, more than a thousand times as large, keep 91 % at half.",
        accuracy("equal_compute-proportion-0.5")?,
        accuracy("proportion-0.5")?,
        accuracy("mixture")?,
        100.0 * share,
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use leadspan_experiment::read_runs;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_closing_has_the_numbers_of_these_runs_and_there_is_none_without_one_of_them() {
        let folder = tempfile::tempdir().unwrap();
        for (name, correct, flops) in [
            ("proportion-0.5", 6_u32, 2e12),
            ("proportion-1.0", 9, 4e12),
            ("equal_compute-proportion-0.5", 8, 2e12),
            ("mixture", 7, 1e12),
        ] {
            assert!(closing(&read_runs(&[folder.path().to_owned()]).unwrap_or_default()).is_none());
            let write = |file: &str, content: serde_json::Value| {
                let path = folder.path().join(name).join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content.to_string()).unwrap();
            };
            write("run.json", json!({ "config": { "train": {} } }));
            write(
                "summary.json",
                json!({ "steps": 1, "tokens": 1, "seconds": 1.0, "training_flops": flops }),
            );
            write(
                "evaluation/summary.json",
                json!({ "problems": 10, "correct": correct, "accuracy": f64::from(correct) / 10.0 }),
            );
        }
        let said = closing(&read_runs(&[folder.path().to_owned()]).unwrap()).unwrap();
        for part in [
            "(`equal_compute-proportion-0.5`: 80.0 %)",
            "(`proportion-0.5`: 60.0 %)",
            "(`mixture`) reaches 70.0 % with 25 % of the operations",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
}
