"""Counts what evaluations have right, by kind of problem: a table of models that are not students of a sweep.

    solved.py EVALUATION PROBLEMS.jsonl [EVALUATION PROBLEMS.jsonl …] > OUT.csv

EVALUATION is the folder that `leadspan evaluate` wrote, about PROBLEMS.jsonl. The kind is the column `kind` of the problems, if they have it.
"""

import csv
import json
import sys
from collections import Counter
from pathlib import Path


def lines(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def main(*arguments):
    if not arguments or len(arguments) % 2:
        sys.exit(__doc__)
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["evaluation", "kind", "problems", "right"])
    for evaluation, path in zip(arguments[::2], arguments[1::2]):
        problems, answers = lines(path), lines(Path(evaluation, "answers.jsonl"))
        if [problem["question"] for problem in problems] != [answer["question"] for answer in answers]:
            sys.exit(f"error: {evaluation} does not answer the problems of {path}, each once and in their order")
        kinds = [problem.get("kind", "") for problem in problems]
        asked = Counter(kinds)
        right = Counter(kind for kind, answer in zip(kinds, answers) if answer["correct"])
        out.writerows([evaluation, kind, asked[kind], right[kind]] for kind in sorted(asked))
        if len(asked) > 1:
            out.writerow([evaluation, "all", len(problems), sum(right.values())])


if __name__ == "__main__":
    main(*sys.argv[1:])
