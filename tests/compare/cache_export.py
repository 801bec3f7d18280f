"""Check that pyarrow, DuckDB and polars read a cache export, with the documented types and sound contents.

EXPORT is what `leadspan cache export` wrote. Exits with 1 and says what is wrong at the first fault.
"""

import argparse
import json
import sys
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

PYARROW_TYPES = {
    "sample_id": "string",
    "split": "string",
    "position": "uint32",
    "section": "string",
    "token_id": "uint32",
    "token_ids": "list<uint32>",
    "logprobs": "list<float>",
    "tail_logprob": "float",
    "target_logprob": "float",
}
DUCKDB_TYPES = {
    "string": "VARCHAR",
    "uint32": "UINTEGER",
    "float": "FLOAT",
    "list<uint32>": "UINTEGER[]",
    "list<float>": "FLOAT[]",
}
POLARS_TYPES = {
    "string": pl.String,
    "uint32": pl.UInt32,
    "float": pl.Float32,
    "list<uint32>": pl.List(pl.UInt32),
    "list<float>": pl.List(pl.Float32),
}
SECTIONS = ["prompt", "chain_of_thought", "answer"]
SPLITS = ["train", "validation"]
# Sums of exponentials of f32 log-probabilities; a lossy codec of the shards shows here too.
MASS_TOLERANCE = 1e-3
ORDER_TOLERANCE = 1e-5
# On what scale entries and targets are compared, and how far they may be apart, by the cache's precision: `standard` rounds
# fourth roots of entries to 1/192 and then rescales them all, `fine` their logarithms to 1/64; targets are more exact.
PRECISIONS = {
    "exact": (lambda logprob: logprob, MASS_TOLERANCE),
    "fine": (lambda logprob: logprob, 1 / 60 + MASS_TOLERANCE),
    "standard": (lambda logprob: np.exp(logprob / 4), 1 / 384 + 4e-3),
}

# Sample id, split, position, index of the section.
Row = tuple[str, str, int, int]


def require(condition: bool | np.bool_, fault: str) -> None:
    """End the program with `fault` unless the condition holds."""
    if not condition:
        sys.exit(f"error: {fault}")


def spelt(kind: pa.DataType) -> str:
    """A type's name without its list's field name, which writers choose freely."""
    return f"list<{kind.value_type}>" if pa.types.is_list(kind) else str(kind)


def check_rows(batch: pa.RecordBatch, previous: Row | None, precision: str) -> Row | None:
    """Check one batch's rows; `previous` is the row before them, and the last row is returned."""
    for name in PYARROW_TYPES:
        require(batch[name].null_count == 0, f"column `{name}` has nulls")
    ids, logprobs = batch["token_ids"], batch["logprobs"]
    counts = ids.value_lengths().to_numpy()
    require(np.array_equal(counts, logprobs.value_lengths().to_numpy()), "`token_ids` and `logprobs` differ in length")
    require((counts > 0).all(), "a position has no entries")

    rows = np.repeat(np.arange(len(counts)), counts)
    token_ids, entry_logprobs = ids.flatten().to_numpy(), logprobs.flatten().to_numpy()
    tail, target_logprob = batch["tail_logprob"].to_numpy(), batch["target_logprob"].to_numpy()
    require(np.isfinite(entry_logprobs).all() and (entry_logprobs <= 0).all(), "an entry is not a log-probability")
    require(np.isfinite(target_logprob).all() and (target_logprob <= 0).all(), "a target has no log-probability")
    require(not np.isnan(tail).any() and (tail <= 0).all(), "a tail is not a log-probability")
    within = rows[1:] == rows[:-1]
    require((np.diff(entry_logprobs)[within] <= ORDER_TOLERANCE).all(), "entries are not most probable first")
    require(len(np.unique(rows.astype(np.int64) << 32 | token_ids)) == len(rows), "a position has a token twice")
    mass = np.bincount(rows, np.exp(entry_logprobs, dtype=np.float64)) + np.exp(tail, dtype=np.float64)
    require((np.abs(mass - 1) <= MASS_TOLERANCE).all(), f"entries and tail sum to {mass[np.abs(mass - 1).argmax()]}")

    is_target = token_ids == batch["token_id"].to_numpy()[rows]
    stored = np.zeros(len(counts), bool)
    stored[rows[is_target]] = True
    scale, tolerance = PRECISIONS[precision]
    gap = np.abs(scale(entry_logprobs[is_target]) - scale(target_logprob[rows[is_target]]))
    require((gap <= tolerance).all(), "a target's log-probability differs from its entry's")
    last = entry_logprobs[np.cumsum(counts) - 1]
    bound = scale(np.minimum(last, tail)) + tolerance
    require((scale(target_logprob) <= bound)[~stored].all(), "a target outside the entries is more probable than they allow")

    for sample, split, position, section in zip(
        *(batch[name].to_pylist() for name in ("sample_id", "split", "position", "section")), strict=True
    ):
        require(split in SPLITS, f"sample `{sample}` has the split `{split}`")
        require(section in SECTIONS, f"sample `{sample}` has the section `{section}`")
        row = (sample, split, position, SECTIONS.index(section))
        if previous is not None and previous[0] == sample:
            require(previous[1] == split, f"sample `{sample}` is in two splits")
            require(previous[2] < position, f"sample `{sample}`: positions do not ascend at {position}")
            require(previous[3] <= row[3], f"sample `{sample}`: sections go back at position {position}")
        previous = row
    return previous


