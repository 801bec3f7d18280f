"""Compare what `read_shards.py` decodes from a cache's shards with a `leadspan cache export` of it, value by value.

Ids, positions, sections' targets and the number of entries must be equal; log-probabilities may differ by two units in the
last place of a float32, since decoding rescales entries with a sum of exponentials. Exits with 1 at the first fault.
`--expected FILE` writes what was decoded as JSON lines instead, which is how the golden caches' expectations were made.
"""

import argparse
import json
import math
import sys
import time

import numpy as np
import pyarrow.parquet as pq
from read_shards import read

VALUES = [("tail", "tail_logprob"), ("target", "target_logprob")]


def rounded(value: float) -> float | None:
    """More digits than a float32 has; JSON has no infinities, so what is absent is null."""
    return None if math.isinf(value) else float(f"{value:.9g}")


def write_expected(cache: str, out: str) -> None:
    """One line a stored position, in the order of samples and positions."""
    rows = sorted(
        ({"sample_id": sample["sample_id"], "position": position, **stored} for sample, position, stored in read(cache)),
        key=lambda row: (row["sample_id"], row["position"]),
    )
    with open(out, "w") as file:
        for row in rows:
            for name in ["tail", "target"]:
                row[name] = rounded(row[name])
            for name in ["logprobs", "temperature_tails"]:
                row[name] = [rounded(value) for value in row[name]]
            file.write(json.dumps(row, separators=(",", ":")) + "\n")
    print(f"wrote {len(rows)} positions to {out}")


def compare(cache: str, export: str, limit: int | None) -> int:
    """Compares position by position; returns how many there were."""
    table = pq.read_table(export)
    keys = zip(table["sample_id"].to_pylist(), table["position"].to_pylist())
    places = {key: place for place, key in enumerate(keys)}
    ids = table["token_ids"].combine_chunks()
    logprobs = table["logprobs"].combine_chunks()
    offsets, ids, logprobs = ids.offsets.to_numpy(), ids.values.to_numpy(), logprobs.values.to_numpy()
    targets, floats = table["token_id"].to_numpy(), {name: table[name].to_numpy() for _, name in VALUES}
    compared = 0
    for sample, position, stored in read(cache):
        where = f"sample {sample['sample_id']}, position {position}"
        place = places.pop((sample["sample_id"], position), None)
        if place is None:
            sys.exit(f"error: {where} is in a shard but not in the export")
        if sample["tokens"][position + 1] != targets[place]:
            sys.exit(f"error: {where}: the target differs")
        row = slice(offsets[place], offsets[place + 1])
        if stored["token_ids"] != ids[row].tolist():
            sys.exit(f"error: {where}: entries differ")
        found = np.float32([*stored["logprobs"], *(stored[name] for name, _ in VALUES)])
        expected = np.append(logprobs[row], [floats[name][place] for _, name in VALUES])
        equal = (found == expected) | (np.abs(found - expected) <= 2 * np.spacing(np.abs(expected)))
        if not equal.all():
            sys.exit(f"error: {where}: {found[~equal]} decoded, {expected[~equal]} exported")
        compared += 1
        if compared == limit:
            return compared
    if places:
        sys.exit(f"error: {len(places)} positions are in the export but in no shard")
    return compared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", help="the cache's folder")
    parser.add_argument("export", nargs="?", help="what `leadspan cache export` wrote of it")
    parser.add_argument("--positions", type=int, help="stop after so many (Python decodes about 2,000 a second)")
    parser.add_argument("--expected", metavar="FILE", help="write what is decoded to FILE instead of comparing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if arguments.expected:
        return write_expected(arguments.cache, arguments.expected)
    if not arguments.export:
        parser.error("an export to compare with, or --expected")
    started = time.perf_counter()
    compared = compare(arguments.cache, arguments.export, arguments.positions)
    seconds = time.perf_counter() - started
    if arguments.json:
        print(json.dumps({"positions": compared, "seconds": round(seconds, 2)}))
    else:
        print(f"{compared} positions agree ({compared / seconds:.0f} a second)")


if __name__ == "__main__":
    main()
