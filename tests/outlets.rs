//! What surrounds the program: standard output and error that are dead, terminals that hang up, names that are no text, text that
//! would steer a terminal, and file systems without locks.

#![cfg(unix)]

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::ffi::OsStrExt as _,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::program::{Workplace, terminate, wait_until};

/// An outlet that takes nothing: a full disk.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// The program with outlets as a shell makes them.
fn in_shell(place: &Workplace, outlets: &str, arguments: &[&str]) -> Output {
    let program = place.command(arguments);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("exec \"$0\" \"$@\" {outlets}")])
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(place.path(""));
    shell.output().unwrap()
}

#[test]
fn dead_outlets_end_no_command_and_a_result_that_is_lost_is_no_success() {
    let place = Workplace::new();
    // Closed from the beginning: no file of the cache takes the place of an outlet.
    let closed = in_shell(&place, "<&- >&- 2>&-", &["precompute", "-c", "pipeline.toml"]);
    assert_eq!(closed.status.code(), Some(0));
    place.succeed(&["cache", "verify", "cache"]);

    // Neither the log nor the progress can be written, and a reader is gone.
    let train = |more: &[&str]| place.command(&[&["train", "-c", "pipeline.toml", "--progress", "bar"], more].concat());
    let ended = train(&["--set", "train.checkpoint_steps=1"])
        .stderr(full())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&ended.stdout).contains("trained: ") && place.path("run/model").is_dir());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut again = train(&["--set", "train.dir=again"]);
    let gone = again
        .stderr(writer.try_clone().unwrap())
        .stdout(writer)
        .status()
        .unwrap();
    assert_eq!(gone.code(), Some(0), "a reader that has gone away is no error");
    let weights = |dir: &str| fs::read(place.path(dir).join("model/model.safetensors")).unwrap();
    assert!(weights("again") == weights("run"));

    // A result that nobody got is no success, and help is a result.
    for arguments in [
        &["train", "-c", "pipeline.toml", "--json"][..],
        &["config"],
        &["--help"],
    ] {
        let output = place.command(arguments).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }
    // A limit on the size of files (512 bytes a block) is an error like a full disk, and kills nothing.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 8; exec \"$0\" config >\"$1\" 2>\"$2\""]);
    limited.arg(place.command(&[]).get_program());
    let limited = limited
        .args([place.path("reference"), place.path("log")])
        .status()
        .unwrap();
    assert_eq!(limited.code(), Some(1), "{limited}");
    let told = place
        .command(&["train", "-c", "pipeline.toml"])
        .stdout(full())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&told.stderr);
    assert!(
        message.contains("error: could not write to standard output"),
        "{message}"
    );
}

#[test]
fn a_terminal_that_hangs_up_stops_a_command_unless_it_ignores_that() {
    const HANG_UP: u64 = 1;
    const TERMINATE: u64 = 1 << 14;
    let place = Workplace::new();
    let watch = ["cache", "inspect", "not-there", "--watch"];
    let mask = |id: u32, name: &str| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        mask.map_or(0, |mask| u64::from_str_radix(mask, 16).unwrap())
    };
    let listens = |id: u32| wait_until("the program listens", || mask(id, "SigCgt:") & TERMINATE != 0);

    // Whoever runs the tests may ignore the signal, as under `nohup`, and children inherit that.
    let program = place.command(&watch);
    let mut heeding = Command::new("env");
    heeding
        .arg("--default-signal=HUP")
        .arg(program.get_program())
        .args(program.get_args());
    let mut child = heeding
        .current_dir(place.path(""))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    listens(child.id());
    let sent = Command::new("kill").args(["-HUP", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(75));

    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\" >/dev/null 2>&1"]);
    let mut child = shell
        .arg(program.get_program())
        .args(program.get_args())
        .spawn()
        .unwrap();
    listens(child.id());
    let (caught, ignored) = (mask(child.id(), "SigCgt:"), mask(child.id(), "SigIgn:"));
    assert_eq!((caught & HANG_UP, ignored & HANG_UP), (0, HANG_UP), "as `nohup` asks");
    assert_eq!(terminate(&mut child), Some(75));
}

