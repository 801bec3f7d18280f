"""Reads a table of runs, the `runs.csv` of `leadspan report`. One that is cut, damaged or joined from others is refused."""

import csv
import io
import re
import sys

TEXTS = ["run", "kind", "state", "lead_span", "positions_learnt"]
WHOLE, DECIMAL = r"[0-9]+", r"[0-9]+(\.[0-9]+)?(e-[0-9]+)?"
NUMBERS = {
    "seed": WHOLE, "problems": r"0*[1-9][0-9]*", "training_flops": DECIMAL, "lead_span_proportion": DECIMAL,
    # A share: 0 to 1.
    "accuracy": r"0(\.[0-9]+)?|1(\.0+)?|[0-9](\.[0-9]+)?e-[0-9]+",
}
FIX = "write it again with `leadspan report`"


def read(path):
    """The runs, each a dictionary of its cells; numbers may be empty."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            text = file.read()
        return list(rows(path, text))
    except OSError as error:
        sys.exit(f"error: cannot read {path}: {error.strerror}")
    except (UnicodeDecodeError, csv.Error) as error:
        sys.exit(f"error: {path} is not a table: {error}: {FIX}")


def rows(path, text):
    if not text.endswith("\n"):
        sys.exit(f"error: {path} is cut, its last line has no end: {FIX}")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = next(lines)
    if missing := [column for column in [*TEXTS, *NUMBERS] if column not in header]:
        sys.exit(f"error: {path} has no column {', '.join(missing)}: {FIX}")
    names = set()
    for cells in lines:
        place = f"{path}, line {lines.line_num}"
        if cells == header:
            sys.exit(f"error: {place}: a second header, so tables were joined: give one table, or write one of all runs")
        if len(cells) != len(header):
            sys.exit(f"error: {place}: {len(cells)} fields instead of {len(header)}: {FIX}")
        row = dict(zip(header, cells))
        for column, plain in NUMBERS.items():
            if row[column] and not re.fullmatch(plain, row[column]):
                sys.exit(f"error: {place}: {column} is `{row[column]}`, which is not a number that it can be: {FIX}")
        if row["run"] in names:
            sys.exit(f"error: {place}: {row['run']} is there twice: give one table of one sweep")
        names.add(row["run"])
        yield row
    if not names:
        sys.exit(f"error: {path} has no runs: {FIX}")
