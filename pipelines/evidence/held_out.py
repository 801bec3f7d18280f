"""Makes a table of runs of how the same students answered other problems, for `analyse.py`.

    held_out.py RUNS.csv FOLDER UNTRAINED > OUT.csv

FOLDER/RUN/summary.json is what `leadspan evaluate` wrote about the student of each run, and UNTRAINED/summary.json about the student before
training. Everything else is as in RUNS.csv. The accuracy of a run without such a summary is empty, and the standard error names it.
"""

import csv
import json
import sys
from pathlib import Path

import table


def answered(path):
    """The cells that a summary gives, with its number of problems first."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        problems, ungraded = summary["problems"], summary["ungraded"]
        accuracy, (low, high) = summary["accuracy"], summary["accuracy_interval"]
        if problems < 1 or ungraded < 0 or not 0 <= low <= accuracy <= high <= 1:
            raise ValueError("its numbers are not those of answers")
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"error: {path} is not a summary of `leadspan evaluate`, evaluate again: {type(error).__name__}: {error}")
    return dict(problems=problems, accuracy=accuracy, accuracy_low=low, accuracy_high=high, ungraded=ungraded)


def main(runs, folder, untrained):
    rows = table.read(runs)
    first, students, missing = None, 0, []
    for row in rows:
        row.update(problems="", accuracy="", accuracy_low="", accuracy_high="", ungraded="")
        path = (Path(untrained) if row["kind"] == "untrained" else Path(folder, row["run"])) / "summary.json"
        if not path.exists():
            missing.append(f"left out: there is no {path}, so the accuracy of {row['run']} is empty")
            continue
        row.update(answered(path))
        first = first or (path, row["problems"])
        if row["problems"] != first[1]:
            sys.exit(f"error: {path} is about {row['problems']} problems and {first[0]} about {first[1]}: evaluate both on the same file")
        students += row["kind"] != "untrained"
    if not students:
        sys.exit(f"error: {folder} has a summary of no run of {runs}: give the folder that has {rows[0]['run']}/summary.json")
    for message in missing:
        print(message, file=sys.stderr)
    out = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
    out.writeheader()
    out.writerows(rows)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