/// A library that takes the locks away, as NFS does without its lock service.
fn without_locks(place: &Workplace) -> String {
    place.write(
        "no_locks.c",
        "#include <errno.h>\nint flock(int file, int how) { errno = ENOLCK; return -1; }\n",
    );
    let library = place.path("no_locks.so");
    let mut compile = Command::new("cc");
    compile
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(place.path("no_locks.c"));
    assert!(compile.status().unwrap().success());
    library.to_str().unwrap().to_owned()
}

#[test]
fn every_command_works_in_a_folder_whose_name_is_no_text_on_a_file_system_without_locks() {
    let place = Workplace::new();
    let library = without_locks(&place);
    let name = OsStr::from_bytes(b"caf\xe9");
    let folder = place.path("").join(name);
    fs::create_dir(&folder).unwrap();
    for file in ["teacher", "text.jsonl", "pipeline.toml"] {
        fs::rename(place.path(file), folder.join(file)).unwrap();
    }
    let pipeline = fs::read_to_string(folder.join("pipeline.toml")).unwrap();
    let more = "[evaluate]\nfiles = [\"text.jsonl\"]\nformat = \"columns\"\nproblems = 2\nmax_new_tokens = 2\n\
                [sweep]\ndir = \"runs\"\nseed = [0]\n";
    fs::write(folder.join("pipeline.toml"), pipeline + more).unwrap();
    let inside = |file: &str| folder.join(file).into_os_string();
    let (file, cache, run) = (inside("pipeline.toml"), inside("cache"), inside("run"));
    let (out, page) = (inside("out.parquet"), inside("report"));
    let words = |words: &'static [&'static str]| words.iter().map(OsStr::new);
    for arguments in [
        words(&["prepare", "-c"]).chain([&*file]).collect::<Vec<_>>(),
        words(&["plan", "--no-calibration", "-c"]).chain([&*file]).collect(),
        words(&["precompute", "-c"]).chain([&*file]).collect(),
        words(&["precompute", "--finalize", "-c"]).chain([&*file]).collect(),
        words(&["train", "-c"]).chain([&*file]).collect(),
        words(&["train", "-c"]).chain([&*file]).collect(),
        words(&["evaluate", "-c"]).chain([&*file]).collect(),
        words(&["sweep", "--dry-run", "-c"]).chain([&*file]).collect(),
        words(&["sweep", "-c"]).chain([&*file]).collect(),
        words(&["report"]).chain([&*run, OsStr::new("--out"), &*page]).collect(),
        words(&["cache", "inspect"]).chain([&*cache]).collect(),
        words(&["cache", "verify"]).chain([&*cache]).collect(),
        words(&["cache", "audit", "--positions", "4", "-c"])
            .chain([&*file])
            .collect(),
        words(&["cache", "export"])
            .chain([&*cache, OsStr::new("--out"), &*out])
            .collect(),
    ] {
        let output = place
            .command(&[])
            .args(&arguments)
            .arg("--json")
            .env("LD_PRELOAD", &library)
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {log}");
        for line in output
            .stdout
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let value: Value = serde_json::from_slice(line).unwrap();
            assert!(value.is_object(), "{arguments:?}");
        }
    }
    let claims = ["run", "run/evaluation", "runs/seed-0", "cache"].map(|dir| folder.join(dir).join(".claims"));
    assert!(claims.iter().all(|claims| !claims.exists()), "claims are left behind");
}

#[test]
fn names_that_would_steer_a_terminal_are_shown_escaped() {
    let place = Workplace::new();
    for arguments in [
        &["report", "runs\u{1b}[2J\u{202e}"][..],
        &["train", "-c", "pipeline.toml", "--set", "train.dir\u{1b}[2J=x"],
        &["fly\u{1b}[2J"],
        &["cache", "inspect", "no\u{9b}2J"],
    ] {
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!message.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{message:?}");
        assert!(message.contains("2J"), "{message:?}");
    }
}
