"""Makes a table of runs of how the same students answered other problems, for `analyse.py`.

    held_out.py RUNS.csv FOLDER UNTRAINED > OUT.csv

FOLDER/RUN/summary.json is what `leadspan evaluate` wrote about the student of each run, and UNTRAINED/summary.json about the student before
training. Everything else is as in RUNS.csv. The accuracy of a run without such a summary is empty.
"""

import csv
import json
import sys
from pathlib import Path


def main(runs, folder, untrained):
    with open(runs, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        path = (Path(untrained) if row["kind"] == "untrained" else Path(folder, row["run"])) / "summary.json"
        row.update(problems="", accuracy="", accuracy_low="", accuracy_high="", ungraded="")
        if not path.exists():
            continue
        summary = json.loads(path.read_text(encoding="utf-8"))
        low, high = summary["accuracy_interval"]
        row.update(problems=summary["problems"], accuracy=summary["accuracy"], accuracy_low=low, accuracy_high=high,
                   ungraded=summary["ungraded"])
    out = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
    out.writeheader()
    out.writerows(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
