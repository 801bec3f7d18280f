#!/usr/bin/env python3
"""Grades answers with math-verify, for leadspan's `evaluate.grader`.

    [evaluate]
    grader = [".venv/bin/python", "math_verify_grader.py"]

Reads a JSON object a line and writes one for each (docs/grading.md). It compares `expected` with what math-verify finds in
`text` behind the end of the thinking (`--thinking-end`). What math-verify does not understand, or not in `--seconds`, is
`ungraded`: leadspan counts and shows such answers.
"""

import argparse
import json
import logging
import sys
from typing import Any

from math_verify import parse, verify
from math_verify.errors import TimeoutException


def formula(answer: str) -> str:
    """The answer between dollar signs, which math-verify needs to read LaTeX."""
    answer = answer.strip()
    for start, end in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if answer.startswith(start) and answer.endswith(end) and len(answer) > len(start) + len(end):
            answer = answer[len(start) : -len(end)]
    return f"${answer}$"


def verdict(expected: str, text: str, seconds: int) -> dict[str, Any]:
    """What is said about one answer, without its index."""
    try:
        gold = parse(formula(expected), parsing_timeout=seconds, raise_on_error=True)
    except (Exception, TimeoutException) as error:
        return {"ungraded": f"math-verify cannot read the expected answer: {type(error).__name__}"}
    if not gold:
        return {"ungraded": "math-verify cannot read the expected answer"}
    try:
        target = parse(text, parsing_timeout=seconds, raise_on_error=True)
        correct = bool(target) and verify(gold, target, timeout_seconds=seconds, raise_on_error=True)
    except (Exception, TimeoutException) as error:
        return {"ungraded": f"math-verify cannot compare the answer: {type(error).__name__}"}
    return {"correct": correct}


def main() -> None:
    """Answer each line of the standard input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thinking-end", default="</think>", help="(default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=10, help="the most for one reading or comparison (default: %(default)s)")
    arguments = parser.parse_args()
    # Its messages name no problem; what they say becomes a verdict.
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        request = json.loads(line)
        text = request["text"].rpartition(arguments.thinking_end)[2]
        reply = {"index": request["index"]} | verdict(request["expected"], text, arguments.seconds)
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
