#!/usr/bin/env python3
"""Gives the scripts of pipelines/evidence tables that are cut, joined or wrong: each must be refused by name.

    tests/evidence.py
"""

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


def main():
    with tempfile.TemporaryDirectory() as folder:
        analyses(pathlib.Path(folder))
    sys.exit(failures > 0)


main()
