"""Measures DistillKit's layout of captured teacher distributions on the positions of an exact export.

    leadspan cache export CACHE --out exact.parquet --allow-incomplete
    python distillkit_layout.py exact.parquet --top-k 32 64 128

CACHE is made with `cache.precision = "exact"` and `cache.top_k = 128`. EXPORT may also be several files or
directories of them; only `token_ids`, `logprobs` and `tail_logprob` are read. The layout is that of
github.com/arcee-ai/DistillKit (its v1.0 of December 2025; config.py, monotonic_logprobs.py and bitpack.py of
distillkit/compression, and sample_common.py) with the settings its README recommends: the 16 most probable
log-probabilities in bf16; the others as a least-squares fit by 1, t, t^2, t^3, t^4 and sqrt(t), t = 0, 1, ... the
rank after the exact ones, with six f32 coefficients, no delta coding and no residuals; ids of ceil(log2(vocabulary))
bits, the highest bit first. That is 344 bytes a position at k = 128 and 18 bits. The README's smaller settings, 127
bytes at 18 bits, are `--top-k 50 --exact 1 --terms 0 1 sqrt`.

As its writer does, a row holds a sample, in two columns of lists of lists of uint8, written by pyarrow's defaults:
snappy and dictionaries. Where DistillKit leaves a choice, or its choice depends on the machine, the one in its favour
is taken:

- The least squares are solved in float64. DistillKit takes an SVD of the unscaled terms in float32, where t^4 leaves
  the smallest singular values below the rounding; what that costs depends on the library, and grows with k. `--torch`
  solves that way, with the PyTorch at hand; `--normalized` scales t to 1 and avoids it.
- Every row is full, 1024 positions, the capture script's default length; all row groups share a file; the column
  `input_ids`, the text's own tokens, is left out.
- The bits are those of the vocabulary, without the token that the capture script adds to it.

DistillKit stores no tail: it is what the decoded probabilities leave of one, or 1e-12 where they exceed one, and they
are then scaled down. KL is that of the teacher's K + 1 outcomes against the decoded ones, in nats; beside it, the KL
if the tail were stored exactly and the entries rescaled to it, as in codec_alternatives.py. Errors are of
log-probabilities as decoded, before any scaling; the rare ones are the rarest quarter of each position's entries.
Everything is decoded from the file; exits with 1 if an id does not come back.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import numpy
import pyarrow
import pyarrow.parquet

ROW_POSITIONS = 1024  # The default length of a captured sample.
GROUP_ROWS = 1000  # The rows DistillKit's writer gathers before it writes.
BLOCK_POSITIONS = 8192  # What this script holds in bits and float64 at once.
SINGULAR_TOLERANCE = 1e-5
SMALLEST_TAIL = 1e-12
BYTE_LISTS = pyarrow.list_(pyarrow.list_(pyarrow.uint8()))
SCHEMA = pyarrow.schema({"compressed_logprobs": BYTE_LISTS, "bytepacked_indices": BYTE_LISTS})


def read_positions(paths, least):
    """Ids, log-probabilities and tails of all positions; lists shorter than the longest are filled with -inf."""
    files = [file for path in paths for file in (sorted(path.glob("*.parquet")) if path.is_dir() else [path])]
    if not files:
        sys.exit("error: no Parquet file")
    columns = ["token_ids", "logprobs", "tail_logprob"]
    table = pyarrow.concat_tables([pyarrow.parquet.read_table(file, columns=columns) for file in files])
    ids, logprobs, tails = (table[name].combine_chunks() for name in columns)
    counts = ids.value_lengths().to_numpy()
    if len(counts) == 0 or counts.min() < least:
        sys.exit(f"error: a position has fewer than {least} entries, or there is none")
    if not numpy.array_equal(counts, logprobs.value_lengths().to_numpy()):
        sys.exit("error: `token_ids` and `logprobs` differ in length")
    stored = numpy.arange(counts.max()) < counts[:, None]
    filled = numpy.zeros(stored.shape, numpy.uint32), numpy.full(stored.shape, -numpy.inf, numpy.float32)
    for array, lists in zip(filled, (ids, logprobs), strict=True):
        array[stored] = lists.flatten().to_numpy()
    return *filled, tails.to_numpy()


def truncate(ids, logprobs, tails, top_k):
    """The first `top_k` entries; the others' mass goes to the tail."""
    dropped = logprobs[:, top_k:]
    masses = numpy.exp(dropped, dtype=numpy.float64).sum(axis=1)
    with numpy.errstate(divide="ignore"):
        tails = numpy.logaddexp(tails.astype(numpy.float64), numpy.log(masses))
    return ids[:, :top_k], logprobs[:, :top_k], tails


def blocks(count):
    return [slice(start, start + BLOCK_POSITIONS) for start in range(0, count, BLOCK_POSITIONS)]


