"""Makes the problems of the study on the small family, into a folder.

    make_problems.py FOLDER

- `hard.jsonl`, `known.jsonl`: those of the quickstart. Rows of `hard.jsonl` have a column `keep` more: problems of five numbers are
  kept whole, of longer ones a quarter.
- `search.jsonl`, `confirm.jsonl`: 1,000 hard problems each, to choose a policy and to confirm it. None of them is in the other file, in
  the quickstart's test problems, or among anything that the teacher or the base student was ever taught.
- `clock/work/`: the second kind of problem, on which nothing is chosen. Times of day between 10:00 and 23:59, written as four digits,
  with minutes added and subtracted; worked in the same steps, but carried to the hours. It has its own teacher and base student.
"""

import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "quickstart"))
import make_problems as first_kind  # noqa: E402

MINUTES = [*range(1, 60)]
EASY_MINUTES = [minutes for minutes in MINUTES if minutes < 10 or minutes % 10 == 0]
SPLIT_MINUTES = [minutes for minutes in MINUTES if minutes not in EASY_MINUTES]
FIRST_MINUTE, LAST_MINUTE = 10 * 60, 24 * 60 - 1


def questions(path):
    return [json.loads(line)["question"] for line in path.read_text().splitlines()]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def sums(folder):
    """The first kind: what the quickstart has, and new test problems."""
    made = folder / "quickstart"
    first_kind.main(made)
    taught = {question for path in sorted(made.glob("*.jsonl")) for question in questions(path)}
    search = first_kind.problems(21, 1000, "search", first_kind.hard, taught)
    confirm = first_kind.problems(22, 1000, "confirm", first_kind.hard, [*taught, *(row["question"] for row in search)])
    hard = [json.loads(line) for line in (made / "hard.jsonl").read_text().splitlines()]
    for row in hard:
        numbers = 1 + sum(row["question"].count(sign) for sign in "+-")
        row["keep"] = 1.0 if numbers == 5 else 0.25
    known = [json.loads(line) for line in (made / "known.jsonl").read_text().splitlines()]
    for name, rows in [("search", search), ("confirm", confirm), ("hard", hard), ("known", known)]:
        write(folder / f"{name}.jsonl", rows)


def clock_line(value, steps):
    return f"{value // 60:02}{value % 60:02}" + "".join(f"{sign}{by}" for sign, by in steps)


def clock_problem(random_, kinds):
    """A step for each of `kinds`: the question, its working, the answer."""
    start = value = random_.randint(FIRST_MINUTE, LAST_MINUTE)
    steps = []
    for numbers in kinds:
        fitting = {
            "+": [by for by in numbers if value + by <= LAST_MINUTE],
            "-": [by for by in numbers if value - by >= FIRST_MINUTE],
        }
        sign = random_.choice([sign for sign in "+-" if fitting[sign]])
        steps.append((sign, random_.choice(fitting[sign])))
        value = first_kind.applied(value, *steps[-1])
    lines, value = [clock_line(start, steps)], start
    while steps:
        sign, by = steps.pop(0)
        tens, ones = by - by % 10, by % 10
        if tens and ones:
            steps.insert(0, (sign, ones))
        value = first_kind.applied(value, sign, tens or ones)
        lines.append(clock_line(value, steps))
    return lines[0], "\n".join(lines[1:]), lines[-1]


def easy(random_):
    return [EASY_MINUTES] * (random_.choice(first_kind.EASY_TERMS) - 1)


def hard(random_, terms=first_kind.HARD_TERMS):
    return [MINUTES] * (random_.choice(terms) - 1)


def up_to_hard(random_):
    return hard(random_, range(2, first_kind.HARD_TERMS.stop))


def easy_but_one(random_):
    kinds = [EASY_MINUTES] * (random_.choice(range(2, first_kind.HARD_TERMS.stop)) - 1)
    kinds[random_.randrange(len(kinds))] = SPLIT_MINUTES
    return kinds


def clock(folder):
    """The second kind, in the sizes of the first."""

    def problems(seed, count, name, draw, apart=()):
        return first_kind.problems(seed, count, name, draw, apart, clock_problem)

    test = problems(41, 1000, "test", hard)
    apart = [row["question"] for row in test]
    base = first_kind.shuffled(
        problems(46, 21600, "easy-base", easy, apart), problems(50, 2400, "one-hard-base", easy_but_one, apart)
    )
    written = {
        "test": test,
        "hard": problems(42, 2100, "hard", hard, apart),
        "known": random.Random(45).sample(base, 1000),
        "teacher": first_kind.shuffled(
            problems(47, 12000, "easy-teacher", easy, apart), problems(48, 12000, "hard-teacher", up_to_hard, apart)
        ),
        "base": base,
    }
    for row in written["hard"]:
        numbers = 1 + sum(row["question"].count(sign) for sign in "+-")
        row["keep"] = 1.0 if numbers == 5 else 0.25
    for name, rows in written.items():
        write(folder / f"{name}.jsonl", rows)
    first_kind.write_model(folder / "model")


if __name__ == "__main__":
    sums(Path(sys.argv[1]))
    clock(Path(sys.argv[1]) / "clock" / "work")
