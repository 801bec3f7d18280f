"""Write worked GSM-Symbolic problems as JSON lines: the text that the teacher is run on, and problems to test students with.

A row has `id` ("gsm_symbolic-SEED-INDEX"), `question`, `chain_of_thought` (the worked steps) and `answer`
("#### NUMBER", the line that closes the steps in the source). The same size, seed and reasoning-gym version give the
same bytes; a larger size appends rows to a smaller one's. Test problems come from the next seed, without those whose question is
among the others: the templates are the same hundred, names and numbers are not. A file appears whole or not at all.
"""

import argparse
import functools
import importlib
import importlib.util
import json
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ANSWER_MARK = "#### "


@functools.cache
def gsm_symbolic() -> Any:
    """Import GSM-Symbolic without the rest of reasoning-gym.

    The packages on the way to it import every other task with all their dependencies, so empty packages with the same
    search paths take their places.
    """
    spec = importlib.util.find_spec("reasoning_gym")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("error: reasoning-gym is not installed in this Python\nhint: run prepare.sh, which installs it")
    root = Path(spec.submodule_search_locations[0])
    for folder in ("", "coaching", "arithmetic"):
        package = types.ModuleType(".".join(["reasoning_gym", folder]).rstrip("."))
        package.__path__ = [str(root / folder)]
        sys.modules[package.__name__] = package
    return importlib.import_module("reasoning_gym.arithmetic.gsm_symbolic.gsm_symbolic")


def rows(size: int, seed: int, seen: set[str]) -> Iterator[dict[str, str]]:
    """Yield the first `size` problems with questions that have not been `seen`, so that none is in two places.

    What is yielded has been seen, too.
    """
    count = 0
    # The generator's rows do not depend on how many are asked for; about one in 200 repeats an earlier question.
    module = gsm_symbolic()
    problems = module.GSMSymbolicDataset(module.GSMSymbolicDatasetConfig(size=2 * size + 16, seed=seed))
    for index, problem in enumerate(problems):
        if problem["question"] in seen:
            continue
        steps, mark, answer = problem["metadata"]["answer_cot"].rpartition(ANSWER_MARK)
        # Some steps end in a decimal, `#### 8.0`, where the answer is `8`.
        if not mark or not steps.strip() or float(answer) != float(problem["answer"]):
            sys.exit(f"error: problem {index} of seed {seed} does not end in `{ANSWER_MARK}{problem['answer']}`")
        yield {
            "id": f"gsm_symbolic-{seed}-{index}",
            "question": problem["question"],
            "chain_of_thought": steps.strip(),
            "answer": ANSWER_MARK + problem["answer"],
        }
        seen.add(problem["question"])
        count += 1
        if count == size:
            return
    sys.exit(f"error: seed {seed} has only {count} new questions, but {size} were asked for")


def write(path: Path, problems: Iterator[dict[str, str]]) -> None:
    """Write JSON lines, which appear under their name when they are all there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        for row in problems:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def main() -> None:
    """Parse the arguments and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1200, help="problems to learn from (default: %(default)s)")
    parser.add_argument("--test", type=int, default=200, help="problems to test with (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generator (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the folder for train.jsonl and test.jsonl")
    arguments = parser.parse_args()
    if arguments.size < 1 or arguments.test < 1:
        parser.error("--size and --test must be at least 1")

    seen: set[str] = set()
    write(arguments.out / "train.jsonl", rows(arguments.size, arguments.seed, seen))
    write(arguments.out / "test.jsonl", rows(arguments.test, arguments.seed + 1, seen))


if __name__ == "__main__":
    main()
