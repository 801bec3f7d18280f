"""Measures how fast samples are read: positions a second of `read_many` on one and on two threads, and of pure Python.

    python/tests/benchmark.py CACHE [--python-positions 2000]

The pure Python reader is `tests/compare/read_shards.py`, which needs pyarrow; without pyarrow it is left out. Each figure is the
best of ten passes over all samples, after one that has mapped the shards. Figures per second of processor time, of all threads
together, hold on a machine that does something else as well.
"""

import argparse
import itertools
import pathlib
import sys
import time

import leadspan

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("cache")
parser.add_argument("--python-positions", type=int, default=2000, help="how many positions the pure Python reader reads")
given = parser.parse_args()

cache = leadspan.Cache(given.cache)
positions = int(cache.position_counts().sum())
print(f"{len(cache)} samples, {positions} positions, at most {cache.top_k} entries a position")


def measured(work):
    """The seconds and the seconds of processor time that some work takes, and its result."""
    clocks = time.perf_counter, time.process_time
    began = [clock() for clock in clocks]
    result = work()
    return *(clock() - before for clock, before in zip(clocks, began)), result


def read(threads):
    """One pass, samples in groups as a trainer reads them."""
    for first in range(0, len(cache), 64):
        cache.read_many(range(first, min(first + 64, len(cache))), threads=threads)


def show(name, count, seconds, processor):
    print(f"{name:22} {count / seconds:12,.0f} positions/s, {count / processor:12,.0f} per second of processor time")


for threads in (1, 2):
    read(threads)
    passes = [measured(lambda: read(threads)) for _ in range(10)]
    show(f"read_many, {threads} thread(s)", positions, min(one[0] for one in passes), min(one[1] for one in passes))

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "compare"))
try:
    import read_shards
except ImportError as missing:
    sys.exit(f"pure Python: left out ({missing})")
pure = itertools.islice(read_shards.read(given.cache), given.python_positions)
seconds, processor, count = measured(lambda: sum(1 for _ in pure))
show("pure Python", count, seconds, processor)
