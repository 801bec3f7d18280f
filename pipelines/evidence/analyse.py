"""Applies the rule of `docs/evidence.md` to a table of runs: every group of runs over its seeds, the winner, and its rival.

    analyse.py search.csv              the groups, the winner and its rival
    analyse.py confirm.csv WINNER      whether the group of this name, as `search.csv` has it, is confirmed

A group is the runs that differ only in their seeds; its name is theirs without the seed. Runs that are not finished and evaluated, and
groups with other seeds than the reference, are named on the standard error, and so is a policy without equal-compute runs of its own.
The case names of the differences are those of the families with replay.
"""

import re
import sys
from difflib import get_close_matches
from math import sqrt
from statistics import mean, variance

import table

# 97.5th percentiles of Student's distribution, by degrees of freedom.
T = [0, 12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622]
MOST_OPERATIONS, LEAST_RETAINED, SAME_ACCURACY, SAME_OPERATIONS = 0.5, 0.94, 0.01, 1.02
REFERENCE = "proportion-1.0"


def groups(path):
    """Of each group, its finished and evaluated runs by seed."""
    found, problems, reference_seeds = {}, {}, set()
    for row in table.read(path):
        name = re.sub(r"-?seed-[0-9]+$", "", row["run"])
        if name == REFERENCE:
            reference_seeds.add(row["seed"])
        if row["state"] != "finished" or not row["accuracy"]:
            print(f"left out: {row['run']} is {row['state']}, accuracy {row['accuracy'] or 'unknown'}", file=sys.stderr)
            continue
        if not row["problems"] or not row["training_flops"]:
            sys.exit(f"error: {path}: {row['run']} has no number of problems or of operations: {table.FIX}")
        runs = found.setdefault(name, {})
        if row["seed"] in runs:
            sys.exit(f"error: {path} has the seed {row['seed']} of {name} twice: give one table of one sweep")
        runs[row["seed"]] = row
        problems[int(row["problems"])] = row["run"]
    if REFERENCE not in found:
        sys.exit(f"error: {path} has no finished and evaluated run of the reference, {REFERENCE}: run it, or give another table")
    if len(problems) > 1:
        which = ", ".join(f"{run} has {count}" for count, run in problems.items())
        sys.exit(f"error: {path} has runs with different numbers of problems ({which}): give a table of one set of problems")
    for name, runs in found.items():
        if len(runs) > len(T):
            sys.exit(f"error: {path} has {len(runs)} seeds of {name}, and intervals are known for at most {len(T)}: leave some out")
        if name != "untrained" and not runs.keys() <= reference_seeds:
            sys.exit(f"error: {path} has seeds of {name} that the reference, {REFERENCE}, lacks: {', '.join(runs)}: "
                     "give one table of one sweep, or run the reference with them")
        if name != "untrained" and runs.keys() != found[REFERENCE].keys():
            print(f"note: {name} has the seeds {', '.join(runs)}, the reference {', '.join(found[REFERENCE])}", file=sys.stderr)
    return found


def accuracies(runs):
    return [float(run["accuracy"]) for run in runs.values()]


def operations(runs):
    return mean(float(run["training_flops"]) for run in runs.values())


def accuracy_interval(runs):
    """Wilson's with Student's t and an effective number of answers, as `leadspan report` has it; of one run, over problems."""
    shares, answers = accuracies(runs), sum(int(run["problems"]) for run in runs.values())
    n, m = len(shares), mean(shares)
    between = variance(shares) / n if n > 1 else 0.0
    spread = m * (1 - m)
    effective = min(answers, spread / between) if spread and between else answers
    ratio = (T[n - 1] if n > 1 else 1.959964) ** 2 / effective
    half = sqrt(ratio * spread + ratio * ratio / 4)
    return m, max((m + ratio / 2 - half) / (1 + ratio), 0.0), min((m + ratio / 2 + half) / (1 + ratio), 1.0)


def student(values):
    if not values:
        return (float("nan"),) * 3
    half = T[len(values) - 1] * sqrt(variance(values) / len(values)) if len(values) > 1 else float("nan")
    return mean(values), mean(values) - half, mean(values) + half


def retained(runs, reference):
    """The share, whose interval ends at 0. Of a reference that solves nothing, nothing is retained and nothing lost: not a number."""
    pairs = [(float(runs[seed]["accuracy"]), float(reference[seed]["accuracy"])) for seed in runs if seed in reference]
    share, low, high = student([own / whole if whole else float("nan") for own, whole in pairs])
    return share, max(low, 0.0), high


def is_whole(runs):
    run = next(iter(runs.values()))
    plain = run["lead_span"] in ("", "constant") and run["positions_learnt"] == "all"
    return run["kind"] != "untrained" and plain and float(run["lead_span_proportion"] or 0) == 1.0


def is_policy(runs):
    return next(iter(runs.values()))["kind"] == "distilled" and not is_whole(runs)


def policy_named(name, all_groups, path):
    """This name, which must be that of a policy."""
    policies = sorted(group for group, runs in all_groups.items() if is_policy(runs))
    if name in policies:
        return name
    names = ", ".join(get_close_matches(name, policies) or policies) or "none"
    if name in all_groups:
        sys.exit(f"error: {name} in {path} is no policy, which has distilled runs on parts of sequences: give one of {names}")
    sys.exit(f"error: {path} has no finished and evaluated runs of {name}: give one of {names}")


