//! `leadspan plan`: its screen, its JSON, and that neither leaves anything behind.

use std::fs;

use serde_json::Value;

use crate::program::Workplace;

const PLAN: [&str; 3] = ["plan", "-c", "pipeline.toml"];

/// Times, speeds and free space are the machine's.
macro_rules! assert_screen {
    ($screen:expr, @$expected:literal) => {
        insta::with_settings!({ filters => vec![
            (r"(?m) +[0-9.]+ (s|min|h|d)$", " [time]"),
            (r"time       .*", "time       [time and speed]"),
            // Log-probabilities differ in their last bits from one class of device to the next.
            (r" +[0-9.]+ KiB", " [size]"),
            (r"[0-9.]+ a position, like", "[size] a position, like"),
            (r"as in (.*) in .*", "as in $1 in [times]"),
            (r"of [0-9.]+ [KMGT]iB that are free", "of [free] that are free"),
            (r"takes .*", "takes [time]"),
            (r"(memory +about )[0-9.]+ [KMG]iB", "$1[size]"),
        ] }, {
            insta::assert_snapshot!($screen, @$expected);
        });
    };
}

/// The screen of a plan, which must leave everything as it was.
fn screen(place: &Workplace, arguments: &[&str]) -> String {
    let before = place.contents();
    let screen = place.succeed(arguments);
    assert_eq!(place.contents(), before, "something was left behind");
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    screen
}

