"""The kinds of problems of the second family: four generators of reasoning-gym, each with worked steps.

- `gsm`: GSM-Symbolic, whose steps are the package's own (`answer_cot`). Only problems without a number above 999 or a decimal are taken.
- `legs`: how many legs some animals have. A step multiplies for one kind of animal, and adds.
- `sums`: a chain of sums and differences of two digits. A step adds the tens of a number, then its ones.
- `gcd`: the greatest common divisor of two numbers, by Euclid's algorithm.

The steps of the last three are written here, from the generators' metadata. A problem is drawn from a random generator that the caller
gives. It is a question, its working and its answer; a GSM-Symbolic one also has the number of its template.
"""

import functools
import importlib
import importlib.util
import re
import sys
import types
from math import gcd as divisor
from pathlib import Path

LARGEST = 999


@functools.cache
def generator(name):
    """A module of reasoning-gym's `arithmetic`, imported without the rest of the package.

    The packages on the way to it import every other task with all their dependencies, so empty packages with the same search paths take
    their places.
    """
    if "reasoning_gym" not in sys.modules:
        spec = importlib.util.find_spec("reasoning_gym")
        if spec is None or not spec.submodule_search_locations:
            sys.exit("error: reasoning-gym is not installed in this Python\nhint: `requirements.txt` has its version")
        root = Path(spec.submodule_search_locations[0])
        for folder in ("", "coaching", "arithmetic"):
            package = types.ModuleType(".".join(["reasoning_gym", folder]).rstrip("."))
            package.__path__ = [str(root / folder)]
            sys.modules[package.__name__] = package
        coaching = sys.modules["reasoning_gym.coaching"]
        for part in ("attributes", "base_curriculum"):
            module = importlib.import_module(f"reasoning_gym.coaching.{part}")
            vars(coaching).update({key: value for key, value in vars(module).items() if isinstance(value, type)})
    return importlib.import_module(f"reasoning_gym.arithmetic.{name}")


def one(dataset, config, random_, **settings):
    """The one problem of a data set with a seed of its own."""
    return dataset(config(seed=random_.getrandbits(48), size=1, **settings))[0]


@functools.cache
def templates():
    """The templates of GSM-Symbolic that reasoning-gym vouches for: number and function."""
    module = generator("gsm_symbolic.gsm_symbolic")
    made = module.GSMSymbolicDataset(module.GSMSymbolicDatasetConfig(seed=0, size=1)).generators
    return {number: made[number] for number in module.tasks_ok}


def is_small(text):
    return all("." not in number and int(number) <= LARGEST for number in re.findall(r"[0-9]+(?:\.[0-9]+)?", text))


def gsm(random_, numbers, small=True):
    """A problem of one of the templates with these numbers."""
    while True:
        number = random_.choice(numbers)
        problem = templates()[number](random_, 1.0)
        working, mark, last = problem["metadata"]["answer_cot"].rpartition("#### ")
        answer = float(problem["answer"])
        question = problem["question"].strip()
        if mark and float(last) == answer and answer.is_integer() and (not small or is_small(f"{question}\n{working}".replace(",", ""))):
            return question, working.strip(), str(int(answer)), number


def legs(random_, least, most):
    module = generator("leg_counting")
    settings = {"min_animals": least, "max_animals": most, "max_instances": 9}
    problem = one(module.LegCountingDataset, module.LegCountingConfig, random_, **settings)
    lines, total = [], 0
    for animal, count in problem["metadata"]["animals"].items():
        each = module.ANIMALS[animal]
        added = "" if not lines else f", {total} + {count * each} = {total + count * each}"
        total += count * each
        lines.append(f"{count} {animal}: {count} * {each} = {count * each}{added}")
    assert str(total) == problem["answer"]
    return problem["question"].strip().splitlines()[-1], "\n".join(lines), problem["answer"]


def sums(random_, least, most):
    module = generator("chain_sum")
    settings = {"min_terms": least, "max_terms": most, "min_digits": 2, "max_digits": 2}
    problem = one(module.ChainSumDataset, module.ChainSumConfig, random_, **settings)
    first, *others = problem["metadata"]["expression"].split()
    value, lines = int(first), []
    for sign, by in zip(others[::2], map(int, others[1::2]), strict=True):
        steps = []
        for part in (by - by % 10, by % 10):
            after = value + part if sign == "+" else value - part
            steps.append(f"{value} {sign} {part} = {after}")
            value = after
        lines.append(", ".join(steps))
    assert str(value) == problem["answer"]
    return problem["question"], "\n".join(lines), problem["answer"]


def gcd(random_, least, most):
    module = generator("gcd")
    problem = one(module.GCDDataset, module.GCDConfig, random_, min_value=least, max_value=most)
    small, large = sorted(problem["metadata"]["numbers"])
    lines = []
    while small:
        lines.append(f"{large} = {large // small} * {small} + {large % small}")
        small, large = large % small, small
    assert str(large) == problem["answer"] and large == divisor(*problem["metadata"]["numbers"])
    return problem["question"], "\n".join(lines), problem["answer"]