def pack(ids, bits):
    """Each row's lowest `bits` bits of every id, highest first, ended by zeros to a whole byte."""
    wide = numpy.unpackbits(numpy.ascontiguousarray(ids, ">u4").view(numpy.uint8), axis=1)
    return numpy.packbits(wide.reshape(*ids.shape, 32)[:, :, 32 - bits:].reshape(len(ids), -1), axis=1)


def unpack(packed, bits, top_k):
    wide = numpy.zeros((len(packed), top_k, 32), numpy.uint8)
    wide[:, :, 32 - bits:] = numpy.unpackbits(packed, axis=1, count=top_k * bits).reshape(-1, top_k, bits)
    return numpy.packbits(wide.reshape(len(packed), -1), axis=1).view(">u4").astype(numpy.uint32)


def to_bfloat16(values):
    bits = numpy.ascontiguousarray(values, "<f4").view("<u4")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def from_bfloat16(halves):
    return (halves.astype("<u4") << 16).view("<f4")


class Layout:
    """DistillKit's encoding of `top_k` log-probabilities, most probable first, and of their ids."""

    def __init__(self, top_k, bits, exact, terms, normalized, with_torch):
        self.top_k, self.bits, self.exact, self.with_torch = top_k, bits, min(exact, top_k), with_torch
        count = top_k - self.exact
        ranks = numpy.linspace(0, 1, count, dtype="f4") if normalized else numpy.arange(count, dtype="f4")
        powers = [getattr(numpy, term)(ranks) if isinstance(term, str) else ranks**term for term in terms if count]
        self.terms = numpy.stack(powers) if powers else numpy.zeros((0, count), "f4")

    def coefficients(self, values):
        if len(self.terms) == 0:
            return numpy.zeros((len(values), 0), "<f4")
        if self.with_torch:
            import torch

            left, singular, right = torch.linalg.svd(torch.from_numpy(self.terms.T.copy()), full_matrices=False)
            inverse = torch.where(singular > SINGULAR_TOLERANCE, 1 / singular, torch.zeros_like(singular))
            projected = left.T @ torch.from_numpy(values.T.copy())
            return (right.T @ (inverse[:, None] * projected)).numpy().T.astype("<f4")
        left, singular, right = numpy.linalg.svd(self.terms.T.astype(numpy.float64), full_matrices=False)
        kept = singular > SINGULAR_TOLERANCE
        projected = values.astype(numpy.float64) @ left[:, kept]
        return (projected / singular[kept] @ right[kept]).astype("<f4")

    def encode(self, ids, logprobs):
        """Two arrays of bytes, a row a position: log-probabilities and ids."""
        exact = to_bfloat16(logprobs[:, : self.exact])
        coefficients = self.coefficients(logprobs[:, self.exact :])
        parts = [numpy.ascontiguousarray(part).view(numpy.uint8) for part in (exact, coefficients) if part.size]
        return numpy.concatenate(parts, axis=1), pack(ids, self.bits)

    def decode(self, logprob_bytes, id_bytes):
        exact, coefficients = numpy.split(logprob_bytes, [2 * self.exact], axis=1)
        parts = []
        if self.exact:
            parts.append(from_bfloat16(numpy.ascontiguousarray(exact).view("<u2")))
        if len(self.terms):
            parts.append(numpy.ascontiguousarray(coefficients).view("<f4") @ self.terms)
        return unpack(id_bytes, self.bits, self.top_k), numpy.concatenate(parts, axis=1)


def in_lists(array):
    """A list of bytes for each of the array's rows, in lists of ROW_POSITIONS."""
    starts = numpy.arange(0, array.size + 1, array.shape[1], dtype=numpy.int32)
    row_starts = numpy.append(numpy.arange(0, len(array), ROW_POSITIONS), len(array)).astype(numpy.int32)
    positions = pyarrow.ListArray.from_arrays(pyarrow.array(starts), pyarrow.array(array.ravel()))
    return pyarrow.ListArray.from_arrays(pyarrow.array(row_starts), positions)


def write(path, arrays):
    with pyarrow.parquet.ParquetWriter(path, SCHEMA) as writer:
        for start in range(0, len(arrays[0]), ROW_POSITIONS * GROUP_ROWS):
            group = [in_lists(array[start : start + ROW_POSITIONS * GROUP_ROWS]) for array in arrays]
            writer.write_table(pyarrow.Table.from_arrays(group, schema=SCHEMA))


def read(path, positions):
    table = pyarrow.parquet.read_table(path)
    chunks = ([chunk.flatten().flatten().to_numpy() for chunk in column.chunks] for column in table.columns)
    return tuple(numpy.concatenate(column).reshape(positions, -1) for column in chunks)


