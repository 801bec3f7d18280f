"""Prints of a table of runs what `analyse.py` leaves out: held-out divergence, time and memory of every group of runs.

    losses.py RUNS.csv

The divergence is the forward KL from the teacher in nats, the mean over seeds with Student's interval; then each case less whole sequences at
equal compute, seed by seed. The time is that of the steps of seed 0, the memory the largest peak.
"""

import sys

import analyse


def divergence(run):
    return float(run["held_out_forward_kl"] or run["held_out_forward_kl_before"])


def main(path):
    found = analyse.groups(path)
    for name, runs in sorted(found.items()):
        kl = "{:.3f} nats ({:.3f} to {:.3f})".format(*analyse.student([divergence(run) for run in runs.values()]))
        first = runs.get("0", {})
        seconds, memory = float(first.get("seconds") or "nan"), max(float(run["peak_memory_bytes"] or "nan") for run in runs.values())
        print(f"{kl:32} {seconds:5.0f} s {memory / 2**30:5.1f} GiB  {name}")
    print("\nEach case less whole sequences at equal compute:")
    for name, runs in sorted(found.items()):
        if whole := found.get(f"equal_compute-{name}"):
            differences = [divergence(runs[seed]) - divergence(whole[seed]) for seed in runs if seed in whole]
            print("{:+.3f} nats ({:+.3f} to {:+.3f})  {}".format(*analyse.student(differences), name))


if __name__ == "__main__":
    main(*sys.argv[1:])
