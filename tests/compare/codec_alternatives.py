"""Measures the encodings that leadspan's codec was chosen among, on the positions of an exact export.

    leadspan cache export CACHE --out exact.parquet --allow-incomplete
    python codec_alternatives.py exact.parquet --top-k 32 64 128

CACHE is made with `cache.precision = "exact"` and `cache.top_k = 128`. Every alternative is written as a Parquet file at
zstd 3 and its whole size is divided by the positions; it is decoded from that file on one thread. KL is that of the
teacher's K + 1 outcomes against the decoded ones, whose entries are rescaled to the exact tail; the error is the 95th
percentile of the rarest quarter of each position's entries. leadspan's own figures come from
`cargo run --release -p leadspan-cache --example codec -- CACHE`.
"""

import argparse
import json
import pathlib
import tempfile
import time

import numpy
import pyarrow
import pyarrow.parquet


def read_positions(path):
    columns = ["token_ids", "logprobs", "tail_logprob"]
    table = pyarrow.parquet.read_table(path, columns=columns).combine_chunks()
    lists = [table[name].combine_chunks() for name in columns[:2]]
    ids, logprobs = (each.values.to_numpy().reshape(len(each), -1) for each in lists)
    return ids.astype(numpy.uint32), logprobs.astype(numpy.float64), table["tail_logprob"].to_numpy().astype(numpy.float64)


def truncate(ids, logprobs, tails, top_k):
    dropped = numpy.exp(logprobs[:, top_k:]).sum(axis=1)
    return ids[:, :top_k], logprobs[:, :top_k], numpy.log(numpy.exp(tails) + dropped)


def in_lists(array):
    offsets = numpy.arange(0, array.size + 1, array.shape[1], dtype=numpy.int32)
    return pyarrow.ListArray.from_arrays(pyarrow.array(offsets), pyarrow.array(numpy.ascontiguousarray(array).ravel()))


def byte_planes(array):
    """All first bytes, then all second bytes, and so on."""
    return numpy.ascontiguousarray(array).view(numpy.uint8).reshape(-1, array.dtype.itemsize).T.tobytes()


def from_planes(data, dtype, shape):
    planes = numpy.frombuffer(data, numpy.uint8).reshape(numpy.dtype(dtype).itemsize, -1)
    return numpy.ascontiguousarray(planes.T).view(dtype).reshape(shape)


class TypedLists:
    """One row a position, ids and values in list columns, split into byte planes by Parquet."""

    def write(self, path, ids, values):
        table = pyarrow.table({"ids": in_lists(ids), "values": in_lists(values)})
        plain = values.dtype.itemsize == 1
        encodings = {"ids.list.element": "BYTE_STREAM_SPLIT"}
        encodings["values.list.element"] = "PLAIN" if plain else "BYTE_STREAM_SPLIT"
        pyarrow.parquet.write_table(table, path, compression="zstd", compression_level=3, use_dictionary=False,
                                    write_statistics=False, column_encoding=encodings)

    def read(self, path, shape, id_type, value_type):
        table = pyarrow.parquet.read_table(path, use_threads=False).combine_chunks()
        return tuple(table[name].combine_chunks().values.to_numpy().reshape(shape) for name in ("ids", "values"))


class BinaryBlocks:
    """One row a block of positions, ids and values as byte planes in binary columns, a page a block if asked."""

    def __init__(self, block_positions, page_a_block):
        self.block_positions, self.page_a_block = block_positions, page_a_block

    def write(self, path, ids, values):
        starts = range(0, len(ids), self.block_positions)
        columns = {name: pyarrow.array([byte_planes(array[start:start + self.block_positions]) for start in starts],
                                       pyarrow.binary()) for name, array in (("ids", ids), ("values", values))}
        pages = {"data_page_size": 1, "write_batch_size": 1} if self.page_a_block else {}
        pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd", compression_level=3,
                                    use_dictionary=False, write_statistics=False, **pages)

    def read(self, path, shape, id_type, value_type):
        table = pyarrow.parquet.read_table(path, use_threads=False).combine_chunks()
        columns = []
        for name, dtype in (("ids", id_type), ("values", value_type)):
            blocks = [from_planes(block.as_py(), dtype, (-1, shape[1])) for block in table[name].combine_chunks()]
            columns.append(numpy.concatenate(blocks))
        return tuple(columns)


def numbering(ids):
    """The number of each id: by how often it occurs, most frequent first."""
    counts = numpy.bincount(ids.ravel())
    order = numpy.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    numbers = numpy.zeros(len(counts), numpy.uint32)
    numbers[order] = numpy.arange(len(order), dtype=numpy.uint32)
    return numbers, order.astype(numpy.uint32)


def deltas_in_runs(numbers, levels):
    """Numbers as they are where a run of equal levels begins, as differences inside it."""
    deltas = numbers.copy()
    inside = levels[:, 1:] == levels[:, :-1]
    deltas[:, 1:][inside] = (numbers[:, 1:] - numbers[:, :-1])[inside]
    return deltas


def from_deltas(deltas, levels):
    numbers = deltas.copy()
    for rank in range(1, deltas.shape[1]):
        inside = levels[:, rank] == levels[:, rank - 1]
        numbers[inside, rank] += numbers[inside, rank - 1]
    return numbers


def rank_order(value_type):
    def encode(ids, logprobs):
        return ids, logprobs.astype(value_type), None

    def decode(ids, values, _):
        return ids, values.astype(numpy.float64)

    return encode, decode