def pyarrow_totals(file: pq.ParquetFile) -> tuple[int, ...]:
    """Rows, distinct samples, and the sums of positions, targets, entry counts and entry ids."""
    samples: set[str] = set()
    totals = np.zeros(5, np.uint64)
    for batch in file.iter_batches(columns=["sample_id", "position", "token_id", "token_ids"]):
        samples.update(batch["sample_id"].unique().to_pylist())
        entries = batch["token_ids"].flatten().to_numpy()
        position, token_id = batch["position"].to_numpy(), batch["token_id"].to_numpy()
        sums = [len(position), position.sum(), token_id.sum(), len(entries), entries.sum()]
        totals += np.array(sums, np.uint64)
    return (totals[0], len(samples), *totals[1:])


def main() -> None:
    """Parse the argument, run every check, and print what was read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="the Parquet file")
    parser.add_argument("--precision", choices=PRECISIONS, default="standard", help="the cache's (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    path = arguments.export

    file = pq.ParquetFile(path)
    found = {column.name: spelt(column.type) for column in file.schema_arrow}
    require(found == PYARROW_TYPES, f"pyarrow sees the columns {found}, expected {PYARROW_TYPES}")
    previous = None
    for batch in file.iter_batches(batch_size=16384):
        previous = check_rows(batch, previous, arguments.precision)

    relation = duckdb.read_parquet(str(path))
    found = dict(zip(relation.columns, map(str, relation.types), strict=True))
    expected = {name: DUCKDB_TYPES[kind] for name, kind in PYARROW_TYPES.items()}
    require(found == expected, f"DuckDB sees the columns {found}, expected {expected}")

    frame = pl.scan_parquet(path)
    found = dict(frame.collect_schema())
    expected = {name: POLARS_TYPES[kind] for name, kind in PYARROW_TYPES.items()}
    require(found == expected, f"polars sees the columns {found}, expected {expected}")

    totals = {
        "pyarrow": pyarrow_totals(file),
        "duckdb": relation.aggregate(
            "count(*), count(DISTINCT sample_id), sum(position), sum(token_id), sum(len(token_ids)),"
            " sum(list_sum(token_ids))"
        ).fetchall()[0],
        "polars": frame.select(
            pl.len(),
            pl.col("sample_id").n_unique(),
            pl.col("position").cast(pl.Int64).sum(),
            pl.col("token_id").cast(pl.Int64).sum(),
            pl.col("token_ids").list.len().cast(pl.Int64).sum().alias("entries"),
            pl.col("token_ids").list.eval(pl.element().cast(pl.Int64)).list.sum().sum().alias("entry_ids"),
        )
        .collect()
        .row(0),
    }
    totals = {reader: tuple(int(value or 0) for value in values) for reader, values in totals.items()}
    require(len(set(totals.values())) == 1, f"the readers disagree: {totals}")
    positions, samples, _, _, entries, _ = totals["pyarrow"]
    result = {"positions": positions, "samples": samples, "entries": entries, "bytes": path.stat().st_size}
    if arguments.json:
        print(json.dumps(result))
    else:
        print(", ".join(f"{value} {name}" for name, value in result.items()))
        print("pyarrow, DuckDB and polars agree; types and contents are as documented")


if __name__ == "__main__":
    main()