#[test]
fn a_plan_is_shown_before_anything_is_there() {
    let place = Workplace::new();
    let arguments = [PLAN.as_slice(), &["--wall-time", "1h"]].concat();
    assert_screen!(screen(&place, &arguments), @r"
    corpus     36 training and 4 validation samples of 40 rows
               4,262 tokens: 2.68 k prompt, 1.27 k chain of thought, 312 answer
               not prepared yet: all rows were read for this plan
    lengths    least 70, 10 % 72, 25 % 74, 50 % 97, 75 % 137, 90 % 150, most 170
                   60–79  ████████████████████████████████████████ 13
                   80–99  ██████████████████████ 7
                 100–119  ██████████████████████ 7
                 120–139  █████████████ 4
                 140–159  ██████████████████████ 7
                 160–179  ███████ 2

    A capture from nothing at each lead-span proportion (of training samples):

           tokens  prompt thought  answer  stored     fed   FLOPs       size    time
     0.1      824     654     138      32     784     784  52.3 M [size] [time]
     0.2   1.20 k  1.03 k     138      32  1.16 k  1.16 k  75.7 M [size] [time]
     0.3   1.58 k  1.42 k     138      32  1.54 k  1.54 k   100 M [size] [time]
     0.4   1.96 k  1.79 k     138      32  1.92 k  1.92 k   126 M [size] [time]
     0.5   2.36 k  2.19 k     138      32  2.32 k  2.32 k   154 M [size] [time]
     0.6   2.73 k  2.52 k     179      32  2.69 k  2.69 k   181 M [size] [time]
     0.7   3.11 k  2.67 k     408      32  3.07 k  3.07 k   210 M [size] [time]
     0.8   3.49 k  2.68 k     776      32  3.45 k  3.45 k   240 M [size] [time]
     0.9   3.87 k  2.68 k  1.15 k      34  3.83 k  3.83 k   271 M [size] [time]
    >1.0   4.26 k  2.68 k  1.27 k     312  4.22 k  4.22 k   305 M [size] [time]

    stored: positions; fed: tokens through the teacher; >: what is asked for

    left       proportion 1.0 of prompt+chain_of_thought+answer
               5 of 5 work units, 4,222 positions stored
               4,222 tokens through the teacher, 305 MFLOP
    memory     about [size], with all weights in memory
    bytes [size] of shards, [size] a position, like those of the calibration
               up to [size] of prepared corpus
    space [size] of [free] that are free where `cache` is
    time       [time and speed]
               as in 5 batches, 40 samples, 4,222 tokens in [times]
    wall time  1 h 00 min: 1 worker, the longest takes [time]
               --array=0-0, where each task runs
               leadspan precompute -c pipeline.toml --worker I/1
    ");
}

#[test]
fn a_plan_without_a_teacher_of_a_few_rows_says_so() {
    let place = Workplace::with_rows(100, 30);
    place.replace("pipeline.toml", "top_k = 8", "top_k = 8\nlead_span_proportion = 0.55");
    let arguments = [PLAN.as_slice(), &["--no-calibration", "--sample-rows", "50"]].concat();
    assert_screen!(screen(&place, &arguments), @r"
    corpus     about 96 training and 4 validation samples of 100 rows
               11,614 tokens: 7.37 k prompt, 3.47 k chain of thought, 774 answer
               not prepared yet: scaled up from 50 rows drawn out of 100
    lengths    least 72, 10 % 77, 25 % 85, 50 % 112, 75 % 144, 90 % 156, most 186
                   60–79  ████████████████████████ 14
                   80–99  █████████████████████████████████████ 22
                 100–119  ██████████████████████████████ 18
                 120–139  ███████████████████████████ 16
                 140–159  ████████████████████████████████████████ 24
                 160–179  ███████ 4
                 180–199  ████ 2

    A capture from nothing at each lead-span proportion (of training samples):

           tokens  prompt thought  answer  stored     fed   FLOPs       size    time
     0.1   1.48 k  1.34 k     104      30  1.38 k  1.38 k  85.7 M [size]       ?
     0.2   2.60 k  2.47 k     104      30  2.50 k  2.50 k   156 M [size]       ?
     0.3   3.72 k  3.58 k     104      30  3.62 k  3.62 k   228 M [size]       ?
     0.4   4.84 k  4.71 k     104      30  4.74 k  4.74 k   305 M [size]       ?
     0.5   5.98 k  5.83 k     120      30  5.88 k  5.88 k   386 M [size]       ?
    >0.55  6.52 k  6.34 k     148      30  6.42 k  6.42 k   426 M [size]       ?
     0.6   7.09 k  6.79 k     264      30  6.99 k  6.99 k   469 M [size]       ?
     0.7   8.21 k  7.29 k     886      30  8.11 k  8.11 k   556 M [size]       ?
     0.8   9.33 k  7.37 k  1.92 k      30  9.23 k  9.23 k   647 M [size]       ?
     0.9   10.4 k  7.37 k  3.04 k      30  10.3 k  10.3 k   741 M [size]       ?
     1.0   11.6 k  7.37 k  3.47 k     774  11.5 k  11.5 k   843 M [size]       ?

    stored: positions; fed: tokens through the teacher; >: what is asked for

    left       proportion 0.55 of prompt+chain_of_thought+answer
               11 of 11 work units, 6,422 positions stored
               6,422 tokens through the teacher, 426 MFLOP
    memory     about [size], with all weights in memory
    bytes [size] of shards, 21.1 a position, by the published figures
               up to [size] of prepared corpus
    space [size] of [free] that are free where `cache` is
    time       [time and speed]
    ");
}

#[test]
fn a_plan_of_the_rest_takes_off_what_is_there() {
    let place = Workplace::new();
    place.succeed(&["precompute", "-c", "pipeline.toml", "--worker", "0/2"]);
    let rest = screen(&place, &PLAN);
    assert!(rest.contains("2 of 5 work units"), "{rest}");
    assert!(rest.contains("like the shards that are there"), "{rest}");
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    let nothing = screen(&place, &PLAN);
    assert!(nothing.ends_with("           nothing: it is all there\n"));
}

#[test]
fn the_json_of_a_plan_is_what_precompute_then_does() {
    let place = Workplace::new();
    let arguments = [PLAN.as_slice(), &["--json", "--wall-time", "1h", "--proportion", "0.6"]].concat();
    let found: Value = serde_json::from_str(&screen_of_json(&place, &arguments)).unwrap();
    let plan = &found["plan"];
    assert_eq!(plan["basis"]["kind"], "read");
    assert_eq!(
        (&plan["asked"]["proportion"], &found["wall_seconds"]),
        (&"0.6".into(), &3600.into())
    );
    assert_eq!(found["division"]["workers"]["count"], 1);
    assert!(found["free_bytes"].as_u64().unwrap() > found["bytes"].as_u64().unwrap());
    assert_eq!(plan["layers"][0]["size"]["source"], "calibration");
    assert_eq!(plan["lengths"]["quantiles"].as_array().unwrap().len(), 7);
    for key in ["layer_flops_per_second", "position_seconds", "load_seconds", "seconds"] {
        assert!(plan["calibration"][key].as_f64().unwrap() > 0.0, "{key}");
    }
    let proportions = plan["proportions"].as_array().unwrap();
    assert_eq!(proportions.len(), 10);
    for row in proportions {
        for key in ["positions", "teacher_tokens", "teacher_flops", "shard_bytes", "seconds"] {
            assert!(row[key].as_f64().unwrap() > 0.0, "{key} of {row}");
        }
    }

    let precompute = ["--json", "precompute", "-c", "pipeline.toml", "--proportion", "0.6"];
    let done: Value = serde_json::from_str(&place.succeed(&precompute)).unwrap();
    let left = &plan["left"];
    for (planned, did) in [
        ("units", "units_written"),
        ("positions", "positions"),
        ("teacher_tokens", "tokens"),
    ] {
        assert_eq!(left[planned], done[did], "{planned}");
    }
    let (planned, written) = (left["shard_bytes"].as_f64().unwrap(), done["bytes"].as_f64().unwrap());
    assert!(
        (planned / written - 1.0).abs() < 0.15,
        "{planned} bytes planned, {written} written"
    );
}

fn screen_of_json(place: &Workplace, arguments: &[&str]) -> String {
    let before = place.contents();
    let found = place.succeed(arguments);
    assert_eq!(place.contents(), before, "something was left behind");
    found
}

#[test]
fn a_work_unit_that_takes_longer_than_the_wall_time_is_an_error_behind_the_plan() {
    let place = Workplace::with_rows(400, 2000);
    place.replace("pipeline.toml", "samples_per_shard = 10", "samples_per_shard = 1000");
    let arguments = [PLAN.as_slice(), &["--json", "--wall-time", "1s", "--calibration", "1s"]].concat();
    let output = place.run(&arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let takes = found["division"]["unit_too_long"]["seconds"].as_f64();
    match output.status.code() {
        Some(1) => {
            assert!(takes.unwrap() > 1.0);
            assert!(
                message.contains("error: no number of workers finishes within 1 s"),
                "{message}"
            );
            assert!(
                message.contains("hint: allow more time, or lower `cache.samples_per_shard`"),
                "{message}"
            );
        }
        code => {
            // A machine on which everything is done in a second.
            assert_eq!((code, takes), (Some(0), None), "{message}");
        }
    }
}

#[test]
fn a_scratch_folder_is_removed() {
    let place = Workplace::new();
    fs::create_dir(place.path("scratch")).unwrap();
    let output = place
        .command(&PLAN)
        .env("TMPDIR", place.path("scratch"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(fs::read_dir(place.path("scratch")).unwrap().count(), 0);
}
