#!/usr/bin/env python3
"""Gives the scripts of pipelines/evidence tables and summaries that are cut, joined or wrong: each must be refused by name.

    tests/evidence.py
"""

import csv
import json
import pathlib
import subprocess
import sys
import tempfile

EVIDENCE = pathlib.Path(__file__).resolve().parent.parent / "pipelines/evidence"
POLICY = "lead_span-mixture-0.25_0.5+1.0_0.5-replay-share-0.0-positions-disagreement-0.2"
SEARCH, CONFIRM = ((EVIDENCE / f"{name}.csv").read_text() for name in ("search", "confirm"))
HEADER = CONFIRM.splitlines()[0] + "\n"
failures = 0


def expect(what, holds, detail=""):
    global failures
    if not holds:
        failures += 1
        print(f"failed: {what}\n    {detail}")


def run(script, *arguments):
    done = subprocess.run([sys.executable, "-B", EVIDENCE / script, *arguments], capture_output=True, encoding="utf-8")
    return done.returncode, done.stdout, done.stderr


def refused(what, named, script, *arguments):
    """The script must fail with a message that says `named`, and write no result."""
    code, out, error = run(script, *arguments)
    expect(f"{what} is refused", code == 1 and not out and error.startswith("error: ") and named in error, f"{code} {error}")


def without(text, *words):
    return "".join(line for line in text.splitlines(keepends=True) if not any(word in line for word in words))


def analyses(folder):
    path = folder / "table.csv"
    for what, named, text, *policy in [
        ("an empty file", "is cut", ""),
        ("a header alone", "no runs", HEADER),
        ("another table", "has no column", (EVIDENCE / "cost.csv").read_text()),
        ("a table cut in a number", "is cut", CONFIRM[:-56]),
        ("a table cut before its last line break", "is cut", CONFIRM[:-1]),
        ("a row with too few fields", "line 77: ", CONFIRM[:-56] + "\n"),
        ("a number cut after its point", "line 77: accuracy is `0.`", CONFIRM.replace(",0.922,", ",0.,")),
        ("an accuracy of nan", "accuracy is `nan`", CONFIRM.replace(",0.922,", ",nan,")),
        ("an accuracy above 1", "accuracy is `92.2`", CONFIRM.replace(",0.922,", ",92.2,")),
        ("a quote that nothing ends", "is not a table", CONFIRM + '"half\n'),
        ("a run that is there twice", "supervised-seed-104 is there twice", CONFIRM + CONFIRM.splitlines(keepends=True)[-1]),
        ("a table with two headers", "line 268: a second header", SEARCH + CONFIRM),
        ("a table joined from two", "untrained is there twice", SEARCH + CONFIRM.removeprefix(HEADER)),
        ("a seed without reference", "lacks", SEARCH + without(CONFIRM, HEADER, "untrained,", "proportion-1.0-seed")),
        ("another number of problems", "numbers of problems", CONFIRM.replace(",1000,0.922,", ",500,0.922,")),
        ("a table without reference", "proportion-1.0", HEADER + "".join(
            line for line in CONFIRM.splitlines(keepends=True) if line.startswith("supervised"))),
        ("a wrong policy", f"give one of {POLICY}", CONFIRM, POLICY.replace("0.2", "0.3")),
        ("the untrained student as a policy", "untrained", CONFIRM, "untrained"),
        ("whole sequences as a policy", "proportion-1.0-epochs-1", CONFIRM, "proportion-1.0-epochs-1"),
    ]:
        path.write_text(text)
        refused(what, named, "analyse.py", path, *policy)

    code, out, error = run("analyse.py", EVIDENCE / "confirm.csv", POLICY)
    expect("the confirmation is judged without a note", code == 0 and not error, error)
    expect("the confirmation's numbers are the page's", "86.0 % (83.6 to 88.2)" in out and "91.1 % (87.9 to 94.3)" in out, out)
    path.write_text(without(CONFIRM, f"equal_compute-{POLICY}"))
    code, _, error = run("analyse.py", path, POLICY)
    expect("a policy without its equal-compute runs is named", code == 0 and f"no runs equal_compute-{POLICY}" in error, error)
    path.write_text(without(CONFIRM, "lead_span-", "proportion-0."))
    code, out, error = run("analyse.py", path)
    expect("a table without candidate says so", code == 1 and "TFLOP" in out and "has no candidate" in error, error)
    _, out, _ = run("analyse.py", EVIDENCE / "words/words.csv")
    expect("what is retained ends at 0", "10.1 % (0.0 to 22.4)" in out, out)


def held_out(folder):
    expected = (EVIDENCE / "words/words-held-out.csv").read_text()
    rows = list(csv.DictReader(expected.splitlines()))
    arguments = [EVIDENCE / "words/words.csv", folder, folder / "untrained"]
    for row in rows:
        (folder / row["run"]).mkdir()
        numbers = {key: json.loads(row[key]) for key in ("problems", "accuracy", "accuracy_low", "accuracy_high", "ungraded")}
        numbers["accuracy_interval"] = [numbers.pop("accuracy_low"), numbers.pop("accuracy_high")]
        (folder / row["run"] / "summary.json").write_text(json.dumps(numbers))
    code, out, error = run("held_out.py", *arguments)
    expect("summaries become the committed table", code == 0 and out == expected and not error, error)

    path = folder / "supervised-seed-2" / "summary.json"
    summary = json.loads(path.read_text())
    for what, change in [
        ("an accuracy of null", {"accuracy": None}),
        ("an accuracy of nan", {"accuracy": float("nan")}),
        ("no interval", {"accuracy_interval": None}),
        ("50 problems beside 250", {"problems": 50}),
    ]:
        path.write_text(json.dumps(summary | change))
        refused(what, str(path), "held_out.py", *arguments)
    path.write_text("{")
    refused("a summary that is cut", str(path), "held_out.py", *arguments)
    path.unlink()
    code, out, error = run("held_out.py", *arguments)
    expect("a run without summary is named", code == 0 and len(out.splitlines()) == len(rows) + 1 and str(path) in error, error)
    expect("no other is named", error.count("\n") == 1, error)

    refused("a folder without summaries", "other", "held_out.py", arguments[0], folder / "other", folder / "untrained")
    (folder / "cut.csv").write_text("")
    refused("an empty table", "cut.csv", "held_out.py", folder / "cut.csv", *arguments[1:])


def main():
    with tempfile.TemporaryDirectory() as folder:
        analyses(pathlib.Path(folder))
        held_out(pathlib.Path(folder))
    sys.exit(failures > 0)


main()