def divergences(logprobs, tails, decoded):
    """Of each position: KL with the tail that is left, KL with the exact tail, and whether the entries exceed one."""
    entries, tails = logprobs.astype(numpy.float64), tails.astype(numpy.float64)
    total = numpy.log(numpy.exp(entries).sum(axis=1) + numpy.exp(tails))
    entries, tails = entries - total[:, None], tails - total
    decoded = decoded.astype(numpy.float64)
    mass = numpy.exp(decoded).sum(axis=1)
    left = numpy.maximum(1 - mass, SMALLEST_TAIL)
    probabilities, tail_mass = numpy.exp(entries), numpy.exp(tails)
    of_entries = (probabilities * (entries - decoded)).sum(axis=1)
    entry_mass = probabilities.sum(axis=1)
    of_tail = tail_mass * numpy.where(tail_mass > 0, tails - numpy.log(left), 0)
    with_left = of_entries - entry_mass * numpy.log((1 - left) / mass) + of_tail
    with_exact = of_entries - entry_mass * numpy.log(entry_mass / mass)
    return with_left, with_exact, mass > 1


def measure(folder, layout, ids, logprobs, tails):
    encoded = [layout.encode(ids[block], logprobs[block]) for block in blocks(len(ids))]
    path = pathlib.Path(folder) / "layout.parquet"
    write(path, [numpy.concatenate(column) for column in zip(*encoded, strict=True)])
    stored = read(path, len(ids))
    per_position, errors = [], []
    for block in blocks(len(ids)):
        decoded_ids, decoded = layout.decode(*(column[block] for column in stored))
        if not numpy.array_equal(decoded_ids, ids[block]):
            sys.exit("error: an id does not come back")
        per_position.append(divergences(logprobs[block], tails[block], decoded))
        errors.append(numpy.abs(decoded - logprobs[block]))
    divergence, with_exact_tail, exceeds = (numpy.concatenate(column) for column in zip(*per_position, strict=True))
    errors = numpy.concatenate(errors)
    rare = errors[:, layout.top_k * 3 // 4 :]
    return {
        "bytes_per_position": path.stat().st_size / len(ids),
        "packed_bytes": sum(column.shape[1] for column in stored),
        "mean_kl": float(divergence.mean()),
        "p99_kl": float(numpy.quantile(divergence, 0.99)),
        "mean_kl_exact_tail": float(with_exact_tail.mean()),
        "p99_kl_exact_tail": float(numpy.quantile(with_exact_tail, 0.99)),
        "p95_error": float(numpy.quantile(errors, 0.95)),
        "max_error": float(errors.max()),
        "p95_rare_error": float(numpy.quantile(rare, 0.95)),
        "max_rare_error": float(rare.max()),
        "share_above_one": float(exceeds.mean()),
    }


def term(text):
    return text if text in ("sqrt", "exp") else int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=pathlib.Path, nargs="+", help="Parquet files, or directories of them")
    parser.add_argument("--top-k", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--vocabulary", type=int, help="tokens of the vocabulary; without it, the largest id plus one")
    parser.add_argument("--exact", type=int, default=16, help="entries stored in bf16 (`exact_k`)")
    parser.add_argument("--terms", type=term, nargs="+", default=[0, 1, 2, 3, 4, "sqrt"],
                        help="powers, `sqrt` or `exp` (`polynomial_terms`)")
    parser.add_argument("--normalized", action="store_true", help="ranks from 0 to 1 (`normalize_t`)")
    parser.add_argument("--torch", action="store_true", help="solve in float32 with PyTorch, as DistillKit does")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    positions = read_positions(arguments.export, max(arguments.top_k))
    largest = int(positions[0].max())
    vocabulary = arguments.vocabulary or largest + 1
    if vocabulary <= largest:
        sys.exit(f"error: the id {largest} is not in a vocabulary of {vocabulary}")
    bits = max(1, (vocabulary - 1).bit_length())
    results = []
    for top_k in arguments.top_k:
        layout = Layout(top_k, bits, arguments.exact, arguments.terms, arguments.normalized, arguments.torch)
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(folder, layout, *truncate(*positions, top_k))
        results.append({"top_k": top_k, **figures})
    if arguments.json:
        settings = {"exact": arguments.exact, "terms": arguments.terms, "normalized": arguments.normalized,
                    "solver": "torch float32" if arguments.torch else "numpy float64"}
        print(json.dumps({"positions": len(positions[0]), "vocabulary": vocabulary, "id_bits": bits, **settings,
                          "layouts": results}))
        return
    print(f"{len(positions[0])} positions, vocabulary {vocabulary}, {bits} bits an id\n")
    print("                      own tail            exact tail          error         rare error     above")
    print("  k  bytes packed   mean KL   99 % KL   mean KL   99 % KL   95 %     max    95 %     max     one")
    for result in results:
        print(f"{result['top_k']:>3} {result['bytes_per_position']:>6.1f} {result['packed_bytes']:>6} "
              f"{result['mean_kl']:>9.1e} {result['p99_kl']:>9.1e} "
              f"{result['mean_kl_exact_tail']:>9.1e} {result['p99_kl_exact_tail']:>9.1e} "
              f"{result['p95_error']:>6.3f} {result['max_error']:>7.3f} "
              f"{result['p95_rare_error']:>7.3f} {result['max_rare_error']:>7.3f} {result['share_above_one']:>7.1%}")


if __name__ == "__main__":
    main()
