"""Write worked GSM-Symbolic problems as JSON lines, the text that the teacher is run on.

A row has `id` ("gsm_symbolic-SEED-INDEX"), `question`, `chain_of_thought` (the worked steps) and `answer`
("#### NUMBER", the line that closes the steps in the source). The same size, seed and reasoning-gym version give the
same bytes; a larger size appends rows to a smaller one's. The file appears whole or not at all.
"""

import argparse
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


def gsm_symbolic(size: int, seed: int) -> Any:
    """Open GSM-Symbolic without the rest of reasoning-gym.

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
    module = importlib.import_module("reasoning_gym.arithmetic.gsm_symbolic.gsm_symbolic")
    return module.GSMSymbolicDataset(module.GSMSymbolicDatasetConfig(size=size, seed=seed))


def rows(size: int, seed: int) -> Iterator[dict[str, str]]:
    """Yield the first `size` problems whose questions differ, so that none is in both training and validation."""
    seen: set[str] = set()
    # The generator's rows do not depend on how many are asked for; about one in 200 repeats an earlier question.
    for index, problem in enumerate(gsm_symbolic(2 * size + 16, seed)):
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
        if len(seen) == size:
            return
    sys.exit(f"error: seed {seed} has only {len(seen)} distinct questions, but {size} were asked for")


def main() -> None:
    """Parse the arguments and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1200, help="number of problems (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generator (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the JSON-lines file to write")
    arguments = parser.parse_args()
    if arguments.size < 1:
        parser.error("--size must be at least 1")

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = arguments.out.with_name(arguments.out.name + ".tmp")
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows(arguments.size, arguments.seed):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(arguments.out)


if __name__ == "__main__":
    main()
