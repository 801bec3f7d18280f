#!/usr/bin/env python3
"""Kills `cache cut` and `cache merge` of a cache with signal 9, ten times each, and compares what the same commands make in the end.

    tests/compare/cutting.py PROGRAM CACHE FOLDER [PROPORTION]

`cutting.sh` runs it on several caches. The ten moments are spread over the duration of an undisturbed run.
"""

import pathlib
import subprocess
import sys
import time

import pyarrow.parquet as pq

from kills import killed
from read_shards import rows_of

PROGRAM, CACHE, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
PROPORTION = sys.argv[4] if len(sys.argv) > 4 else "0.5"


def run(*arguments):
    start = time.monotonic()
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{arguments} ended with {done.returncode}:\n{done.stderr}")
    return time.monotonic() - start


def undisturbed_and_killed(name, *arguments):
    """Runs a command that writes the folder `--out`, and the same with ten kills. Returns the folder."""
    whole = FOLDER / f"{name}-whole"
    took = run("cache", *arguments, "--out", whole)
    kills = 0
    # Each moment in a folder of its own, and all ten in one.
    for moment in range(10):
        out = FOLDER / f"{name}-killed-{moment}"
        kills += killed(PROGRAM, took * (moment + 0.5) / 10, "cache", *arguments, "--out", out)
        run("cache", *arguments, "--out", out)
        subprocess.run(["diff", "-r", whole, out], check=True)
        subprocess.run(["rm", "-r", out], check=True)
    out = FOLDER / f"{name}-killed"
    again = sum(killed(PROGRAM, took * (moment + 0.5) / 10, "cache", *arguments, "--out", out) for moment in range(10))
    run("cache", *arguments, "--out", out)
    subprocess.run(["diff", "-r", whole, out], check=True)
    print(f"{name}: {took:.2f} s; killed {kills} of 10 times, each continued, and {again} of 10 times in one folder: the same files", flush=True)
    return whole


def values(cache, *options):
    path = FOLDER / "export.parquet"
    run("cache", "export", cache, "--out", path, *options)
    table = pq.read_table(path)
    path.unlink()
    return table.sort_by([("sample_id", "ascending"), ("position", "ascending")])


def main():
    cut = undisturbed_and_killed("cut", "cut", CACHE, "--proportion", PROPORTION)
    run("cache", "verify", cut)
    expected = values(CACHE, "--proportion", PROPORTION)
    assert values(cut).equals(expected), "the cut reads otherwise"
    print(f"cut: {expected.num_rows} positions read as in the larger cache", flush=True)

    descriptions = sorted((CACHE / "corpus").glob("prepared*.json"), key=lambda path: (len(path.name), path.name))
    ids = [row["sample_id"] for description in descriptions for row in rows_of(description)]
    halves = []
    for half in range(2):
        (FOLDER / "ids.txt").write_text("\n".join(ids[half::2]))
        halves.append(FOLDER / f"half-{half}")
        run("cache", "cut", CACHE, "--out", halves[-1], "--samples", FOLDER / "ids.txt")
    merged = undisturbed_and_killed("merge", "merge", *halves)
    run("cache", "verify", merged)
    expected = values(CACHE)
    assert values(merged).equals(expected), "the merged cache reads otherwise"
    print(f"merge: {expected.num_rows} positions read as in the cache that both halves were cut from", flush=True)


if __name__ == "__main__":
    main()
