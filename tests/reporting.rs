//! `leadspan report` on runs that the real program trained.

use std::fs;

use serde_json::Value;

use crate::program::Workplace;

#[test]
fn trained_runs_become_a_page_and_a_table() {
    let place = Workplace::new();
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    for (dir, proportion) in [("runs/half", "0.5"), ("runs/whole", "1.0")] {
        let [dir, proportion] = [
            format!("train.dir={dir}"),
            format!("train.lead_span_proportion={proportion}"),
        ];
        place.succeed(&["train", "-c", "pipeline.toml", "--set", &dir, "--set", &proportion]);
    }
    let said = place.succeed(&["report", "runs"]);
    assert!(said.starts_with("runs       proportion  held-out forward KL"), "{said}");
    assert!(
        said.contains("\nTrained on the first 50 % of every sequence, the student ends at a held-out forward KL of "),
        "{said}"
    );
    assert!(said.contains("`report/index.html`: 2 runs\n"), "{said}");
    let table = fs::read_to_string(place.path("report/runs.csv")).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert!(
        rows.len() == 3 && rows[1].starts_with("half,distilled,finished,0.5,prompt+chain_of_thought+answer,0,"),
        "{table}"
    );
    let page = fs::read_to_string(place.path("report/index.html")).unwrap();
    assert!(page.contains("var(--line-1)") && !page.contains("<script"));
    // The same runs by name, elsewhere, for a script: the same page.
    let out = place.succeed(&["report", "runs/whole", "runs/half", "--out", "elsewhere", "--json"]);
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&out["page"], &out["runs"], &out["unfinished"]),
        (&"elsewhere/index.html".into(), &2.into(), &0.into())
    );
    assert_eq!(fs::read_to_string(place.path("elsewhere/index.html")).unwrap(), page);
}
