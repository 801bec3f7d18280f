#!/usr/bin/env python3
"""Attacks the program with files of a stranger, and checks that it neither hangs nor reaches beyond the run's folder.

    LEADSPAN=target/release/leadspan python3 tests/attack.py [-v]

Makes a small teacher's cache, a run, an evaluation and a sweep's table. Then every file that a command reads is replaced in
turn by a named pipe, a link to an endless device, a link to a file outside, a folder, and an empty file; every folder of the
cache and of the run by a link to a folder outside; and every name of a file inside a JSON file by one that leads out of its folder. After each replacement every command that reads the file runs
under limits of time and memory. It must end with exit code 0 or 1, must name the file if it fails, and must neither change
nor quote what lies outside of the folders that it was given. That is checked by listing the whole workplace before and
after: names, types, sizes, times, inodes and contents. Needs Linux and Python's standard library.
"""

import concurrent.futures
import hashlib
import itertools
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = pathlib.Path(os.environ.get("LEADSPAN", ROOT / "target/release/leadspan")).resolve()
SECRET = b"the-secret-that-nobody-may-copy"
SECONDS = 60  # A hang; a command takes a tenth of a second.
MEMORY = 8 << 30  # Address space. Threads reserve much of it, an endless file takes all of it.
FILE_BYTES = 64 << 20  # No file of an attack is larger.

PIPELINE = """\
[teacher]
model = "teacher"

[data]
files = ["text.jsonl"]
format = "columns"
validation = 4
seed = 7

[cache]
dir = "cache"
top_k = 8
samples_per_shard = 10

[replay]
files = ["replay.jsonl"]
format = "columns"
share = 0.2

[student]
model = "student"

[train]
dir = "run"
epochs = 1
learning_rate = 1e-3
checkpoint_steps = 2

[evaluate]
files = ["text.jsonl"]
format = "columns"
max_new_tokens = 2
problems = 2
"""

CONFIGURED = ["-c", "pipeline.toml"]
PRECOMPUTE = ["precompute", *CONFIGURED]
TRAIN = ["train", *CONFIGURED]
TRAIN_ANEW = ["train", *CONFIGURED, "--set", "train.dir=run2"]
EVALUATE = ["evaluate", *CONFIGURED]
PLAN = ["plan", *CONFIGURED, "--set", "cache.dir=cache2"]
REPORT = ["report", "run", "--out", "report"]
OF_CACHE = [
    ["cache", "inspect", "cache"],
    ["cache", "inspect", "cache", "--sample", "made-up-0"],
    ["cache", "verify", "cache"],
    ["cache", "export", "cache", "--out", "exported.parquet"],
    PRECOMPUTE,
    TRAIN_ANEW,
]
OF_RUN = [TRAIN, EVALUATE, REPORT]
IMPORT = ["cache", "import", "--tokenizer", "teacher", "--out"]
OF_EXPORT = [[*IMPORT, "imported", "exported"]]
OF_CAPTURE = [[*IMPORT, "imported", "captured"]]

# How messages may name a file beside its name.
NAMED = {"chat_template.jinja": "chat template"}

# What each command may change.
MAY_CHANGE = {
    "precompute": ["cache", "cache2"],
    "train": ["run", "run2"],
    "evaluate": ["run", "evaluation"],
    "report": ["report"],
    "plan": [],
    "cache": ["exported.parquet", "cache/.workers", "imported"],
}


def readers(path):
    """The commands that read a file of the workplace."""
    top = path.parts[0]
    if top == "cache":
        return OF_CACHE
    if top == "run":
        return OF_RUN
    if top == "exported":
        return OF_EXPORT
    if top == "captured":
        return OF_CAPTURE
    if top == "teacher":
        return [PLAN, PRECOMPUTE]
    if top == "student":
        return [TRAIN_ANEW]
    if top == "text.jsonl":
        return [PLAN, EVALUATE, PRECOMPUTE]
    return [PRECOMPUTE, TRAIN_ANEW]


def run(place, arguments):
    """Runs the program in `place/work` under limits of time and memory."""

    def limits():
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LD_LIBRARY_PATH")}
    home = place / "home"
    environment = kept | {"HOME": str(home), "TMPDIR": str(place / "tmp"), "RAYON_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    return subprocess.run(
        [PROGRAM, *arguments],
        cwd=place / "work",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        preexec_fn=limits,
    )


def listing(place):
    """Every entry below a folder with all that can change of it. Links and pipes are not opened."""
    entries = {}
    for folder, folders, files in os.walk(place):
        for name in folders + files:
            path = pathlib.Path(folder, name)
            status = path.lstat()
            content = None
            if path.is_symlink():
                content = os.readlink(path)
            elif path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            times = None if path.is_dir() else (status.st_mtime_ns, status.st_ctime_ns, status.st_size)
            entries[path.relative_to(place)] = (status.st_mode, status.st_ino, times, content)
    return entries


def differences(before, after, allowed):
    """The entries that differ although no folder in `allowed` has them."""
    changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    allowed = [pathlib.Path("work", name) for name in allowed]
    return sorted(str(path) for path in changed if not any(path.is_relative_to(name) for name in allowed))