def id_order():
    """Sets: ids ascending and as differences, values beside them as f16."""

    def encode(ids, logprobs):
        order = numpy.argsort(ids, axis=1)
        ids = numpy.take_along_axis(ids, order, axis=1)
        deltas = numpy.diff(ids, axis=1, prepend=numpy.uint32(0)).astype(numpy.uint32)
        return deltas, numpy.take_along_axis(logprobs, order, axis=1).astype(numpy.float16), None

    def decode(deltas, values, _):
        return numpy.cumsum(deltas, axis=1, dtype=numpy.uint32), values.astype(numpy.float64)

    return encode, decode


def quantised(to_level, from_level, level_type):
    """Levels that fall with the probability, ids numbered by frequency, ordered by level and number, differences in runs."""

    def encode(ids, logprobs):
        numbers, order = numbering(ids)
        levels = to_level(logprobs)
        places = numpy.lexsort((numbers[ids], levels), axis=1)
        levels = numpy.take_along_axis(levels, places, axis=1)
        numbered = numpy.take_along_axis(numbers[ids], places, axis=1)
        # Values as differences from the entry before: small where runs are long.
        return deltas_in_runs(numbered, levels), numpy.diff(levels, axis=1, prepend=0).astype(level_type), order

    def decode(deltas, level_deltas, order):
        levels = numpy.cumsum(level_deltas, axis=1, dtype=numpy.int64)
        return order[from_deltas(deltas, levels)], from_level(levels)

    return encode, decode


def root(power, steps):
    floor = power * numpy.log(0.25 / steps)
    to_level = lambda logprobs: steps - numpy.rint(numpy.exp(logprobs / power) * steps).astype(numpy.int64)
    from_level = lambda levels: power * numpy.log(numpy.maximum(steps - levels, numpy.exp(floor / power) * steps) / steps)
    return quantised(to_level, from_level, numpy.uint16)


def log_steps(steps):
    to_level = lambda logprobs: numpy.rint(-logprobs * steps).astype(numpy.int64)
    return quantised(to_level, lambda levels: -levels / steps, numpy.uint16)


ALTERNATIVES = {
    "typed lists, rank order, u32 and f32": (TypedLists(), rank_order(numpy.float32)),
    "typed lists, rank order, u32 and f16": (TypedLists(), rank_order(numpy.float16)),
    "typed lists, id order, differences and f16": (TypedLists(), id_order()),
    "typed lists, log steps of 1/16, numbered": (TypedLists(), log_steps(16)),
    "typed lists, square root in 1/333, numbered": (TypedLists(), root(2, 333)),
    "typed lists, fourth root in 1/192, numbered": (TypedLists(), root(4, 192)),
    "binary rows of 1024, fourth root, numbered": (BinaryBlocks(1024, False), root(4, 192)),
    "binary rows of 16, one page, fourth root": (BinaryBlocks(16, False), root(4, 192)),
    "binary rows of 16, a page each, fourth root": (BinaryBlocks(16, True), root(4, 192)),
}


def measure(folder, layout, transform, ids, logprobs, tails):
    encode, decode = transform
    encoded_ids, values, order = encode(ids, logprobs)
    path = pathlib.Path(folder) / "alternative.parquet"
    layout.write(path, encoded_ids, values)
    table_bytes = 0 if order is None else len(pyarrow.compress(byte_planes(order), "zstd", asbytes=True))
    # The tail and the target of every alternative, as leadspan would store them without entropy coding.
    size = path.stat().st_size + table_bytes + 4 * len(ids)
    started = time.perf_counter()
    decoded = decode(*layout.read(path, ids.shape, encoded_ids.dtype, values.dtype), order)
    seconds = time.perf_counter() - started
    decoded_ids, decoded_logprobs = decoded
    masses = numpy.exp(decoded_logprobs).sum(axis=1)
    decoded_logprobs = decoded_logprobs + numpy.log1p(-numpy.exp(tails))[:, None] - numpy.log(masses)[:, None]
    by_id, by_decoded_id = numpy.argsort(ids, axis=1), numpy.argsort(decoded_ids, axis=1)
    assert (numpy.take_along_axis(ids, by_id, 1) == numpy.take_along_axis(decoded_ids, by_decoded_id, 1)).all()
    back = numpy.empty_like(decoded_logprobs)
    numpy.put_along_axis(back, by_id, numpy.take_along_axis(decoded_logprobs, by_decoded_id, 1), axis=1)
    divergence = (numpy.exp(logprobs) * (logprobs - back)).sum(axis=1)
    rare = numpy.abs(back - logprobs)[:, ids.shape[1] * 3 // 4:]
    return {"bytes_per_position": size / len(ids), "mean_kl": divergence.mean(),
            "p99_kl": numpy.quantile(divergence, 0.99), "p95_rare_error": numpy.quantile(rare, 0.95),
            "positions_per_second": len(ids) / seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=pathlib.Path)
    parser.add_argument("--top-k", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    positions = read_positions(arguments.export)
    results = []
    for top_k in arguments.top_k:
        for name, (layout, transform) in ALTERNATIVES.items():
            with tempfile.TemporaryDirectory() as folder:
                figures = measure(folder, layout, transform, *truncate(*positions, top_k))
            results.append({"top_k": top_k, "alternative": name, **figures})
    if arguments.json:
        print(json.dumps({"positions": len(positions[0]), "alternatives": results}))
        return
    print(f"{len(positions[0])} positions\n")
    print(f"{'k':>3}  {'alternative':<46} {'bytes':>6} {'mean KL':>9} {'99 % KL':>9} {'rare':>6} {'positions/s':>12}")
    for result in results:
        print(f"{result['top_k']:>3}  {result['alternative']:<46} {result['bytes_per_position']:>6.1f} "
              f"{result['mean_kl']:>9.1e} {result['p99_kl']:>9.1e} {result['p95_rare_error']:>6.3f} "
              f"{result['positions_per_second']:>12.0f}")


if __name__ == "__main__":
    main()
