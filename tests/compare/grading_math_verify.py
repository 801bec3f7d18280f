"""Hold leadspan's built-in rules, and the grader on math-verify that comes with it, to math-verify itself.

The responses are those of `grading_answers.py`: of each it is known whether it is right. Prints for each style how often the
graders are right and agree with math-verify, then every disagreement, with who is right. Exits with 1 if a reference answer in
a box is not right, if a grader gives no verdict, or if less than `--agreement` of its verdicts are those of math-verify.
"""

import argparse
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

from grading_answers import STYLES, Case, cases
from math_verify import parse, verify


def graded_by(command: list[str], responses: list[Case]) -> list[dict[str, Any]]:
    """What a grader says, in leadspan's protocol."""
    requests = [
        {
            "index": index,
            "id": f"case-{index}",
            "question": "",
            "reference": case.reference,
            "expected": expected(case),
            "text": case.text,
            "found": None,
        }
        for index, case in enumerate(responses)
    ]
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    run = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    replies = [json.loads(line) for line in run.stdout.splitlines()]
    if [reply["index"] for reply in replies] != list(range(len(responses))):
        sys.exit(f"error: `{command[0]}` did not answer each line in turn")
    return replies


def expected(case: Case) -> str:
    """The right answer in a reference."""
    return case.reference.rpartition("#### ")[2]


def math_verify(case: Case) -> bool:
    """math-verify as its README uses it."""
    return verify(parse(f"${expected(case)}$"), parse(case.text))


def main() -> None:
    """Parse the arguments, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--built-in", type=Path, required=True, help="the example `grade` of the crate `evaluate`")
    parser.add_argument("--grader", type=Path, required=True, help="the grader that comes with leadspan")
    parser.add_argument("--seed", type=int, default=17, help="(default: %(default)s)")
    parser.add_argument("--agreement", type=float, default=0.97, help="(default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)

    responses = list(cases(arguments.seed))
    theirs = [math_verify(case) for case in responses]
    graders = {
        "built-in": graded_by([str(arguments.built_in)], responses),
        "grader": graded_by([sys.executable, str(arguments.grader)], responses),
    }
    failures: list[str] = []
    table: list[dict[str, Any]] = []
    for style in [*STYLES, "all"]:
        chosen = [index for index, case in enumerate(responses) if style in (case.style, "all")]
        row: dict[str, Any] = {
            "style": style,
            "references": sum(responses[index].verbatim for index in chosen),
            "responses": len(chosen),
            "math-verify right": sum(theirs[index] == responses[index].right for index in chosen),
        }
        for name, replies in graders.items():
            row[f"{name} right"] = sum(replies[index].get("correct") == responses[index].right for index in chosen)
            row[f"{name} agrees"] = sum(replies[index].get("correct") == theirs[index] for index in chosen)
        table.append(row)
    for name, replies in graders.items():
        boxed = [case for case, reply in zip(responses, replies, strict=True) if case.verbatim and not reply.get("correct")]
        failures += [f"{name}: `{expected(case)}` in a box is not right" for case in boxed]
        failures += [f"{name}: no verdict on `{expected(responses[reply['index']])}`" for reply in replies if "ungraded" in reply]
        share = table[-1][f"{name} agrees"] / len(responses)
        if share < arguments.agreement:
            failures.append(f"{name}: {share:.2%} of its verdicts are those of math-verify")
    disagreements = [
        {
            "style": case.style,
            "expected": expected(case),
            "text": case.text,
            "right": case.right,
            "math-verify": their,
            **{name: replies[index].get("correct") for name, replies in graders.items()},
        }
        for index, (case, their) in enumerate(zip(responses, theirs, strict=True))
        if any(replies[index].get("correct") != their for replies in graders.values())
    ]
    result = {"table": table, "disagreements": disagreements, "failures": failures}
    if arguments.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        show(result)
    sys.exit(1 if failures else 0)


def show(result: dict[str, Any]) -> None:
    """The result for people."""
    names = list(result["table"][0])
    print("| " + " | ".join(names) + " |")
    print("|---" * len(names) + "|")
    for row in result["table"]:
        of = row["responses"]
        values = [f"{value} ({value / of:.2%})" if " " in name else str(value) for name, value in row.items()]
        print("| " + " | ".join(values) + " |")
    print(f"\n{len(result['disagreements'])} disagreements:")
    for item in result["disagreements"]:
        right = [name for name in ("built-in", "grader", "math-verify") if item[name] == item["right"]]
        truth = "right" if item["right"] else "wrong"
        text = item["text"].replace("\n", " ")
        print(f"  {item['style']}: `{item['expected']}` and `{text}` ({truth}): {', '.join(right) or 'nobody'} is right")
    for failure in result["failures"]:
        print(f"error: {failure}", file=sys.stderr)


if __name__ == "__main__":
    main()
