"""Measures how fast samples are read: positions a second of `read_many` on one and on two threads, and of pure Python.

    python benchmark.py CACHE [--python-positions 2000]

The pure Python reader is `tests/compare/read_shards.py`, which needs pyarrow; without pyarrow it is left out. Each figure is the
best of three passes over all samples, after one that has mapped the shards.
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


def passes(threads):
    """The seconds of one pass, samples in groups as a trainer reads them."""
    began = time.perf_counter()
    for first in range(0, len(cache), 64):
        cache.read_many(range(first, min(first + 64, len(cache))), threads=threads)
    return time.perf_counter() - began


for threads in (1, 2):
    passes(threads)
    best = min(passes(threads) for _ in range(3))
    print(f"read_many, {threads} {'thread ' if threads == 1 else 'threads'}: {positions / best:12,.0f} positions/s")

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "compare"))
try:
    import read_shards
except ImportError as missing:
    sys.exit(f"pure Python: left out ({missing})")
began = time.perf_counter()
count = sum(1 for _ in itertools.islice(read_shards.read(given.cache), given.python_positions))
print(f"pure Python:          {count / (time.perf_counter() - began):12,.0f} positions/s, of the first {count}")
