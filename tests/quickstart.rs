//! The quickstart, as far as a test has time for it: `tests/readme.sh` runs all of it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Output, Stdio},
};

use crate::{
    program::{Workplace, terminate},
    small_disk::SmallDisk,
};

/// Starts a quickstart, stops it when it has begun the step, and returns what it said until then.
fn stopped_at(place: &Workplace, arguments: &[&str], step: &str) -> String {
    stopped_with_log(place, arguments, step).0
}

/// The same with its log.
fn stopped_with_log(place: &Workplace, arguments: &[&str], step: &str) -> (String, String) {
    let mut child = place
        .command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
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
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    (said, log)
}

/// The error message of a quickstart that refuses to begin.
fn refusal(output: Output) -> String {
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty(), "{said}");
    said
}

#[test]
fn a_quickstart_goes_on_where_it_was_stopped() {
    let place = Workplace::new();
    let (said, log) = stopped_with_log(&place, &["quickstart"], "3/8");
    // There is no terminal, so the steps log what they do.
    for part in [
        "{\"leadspan\":\"prepare\",\"outcome\":\"done\"",
        " running the teacher `leadspan-quickstart/teacher` for 2 s once it is loaded\n",
    ] {
        assert!(log.contains(part), "{log}");
    }
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
    let (said, log) = stopped_with_log(&place, &["quickstart", "--fresh", "--progress", "bar"], "2/8");
    assert!(said.contains("`leadspan-quickstart/cache` prepared: "), "{said}");
    assert!(!log.contains("{\"leadspan\":"), "{log}");
    // Nobody else's files are touched.
    assert_eq!(
        fs::read_to_string(place.path("leadspan-quickstart/mine.txt")).unwrap(),
        "a note"
    );
}

#[test]
fn a_step_that_fails_ends_the_quickstart_with_its_exit_code() {
    let place = Workplace::new();
    stopped_at(&place, &["quickstart"], "1/8");
    // A file where the cache is to be.
    if place.path("leadspan-quickstart/cache").is_dir() {
        fs::remove_dir_all(place.path("leadspan-quickstart/cache")).unwrap();
    }
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

#[test]
fn what_the_quickstart_did_not_make_is_refused_and_stays() {
    let place = Workplace::new();
    place.write_in("leadspan-quickstart", "pipeline.toml", "mine");
    place.write_in("leadspan-quickstart/cache", "notes.txt", "mine, too");
    let before = place.contents();
    for arguments in [&["quickstart"][..], &["quickstart", "--fresh"]] {
        assert_eq!(
            refusal(place.run(arguments)),
            "error: the quickstart did not make the folder `leadspan-quickstart`, which has \
             `leadspan-quickstart/cache/notes.txt`\n\
             hint: run the command in another folder, or move `leadspan-quickstart` away\n"
        );
    }
    assert!(place.contents() == before);
    fs::remove_dir_all(place.path("leadspan-quickstart")).unwrap();
    place.write("leadspan-quickstart", "");
    assert_eq!(
        refusal(place.run(&["quickstart"])),
        "error: `leadspan-quickstart` is a file, and the quickstart needs a folder of this name\n\
         hint: run the command in another folder, or move `leadspan-quickstart` away\n"
    );
}

#[test]
fn a_disk_that_is_only_read_or_too_small_is_named_with_a_way_out() {
    let place = Workplace::new();
    let at = place.path("disk");
    let Some(disk) = SmallDisk::mount(&at, 1024) else {
        return;
    };
    let run = || place.command(&["quickstart"]).current_dir(&at).output().unwrap();
    let said = refusal(run());
    assert!(
        said.contains("No space left on device")
            && said.ends_with(
                "hint: free some space, or run the command in another folder: a quickstart takes some 40.0 MiB\n"
            ),
        "{said}"
    );
    // There is room for the models and their problems.
    disk.remount("size=8m");
    let output = run();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = said.lines().next_back().unwrap();
    assert!(
        last.starts_with("hint: its message is above; only ") && last.ends_with(" or run it in another folder"),
        "{said}"
    );
    disk.remount("ro");
    fs::remove_file(at.join("leadspan-quickstart/pipeline.toml")).unwrap_err();
    let output = place
        .command(&["quickstart", "--fresh"])
        .current_dir(&at)
        .output()
        .unwrap();
    assert!(refusal(output).ends_with("\nhint: run the command in a folder in which you may write\n"),);
}
