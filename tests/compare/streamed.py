#!/usr/bin/env python3
"""Captures random teachers that are streamed, and compares memory, time and bytes with what was predicted or is resident.

    tests/compare/streamed.py FOLDER [--rounds N] [--samples N]
    tests/compare/streamed.py FOLDER --large [--memory "3 GiB"]

The first captures a teacher of SmolLM2-135M's shape in memory and streamed with `teacher.memory = "64 MiB"`, in turn, compares
the caches, and kills and resumes a streamed capture. `--large` captures 8 samples of 1,000 tokens with a teacher of
Qwen3-8B's shape (16 GB are written to FOLDER), and plans that first. Memory is the anonymous memory of the process, sampled
four times a second: the page cache does not count.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import random_teacher  # noqa: E402

PROGRAM = pathlib.Path(os.environ.get("LEADSPAN", random_teacher.ROOT / "target/release/leadspan"))


def write_rows(folder, samples, steps):
    with open(folder / "rows.jsonl", "w") as rows:
        for sample in range(samples):
            thought = "".join(f"{step} + {sample} = {step + sample}. " for step in range(steps))
            row = {"id": f"s-{sample}", "question": "How many?", "chain_of_thought": thought, "answer": str(sample)}
            rows.write(json.dumps(row) + "\n")


def write_pipeline(folder, name, cache, teacher):
    text = f"""[teacher]
model = "teacher"
{teacher}
[data]
files = ["rows.jsonl"]
format = "columns"
[cache]
dir = "{name}"
{cache}
"""
    path = folder / f"{name}.toml"
    path.write_text(text)
    shutil.rmtree(folder / name, ignore_errors=True)
    return path


def plan(pipeline, *arguments):
    result = subprocess.run([PROGRAM, "plan", "--json", "-c", pipeline, *arguments], check=True, stdout=subprocess.PIPE)
    return json.loads(result.stdout)["plan"]


def rows_of(folder, samples, tokens):
    """Rows of about this many tokens each."""
    steps = 100.0
    for _ in range(3):
        write_rows(folder, samples, int(steps))
        steps *= tokens / plan(write_pipeline(folder, "lengths", "", ""), "--no-calibration")["lengths"]["mean"]
    write_rows(folder, samples, int(steps))


def anonymous(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


def capture(pipeline, kill_after=None):
    """Seconds, processor seconds and peak of the anonymous memory of a capture; `None` if it was killed."""
    began = time.monotonic()
    process = subprocess.Popen([PROGRAM, "precompute", "-c", pipeline], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    peak = 0
    os.set_blocking(process.stderr.fileno(), False)
    log = b""
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        log += process.stderr.read() or b""
        if pid:
            break
        peak = max(peak, anonymous(process.pid))
        if kill_after and kill_after():
            process.send_signal(signal.SIGKILL)
            os.wait4(process.pid, 0)
            process.returncode = -9
            return None
        time.sleep(0.25)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    if process.returncode:
        sys.exit(log.decode())
    return seconds, usage.ru_utime + usage.ru_stime, peak


def differences(folder, one, other):
    result = subprocess.run(["diff", "-r", "-q", folder / one, folder / other], stdout=subprocess.PIPE, text=True)
    return result.stdout.splitlines()


def small(folder, rounds, samples):
    if not (folder / "teacher/config.json").exists():
        random_teacher.make(folder / "teacher", "smollm2-135m")
    rows_of(folder, samples, 400)
    memory = 'memory = "64 MiB"'
    runs = {"resident": [], "streamed": []}
    pipelines = {name: write_pipeline(folder, name, "", memory * (name == "streamed")) for name in runs}
    tokens = plan(pipelines["streamed"], "--calibration", "1s")
    predicted = tokens["calibration"]["load_seconds"] + tokens["left"]["seconds"]
    for turn in range(rounds):
        for name in runs if turn % 2 == 0 else reversed(runs):
            shutil.rmtree(folder / name, ignore_errors=True)
            runs[name].append(capture(pipelines[name]))
            seconds, processor, peak = runs[name][-1]
            print(f"{name}: {seconds:.1f} s, {processor:.1f} s of processors, {peak / 2**20:.0f} MiB", file=sys.stderr)
    fed = tokens["left"]["teacher_tokens"]
    for name, of_name in runs.items():
        seconds, processor, peak = (statistics.median(column) for column in zip(*of_name))
        print(f"{name}: {fed / seconds:.0f} tokens/s, {fed / processor:.0f} a processor second, {peak / 2**20:.0f} MiB anonymous")
    for column, what in enumerate(["wall clock", "processors"]):
        pairs = zip(runs["resident"], runs["streamed"])
        ratio = statistics.median(resident[column] / streamed[column] for resident, streamed in pairs)
        print(f"streamed is {ratio:.3f} times as fast by {what}")
    passes = tokens["streaming"]
    print(f"plan: {passes['passes']} passes of up to {passes['largest_pass_tokens']} tokens, "
          f"{passes['expected_bytes'] / 2**20:.0f} MiB, {predicted:.1f} s")
    print("diff -r of the caches:", differences(folder, "resident", "streamed") or "nothing")
    shards = "samples_per_shard = 8"
    for name in ["whole", "killed"]:
        pipelines[name] = write_pipeline(folder, name, shards, memory)
    capture(pipelines["whole"])
    killed = 0
    while True:
        finished = lambda: len(list((folder / "killed").glob("layers/*/*.parquet")))
        before, since = finished() if (folder / "killed").exists() else 0, []
        # Some time after a shard is there, in the middle of the next.
        def now():
            if finished() > before:
                since.append(time.monotonic())
            return bool(since) and time.monotonic() - since[0] > 1.5
        if killed == 2 or capture(pipelines["killed"], now) is not None:
            break
        killed += 1
    capture(pipelines["killed"])
    print(f"killed {killed} times, then diff -r:", differences(folder, "whole", "killed") or "nothing")


def large(folder, memory):
    if not (folder / "teacher/config.json").exists():
        random_teacher.make(folder / "teacher", "qwen3-8b")
    rows_of(folder, 8, 1000)
    pipeline = write_pipeline(folder, "large", "", f'memory = "{memory}"')
    began = time.monotonic()
    planned = plan(pipeline, "--calibration", "1s")
    print(f"plan, made in {time.monotonic() - began:.0f} s: {planned['left']['teacher_tokens']} tokens, "
          f"{planned['calibration']['load_seconds'] + planned['left']['seconds']:.0f} s, {json.dumps(planned['streaming'])}", flush=True)
    seconds, processor, peak = capture(pipeline)
    print(f"capture: {seconds:.0f} s, {processor:.0f} s of processors, {peak / 2**30:.2f} GiB anonymous")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--memory", default="3 GiB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=48)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.large:
        large(given.folder, given.memory)
    else:
        small(given.folder, given.rounds, given.samples)
