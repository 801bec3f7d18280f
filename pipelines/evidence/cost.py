"""Writes the table of `cost.sh` from the results of its commands: each file is the JSON that the program printed.

    cost.py FOLDER

Online, the teacher runs over the training samples' lead spans in every epoch, so an epoch costs the training's time and, for as many tokens, the
capture's. That counts the writing of the cache, about 1 % of a capture, as if it were the teacher's. The numbers that were measured
go to FOLDER/cost.csv.
"""

import csv
import json
import sys
from pathlib import Path

PROPORTIONS = ["0.25", "0.5", "0.75", "1.0"]
EPOCHS = [1, 3]
MEASURED = ["seconds", "tokens", "tokens_per_second", "positions", "bytes", "cache_bytes_read", "training_flops", "peak_memory_bytes"]


def read(folder, name):
    path = folder / f"{name}.json"
    return json.loads(path.read_text().splitlines()[-1]) if path.is_file() else None


def row(*cells):
    return "| " + " | ".join(cells) + " |"


def shown(value, unit):
    return (f"{value:,.0f}" if value >= 1000 else f"{value:.4g}") + f" {unit}".rstrip()


def compared(what, values, unit):
    half, whole = values
    return row(what, shown(half, unit), shown(whole, unit), f"{half / whole:.2f}")


def write_measured(folder):
    with open(folder / "cost.csv", "w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, ["command", *MEASURED], extrasaction="ignore", lineterminator="\n")
        out.writeheader()
        for path in sorted(path for step in ("capture", "train", "step") for path in folder.glob(f"{step}-*.json")):
            result = read(folder, path.stem)
            out.writerow({"command": path.stem, **result, **result.get("summary", {})})


def main(folder):
    write_measured(folder)
    captures = {p: read(folder, f"capture-{p}") for p in PROPORTIONS}
    trained = {p: read(folder, f"train-{p}")["summary"] for p in PROPORTIONS}
    capture = {p: captures[p]["tokens"] / captures[p]["tokens_per_second"] for p in PROPORTIONS}
    training = {p: trained[p]["seconds"] for p in PROPORTIONS}
    teacher = {p: trained[p]["tokens"] / captures[p]["tokens_per_second"] for p in PROPORTIONS}

    def both(of):
        return [of["0.5"], of["1.0"]]

    print(row("", "half of every sequence", "whole sequences", "ratio"))
    print("|---|---|---|---|")
    print(compared("stage one: time", both(capture), "s"))
    print(compared("stage one: bytes of shards", [one["bytes"] / 2**20 for one in both(captures)], "MiB"))
    print(compared("stage one: positions", [one["positions"] for one in both(captures)], ""))
    print(compared("stage two, one epoch: time of the steps", both(training), "s"))
    print(compared("stage two: peak memory", [one["peak_memory_bytes"] / 2**20 for one in both(trained)], "MiB"))
    print(compared("stage two: operations", [one["training_flops"] / 1e12 for one in both(trained)], "TFLOP"))
    print(compared("stage two: bytes read from the cache", [one["cache_bytes_read"] / 2**20 for one in both(trained)], "MiB"))
    print()
    print(row("", "offline", "online", "ratio"))
    print("|---|---|---|---|")
    for p in ("0.5", "1.0"):
        print(compared(f"an epoch at {p}, once the cache is there", [training[p], training[p] + teacher[p]], "s"))
    for epochs in EPOCHS:
        whole = epochs * sum(training.values())
        online = whole + epochs * sum(teacher.values())
        what = f"a sweep of {len(PROPORTIONS)} proportions, {epochs} epoch{'s' if epochs > 1 else ''}, with the one capture"
        print(compared(what, [capture["1.0"] + whole, online], "s"))
    for p in ("0.5", "1.0"):
        offline, online = read(folder, f"step-offline-{p}"), read(folder, f"step-online-{p}")
        if offline and online:
            seconds = [1e3 / one["tokens_per_second"] for one in (offline, online)]
            print(compared(f"a step at {p} for each 1,000 tokens (`train_step`)", seconds, "s"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