def make_whole(place):
    """A workplace in which everything was done once."""
    fixtures = ROOT / "tests/fixtures"
    work = place / "work"
    for folder in ("work", "home/.ssh", "tmp", "outside"):
        (place / folder).mkdir(parents=True)
    for model in ("teacher", "student"):
        shutil.copytree(fixtures / "tiny-teacher", work / model)
    shutil.copy(fixtures / "tiny-teacher-text.jsonl", work / "text.jsonl")
    shutil.copy(fixtures / "tiny-teacher-text.jsonl", work / "replay.jsonl")
    (work / "pipeline.toml").write_text(PIPELINE)
    (place / "home/.ssh/authorized_keys").write_bytes(SECRET)
    (place / "outside/secret").write_bytes(SECRET)
    export = ["cache", "export", "cache", "--format"]
    exports = [[*export, "dataset", "--out", "exported"], [*export, "distillkit", "--out", "captured"]]
    for arguments in (PRECOMPUTE, TRAIN, EVALUATE, *exports):
        done = run(place, arguments)
        assert done.returncode == 0, (arguments, done.stderr.decode())


def replace(path, kind, outside):
    """Replaces a file by something else."""
    path.unlink()
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "link outside":
            path.symlink_to(outside)
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()


def renamed(document, names, to):
    """Copies of a JSON document in each of which one name of a file, as a key or as a value, is another."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key in names:
                yield {(to if other == key else other): kept for other, kept in document.items()}
            for changed in renamed(value, names, to):
                yield document | {key: changed}
    elif isinstance(document, list):
        for index, value in enumerate(document):
            for changed in renamed(value, names, to):
                yield document[:index] + [changed] + document[index + 1 :]
    elif document in names:
        yield to


def attacks(whole):
    """Every attack: its name, the file, and what is done to the file of a workplace."""
    work = whole / "work"
    files = sorted(path.relative_to(work) for path in work.rglob("*") if path.is_file() and not path.is_symlink())
    for path in files:
        for kind in ("pipe", "device", "link outside", "folder", "empty"):
            yield f"{path}: {kind}", path, lambda place, path=path, kind=kind: replace(
                place / "work" / path, kind, place / "outside/secret"
            )
        if path.suffix != ".json" or path.name in ("tokenizer.json",):
            continue
        siblings = {name.name for name in (work / path).parent.rglob("*")} | {"tokenizer.json"}
        document = json.loads((work / path).read_text())
        for to in ("../../outside/secret", "../../home/.ssh/authorized_keys", "/dev/zero"):
            for number, changed in enumerate(renamed(document, siblings, to)):
                yield f"{path}: name {number} is {to}", path, lambda place, path=path, changed=changed: (
                    place / "work" / path
                ).write_text(json.dumps(changed, indent=2))
    for path in sorted(path.relative_to(work) for path in work.rglob("*") if path.is_dir()):
        if path.parts[0] in ("cache", "run") and len(path.parts) > 1:
            yield f"{path}: folder outside", path, lambda place, path=path: move_outside(place, path)


def move_outside(place, folder):
    """Moves a folder outside and leaves a link. Of layers a work unit is missing, so that there is something to write."""
    path, moved = place / "work" / folder, place / "outside/moved"
    for file in path.rglob("train-000000.*"):
        file.unlink()
    path.rename(moved)
    path.symlink_to(moved)


def attack(whole, name, path, change):
    """Faults of the program under one attack."""
    faults = []
    for arguments in readers(path):
        with tempfile.TemporaryDirectory(dir=whole.parent) as folder:
            place = pathlib.Path(folder, "place")
            shutil.copytree(whole, place)
            change(place)
            before = listing(place)
            label = f"{name}: {' '.join(arguments)}"
            try:
                done = run(place, arguments)
            except subprocess.TimeoutExpired:
                faults.append(f"{label}: hangs")
                continue
            said = done.stdout + done.stderr
            text = said.decode(errors="replace")
            if done.returncode not in (0, 1):
                faults.append(f"{label}: exit code {done.returncode}\n{text[-1500:]}")
            elif done.returncode == 1 and not any(said in text for said in (path.name, path.parent.name, NAMED.get(path.name, path.name))):
                faults.append(f"{label}: the message does not name the file\n{text[-1500:]}")
            if SECRET in said:
                faults.append(f"{label}: the output has the secret\n{text[-1500:]}")
            if done.returncode == 1 and (place / "work/imported").exists():
                faults.append(f"{label}: a refused import left a cache")
            after = listing(place)
            if differ := differences(before, after, MAY_CHANGE[arguments[0]]):
                faults.append(f"{label}: changed {', '.join(differ)}")
            for entry, (_, _, _, content) in after.items():
                file = place / entry
                if before.get(entry, (None,) * 4)[3] != content and file.is_file() and not file.is_symlink():
                    if SECRET in file.read_bytes():
                        faults.append(f"{label}: `{entry}` has the secret")
    return faults


def main():
    verbose = "-v" in sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="leadspan-attack-") as folder:
        whole = pathlib.Path(folder, "whole")
        make_whole(whole)
        tried, commands, faults = 0, 0, []
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
            listed = list(attacks(whole))
            commands = sum(len(readers(path)) for _, path, _ in listed)
            results = threads.map(attack, itertools.repeat(whole), *zip(*listed))
            for (name, _, _), found in zip(listed, results):
                tried += 1
                faults += found
                if verbose:
                    print(f"{name}: {'FAULT' if found else 'ok'}", flush=True)
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    print(f"{tried} attacks, {commands} commands, {len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
