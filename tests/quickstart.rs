//! The quickstart, as far as a test has time for it: `tests/readme.sh` runs all of it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use crate::program::{Workplace, terminate};

/// Starts a quickstart, stops it when it has begun the step, and returns what it said until then.
fn stopped_at(place: &Workplace, arguments: &[&str], step: &str) -> String {
    let mut child = place
        .command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said = Vec::new();
    while said.last().is_none_or(|line: &String| !line.starts_with(step)) {
        let Some(line) = lines.next() else { break };
        said.push(line);
    }
    let code = terminate(&mut child);
    said.extend(lines);
    let said = said.join("\n");
    assert_eq!(code, Some(75), "{said}");
    said
}

#[test]
fn a_quickstart_goes_on_where_it_was_stopped() {
    let place = Workplace::new();
    let said = stopped_at(&place, &["quickstart"], "3/8");
    let step = "  tokenize the worked problems, and find prompt, chain of thought and answer\n     \
                $ leadspan prepare -c leadspan-quickstart/pipeline.toml\n`leadspan-quickstart/cache` prepared: 2,000 training";
    assert!(said.starts_with(&format!("1/8{step}")), "{said}");
    assert!(!place.path("leadspan-quickstart/runs").exists());
    let said = stopped_at(&place, &["quickstart"], "4/8");
    assert!(
        said.contains("`leadspan-quickstart/cache` was prepared already: "),
        "{said}"
    );
    // The step that was stopped is done now, to its end.
    place.succeed(&["cache", "verify", "leadspan-quickstart/cache"]);
    let again = place.succeed(&["precompute", "-c", "leadspan-quickstart/pipeline.toml", "--json"]);
    assert!(again.contains("\"units_written\":0"), "{again}");
}

#[test]
fn a_family_that_was_changed_is_refused_and_fresh_starts_over() {
    let place = Workplace::new();
    stopped_at(&place, &["quickstart"], "1/8");
    place.write("leadspan-quickstart/mine.txt", "a note");
    place.replace("leadspan-quickstart/pipeline.toml", "top_k = 32", "top_k = 16");
    let refused = place.run(&["quickstart"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(refused.stderr).unwrap(),
        "error: `leadspan-quickstart/pipeline.toml` differs from the built-in file\n\
         hint: `--fresh` starts over; to try changes, copy the folder, and run in the copy the commands that the \
         quickstart shows\n"
    );
    let said = stopped_at(&place, &["quickstart", "--fresh"], "2/8");
    assert!(said.contains("`leadspan-quickstart/cache` prepared: "), "{said}");
    // Nobody else's files are touched.
    assert_eq!(
        fs::read_to_string(place.path("leadspan-quickstart/mine.txt")).unwrap(),
        "a note"
    );
}

#[test]
fn a_step_that_fails_ends_the_quickstart_with_its_exit_code() {
    let place = Workplace::new();
    fs::create_dir_all(place.path("leadspan-quickstart")).unwrap();
    // A file where the cache is to be.
    place.write("leadspan-quickstart/cache", "");
    let failed = place.run(&["quickstart"]);
    let said = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(
        said.contains(
            "\nerror: `leadspan prepare -c leadspan-quickstart/pipeline.toml` failed\nhint: its message is above"
        ),
        "{said}"
    );
}
