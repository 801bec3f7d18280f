"""Decodes a cache's shards as docs/format.md says, independently of leadspan."""
import json, math, zlib
from bisect import bisect_right
from fractions import Fraction
from itertools import accumulate, groupby
from pathlib import Path
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

def log2(value): return min(7, value.bit_length() - 1)
def unzigzag(code): return -(code // 2) - 1 if code % 2 else code // 2
def key(code): return -float(np.uint32(code & 0x7FFFFFFF if code >> 31 else code ^ 0xFFFFFFFF).view(np.float32)) + 0.0

class Block:
    def __init__(self, stored, sums):
        assert zlib.crc32(stored[4:]) == int.from_bytes(stored[:4], "little"), "a block is damaged"
        self.coded, self.sums, self.bits = stored[4:], sums, int.from_bytes(stored[4:], "big")
        self.state, self.read, self.taken = int.from_bytes(stored[4:8], "little"), 4, 0

    def integer(self, context):
        sums, slot = self.sums[context], self.state % 4096
        token = bisect_right(sums, slot) - 1
        self.state = (sums[token + 1] - sums[token]) * (self.state // 4096) + slot - sums[token]
        if self.state < 1 << 16:
            self.read += 2
            self.state = self.state << 16 | int.from_bytes(self.coded[self.read - 2 : self.read], "little")
        width = (token - 16) // 4 + 2 if token >= 16 else 0
        self.taken += width
        return ((4 + token % 4) << width) + (self.bits >> self.taken - width & (1 << width) - 1) if width else token

def position(block, numbering, footer):
    stored, precision = footer["stored"], footer["precision"]
    exact, steps = precision == "exact", {"standard": 128, "fine": 1024, "exact": 1}[precision]
    def term(code): return key(code) if exact else unzigzag(code - 1) / steps if code else -math.inf
    ids, levels = [], list(accumulate(block.integer(1 + log2(rank + 1)) for rank in range(block.integer(0))))
    for left in (len(list(run)) for _, run in groupby(levels)):
        steps_up = [block.integer(9 + log2(left))] + [1 + block.integer(17 + log2(m)) for m in range(left - 1, 0, -1)]
        ids += sorted(numbering[number] for number in accumulate(steps_up))
    tail, target = term(block.integer(25)), block.integer(26)
    logprobs = [key(level) for level in levels]
    if not exact:
        raw = [4 * math.log(max(192 - v, 0.25) / 192) if precision == "standard" else -v / 64 for v in levels]
        shift = -np.logaddexp(0, tail) - (np.logaddexp.reduce(raw) if raw else 0)
        logprobs, tail = [min(0.0, float(value + shift)) for value in raw], float(-np.logaddexp(0, -tail))
    terms = [term(block.integer(30 + t)) for t in range(len(stored["temperatures"]))]
    count = range(block.integer(27) if stored["tail_samples"] else 0)
    numbers = list(accumulate(block.integer(28) + (place > 0) for place in count))
    return {
        "token_ids": ids, "logprobs": logprobs, "tail": tail, "target": key(target) if exact else -target / steps,
        "temperature_tails": terms, "drawn": sorted([numbering[number], 1 + block.integer(29)] for number in numbers),
    }

def positions_of(sample, bands):
    n, train = len(sample["tokens"]), sample["split"] == "train"
    edges = [0, sample["prompt_end"], sample["chain_of_thought_end"], n]
    for band in bands:
        low, high = (max(1, math.floor(n * Fraction(p))) if p else 0 for p in (band["above"], band["up_to"]))
        low, high = (low, high) if train else (0, 0 if low else n)
        place = ["prompt", "chain_of_thought", "answer"].index(band["section"])
        yield from range(max(1, low, edges[place]) - 1, min(high, edges[place + 1]) - 1)

def rows_of(description):
    """The rows of a part of the corpus, with their tokens."""
    name = description.name.removeprefix("prepared").removesuffix(".json")
    if json.loads(description.read_text())["format"] == 2:
        return pq.read_table(description.with_name(f"samples{name}.parquet")).to_pylist()
    rows = pa.ipc.open_file(description.with_name(f"samples{name}.arrow")).read_all().to_pylist()
    tokens = np.fromfile(description.with_name(f"tokens{name}.u32"), "<u4")
    for row, start in zip(rows, [0] + [row["tokens_end"] for row in rows]):
        row["tokens"] = tokens[start : row["tokens_end"]].tolist()
        assert zlib.crc32(tokens[start : row["tokens_end"]].tobytes()) == row["tokens_crc32"], "tokens are damaged"
    return rows

def read(cache):
    """Yields the sample's row, the position and what is stored of it, layer after layer."""
    parts = sorted(Path(cache, "corpus").glob("prepared*.json"), key=lambda path: (len(path.name), path.name))
    samples = [row for part in parts for row in rows_of(part)]
    for receipt in sorted(Path(cache, "layers").glob("*/*-*.json")):
        file, left = pq.ParquetFile(receipt.with_suffix(".parquet")), {}
        footer = json.loads(file.metadata.metadata[b"leadspan"])
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group).to_pylist()
            flat = iter(rows[0]["frequencies"])
            sums = [list(accumulate((next(flat) for _ in range(length)), initial=0)) for length in flat]
            for row in rows:
                sample, block = samples[row["sample"]], Block(row["block"], sums)
                positions = left.setdefault(row["sample"], list(positions_of(sample, footer["placement"]["layer"])))
                for _ in range(row["positions"]):
                    yield sample, positions.pop(0), position(block, rows[0]["numbering"], footer)
                ending = (block.state, block.read + -(-block.taken // 8))
                assert ending == (1 << 16, len(block.coded)), f"a block beside {receipt} holds something else"