def winner(all_groups):
    """The candidate with the highest accuracy or, of those within a point of it, with the fewest operations; `None` without any."""
    most = MOST_OPERATIONS * operations(all_groups[REFERENCE])
    candidates = {name: runs for name, runs in all_groups.items() if is_policy(runs) and operations(runs) <= most}
    best = max((mean(accuracies(runs)) for runs in candidates.values()), default=None)
    near = [name for name, runs in candidates.items() if mean(accuracies(runs)) >= best - SAME_ACCURACY]
    return min(near, key=lambda name: operations(candidates[name]), default=None)


def rival(all_groups, name):
    """Of the groups on whole sequences with at most as many operations, the one with the highest accuracy.

    The policy's own equal-compute runs are among them, though a short run's last step may take them over the limit.
    """
    most = SAME_OPERATIONS * operations(all_groups[name])
    whole = [other for other, runs in all_groups.items() if other != name and is_whole(runs)
             and (operations(runs) <= most or other == f"equal_compute-{name}")]
    return max(whole, key=lambda other: mean(accuracies(all_groups[other])), default=None)


def shown(numbers):
    return "{:6.1f} % ({:.1f} to {:.1f})".format(*(100 * number for number in numbers))


B2, B3 = "proportion-0.5-replay-share-0.0", "proportion-0.25-replay-share-0.0"
C1 = "lead_span-mixture-0.25_0.5+1.0_0.5-replay-share-0.0"
C2 = "lead_span-mixture-0.25_0.75+1.0_0.25-replay-share-0.0"
C3 = "lead_span-mixture-0.5_0.75+1.0_0.25-replay-share-0.0"
# The differences that the hypotheses or the text are about.
DIFFERENCES = {
    "H2 A2 − whole sequences at equal compute": ("proportion-0.5", "equal_compute-proportion-0.5"),
    "H3 C2 − B2": (C2, B2),
    "   C2 − B3": (C2, B3),
    "   C3 − B2": (C3, B2),
    "   C4 − C2": (f"{C2}-epochs-5", C2),
    **{
        f"H4 {cases}": (f"proportion-{proportion}", f"proportion-{proportion}-replay-share-0.0")
        for cases, proportion in [("A2 − B2", "0.5"), ("A3 − B3", "0.25"), ("A4 − B4", "0.75"), ("A1 − B1", "1.0")]
    },
    "H5 E4 − C1": (f"{C1}-position_weights-rising", C1),
    "H5 E5 − C1": (f"{C1}-position_weights-falling", C1),
    "H6 E1 − C1": (f"{C1}-positions-teacher_entropy-0.5", C1),
    "H6 E2 − C1": (f"{C1}-positions-student_entropy-0.2", C1),
    "   E3 − C1": (f"{C1}-positions-disagreement-0.2", C1),
    "H7 D1 − C1": ("lead_span-growing-0.25+1.0-replay-share-0.0", C1),
    "H8 B1 − supervised": ("proportion-1.0-replay-share-0.0", "supervised"),
    "H8 A2 − F2": ("proportion-0.5", "proportion-0.5-distillation_weight-0.0"),
    "H9 P1 − A2": ("lead_span-column-response", "proportion-0.5"),
}


def difference(one, other):
    """Accuracies of one group less those of another, seed by seed, in points."""
    points = student([100 * (float(one[seed]["accuracy"]) - float(other[seed]["accuracy"])) for seed in one if seed in other])
    return "{:+6.1f} points ({:+.1f} to {:+.1f})".format(*points)


def main(path, confirmed=None):
    found = groups(path)
    name = policy_named(confirmed, found, path) if confirmed is not None else winner(found)
    reference = found[REFERENCE]
    for group, runs in sorted(found.items(), key=lambda item: (item[0].startswith("equal_compute"), operations(item[1]))):
        share = retained(runs, reference) if group != "untrained" else (float("nan"),) * 3
        print(f"{operations(runs) / 1e12:5.2f} TFLOP {shown(accuracy_interval(runs)):26} retained {shown(share):26} {len(runs)} {group}")
    print("\nEach case less whole sequences at equal compute:")
    for group in sorted(group for group in found if f"equal_compute-{group}" in found):
        print(f"{difference(found[group], found[f'equal_compute-{group}']):32} {group}")
    print()
    with_replay = any("replay" in name for name in found)
    for hypothesis, (one, other) in DIFFERENCES.items():
        if with_replay and one in found and other in found:
            print(f"{difference(found[one], found[other]):32} {hypothesis}")
    if name is None:
        sys.exit(f"error: {path} has no candidate: no policy on parts of sequences takes at most half of the operations of {REFERENCE}")
    if f"equal_compute-{name}" not in found:
        print(f"note: {path} has no runs equal_compute-{name}, so the rival is the best of the others", file=sys.stderr)
    beaten = rival(found, name)
    own = accuracy_interval(found[name])
    tests = {
        "operations at most 50 %": operations(found[name]) <= MOST_OPERATIONS * operations(reference),
        "at least 94 % retained": retained(found[name], reference)[0] >= LEAST_RETAINED,
        "above its rival beyond both intervals": beaten is not None and own[1] > accuracy_interval(found[beaten])[2],
    }
    print(f"\n{'policy' if confirmed else 'winner'}: {name}\nrival: {beaten or 'none was run'}")
    for test, passed in tests.items():
        print(f"{'yes' if passed else 'no':4}{test}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
