"""Compare exports and imports of caches with other programs' readers; `hub.sh` runs this and says what it does."""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
from read_shards import read

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures"
DISTILLKIT = ROOT / "crates/cache/tests/distillkit"
PIPELINE = """[teacher]
model = "teacher"
[data]
files = ["text.jsonl"]
format = "columns"
validation = 4
[cache]
dir = "cache"
top_k = 8
samples_per_shard = 10
"""
COLUMNS = ["sample_id", "split", "position", "section", "token_id", "token_ids", "logprobs", "tail_logprob", "target_logprob"]


def require(condition: bool, fault: str) -> None:
    """End the program with `fault` unless the condition holds."""
    if not condition:
        sys.exit(f"error: {fault}")


class Program:
    """The program under test, in a folder."""

    def __init__(self, path: str, folder: Path):
        self.path, self.folder = path, folder

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run([self.path, *arguments], cwd=self.folder, capture_output=True, text=True)
        require(done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}")
        return done.stdout


def stored(cache: Path) -> dict:
    """What a cache's shards hold, by sample and position."""
    return {(row["sample_id"], position): (row, found) for row, position, found in read(str(cache))}


def compare_rows(name: str, rows: list[dict], expected: dict) -> None:
    """Compare an export's rows with what the shards hold, value by value. Entries may differ in a float32's last places."""
    require(len(rows) == len(expected), f"{name}: {len(rows)} rows, but {len(expected)} positions")
    for row in rows:
        key = (row["sample_id"], row["position"])
        require(key in expected, f"{name}: {key} is not stored")
        sample, found = expected[key]
        require(row["split"] == sample["split"], f"{name}: {key}: the split differs")
        require(row["token_id"] == sample["tokens"][row["position"] + 1], f"{name}: {key}: the target differs")
        require(list(row["token_ids"]) == list(found["token_ids"]), f"{name}: {key}: the ids differ")
        values = [*row["logprobs"], row["tail_logprob"], row["target_logprob"]]
        wanted = [*found["logprobs"], found["tail"], found["target"]]
        require(np.allclose(values, wanted, rtol=3e-7, atol=1e-7), f"{name}: {key}: {values} and {wanted}")
    print(f"{name}: {len(rows)} positions agree")


def compare_readers(out: Path, expected: dict) -> None:
    """Read the folder of an export with four programs."""
    kept = {"cache_dir": str(out.parent / "datasets")}
    loaded = datasets.load_dataset(str(out), **kept)
    require(set(loaded) == {"train", "validation"}, f"datasets sees the splits {set(loaded)}")
    rows = [row for split in loaded.values() for row in split]
    require(list(rows[0]) == COLUMNS, f"datasets sees the columns {list(rows[0])}")
    compare_rows("datasets", rows, expected)
    samples = datasets.load_dataset(str(out), "samples", **kept)
    tokens = {row["sample_id"]: row for split in samples.values() for row in split}
    for sample, _ in expected.values():
        row = tokens[sample["sample_id"]]
        ends = [row["prompt_end"], row["chain_of_thought_end"]]
        require(row["tokens"] == sample["tokens"], f"the tokens of {sample['sample_id']} differ")
        require(ends == [sample["prompt_end"], sample["chain_of_thought_end"]], f"sections of {sample['sample_id']} differ")
    files = f"{out}/data/*.parquet"
    found = duckdb.sql(f"SELECT * FROM read_parquet('{files}')").fetchall()
    compare_rows("DuckDB", [dict(zip(COLUMNS, row, strict=True)) for row in found], expected)
    compare_rows("polars", pl.read_parquet(files).to_dicts(), expected)
    frames = [pd.read_parquet(path) for path in sorted((out / "data").glob("*.parquet"))]
    compare_rows("pandas", pd.concat(frames).to_dict("records"), expected)


def compare_packed(out: Path, expected: dict) -> None:
    """Unpack DistillKit's rows, which are in the order of the samples."""
    settings = dict(line.split(": ") for line in (out / "compression_config.yaml").read_text().splitlines())
    entries, bits = int(settings["k"]), int(np.ceil(np.log2(int(settings["d"]))))
    require(settings["exact_dtype"] == "float32" and settings["exact_k"] == settings["k"], f"other settings: {settings}")
    wanted = iter(expected.items())
    count = 0
    for path in sorted((out / "data").glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            for position, packed in enumerate(zip(row["compressed_logprobs"], row["bytepacked_indices"], strict=True)):
                logprobs = np.frombuffer(bytes(packed[0]), "<f4")
                flat = np.unpackbits(np.array(packed[1], np.uint8))[: entries * bits].reshape(entries, bits)
                ids = flat.astype(np.int64) @ (1 << np.arange(bits - 1, -1, -1))
                (_, at), (sample, found) = next(wanted)
                require(at == position and row["input_ids"] == sample["tokens"], f"row {row['input_ids'][:3]} is out of order")
                require(ids.tolist() == list(found["token_ids"]), f"ids at {position} of {sample['sample_id']} differ")
                require(np.allclose(logprobs, found["logprobs"], rtol=3e-7, atol=1e-7), f"values at {position} differ")
                count += 1
    require(next(wanted, None) is None, "positions are missing")
    print(f"DistillKit's rows: {count} positions agree")


def compare_distillkit(program: Program) -> None:
    """Import what DistillKit's own code wrote. Its sums of steps were rounded to 16 bits."""
    for name, tolerance in [("recommended", 2e-4), ("binned", 8e-3)]:
        program("cache", "import", str(DISTILLKIT / name / "data_0.parquet"), "--out", name, "--tokenizer", "teacher",
                "--vocabulary", "49152")
        program("cache", "verify", name)
        decoded = pq.read_table(DISTILLKIT / name / "decoded.parquet").to_pylist()
        found = stored(program.folder / name)
        require(len(decoded) == len(found), f"{name}: {len(found)} positions, but {len(decoded)}")
        worst = 0.0
        for row in decoded:
            _, position = found[(f"data_0:{row['row'] + 1}", row["position"])]
            wanted = dict(zip(row["token_ids"], row["logprobs"], strict=True))
            require(set(wanted) == set(position["token_ids"]), f"{name}: the ids of {row['row']}, {row['position']} differ")
            # What rounding made exceed one is scaled to one.
            excess = max(0, np.log(np.exp([min(value, 0) for value in wanted.values()]).sum()))
            differences = [abs(value - min(wanted[id], 0) + excess) for id, value in zip(position["token_ids"], position["logprobs"])]
            worst = max(worst, *differences)
        require(worst <= tolerance, f"{name}: log-probabilities differ by {worst}")
        print(f"DistillKit's file `{name}`: {len(found)} positions, log-probabilities differ by {worst:.1e} at most")


def shards(cache: Path) -> dict:
    return {path.relative_to(cache): path.read_bytes() for path in sorted(cache.glob("layers/*/*.parquet"))}


def compare_killed(program: Program, kills: int) -> None:
    """Kill an import again and again. The input is large enough to take a second."""
    big = program.folder / "big"
    big.mkdir()
    for number in range(8):
        shutil.copy(DISTILLKIT / "recommended/data_0.parquet", big / f"data_{number}.parquet")
    table = pq.read_table(big / "data_0.parquet")
    repeated = table.take(list(range(len(table))) * 60)
    for path in big.glob("*.parquet"):
        pq.write_table(repeated, path)
    shutil.copy(DISTILLKIT / "recommended/compression_config.yaml", big)
    command = ["cache", "import", "big", "--tokenizer", "teacher", "--vocabulary", "49152", "--out"]
    started = time.perf_counter()
    program(*command, "whole")
    seconds = time.perf_counter() - started
    generator, killed = random.Random(7), 0
    for _ in range(kills):
        process = subprocess.Popen([program.path, *command, "killed"], cwd=program.folder, stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
        time.sleep(generator.uniform(0.1, 0.5) * seconds)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    program(*command, "killed")
    program("cache", "verify", "killed")
    require(shards(program.folder / "whole") == shards(program.folder / "killed"), "a killed import has other bytes")
    print(f"an import of {seconds:.1f} s, killed {killed} times: the same bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leadspan", required=True, help="the program")
    parser.add_argument("--kills", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(FIXTURES / "tiny-teacher", folder / "teacher")
        shutil.copy(FIXTURES / "tiny-teacher-text.jsonl", folder / "text.jsonl")
        (folder / "pipeline.toml").write_text(PIPELINE)
        program = Program(arguments.leadspan, folder)
        program("precompute", "-c", "pipeline.toml")
        expected = stored(folder / "cache")
        for layout in ["dataset", "distillkit"]:
            program("cache", "export", "cache", "--out", layout, "--format", layout, "--file-rows", "300")
        compare_readers(folder / "dataset", expected)
        compare_packed(folder / "distillkit", expected)
        program("cache", "import", "dataset", "--out", "again", "--tokenizer", "teacher")
        rows = [{**found, "sample_id": key[0], "position": key[1], "split": sample["split"],
                 "token_id": sample["tokens"][key[1] + 1], "tail_logprob": found["tail"], "target_logprob": found["target"]}
                for key, (sample, found) in stored(folder / "again").items()]
        compare_rows("imported again", rows, expected)
        compare_distillkit(program)
        compare_killed(program, arguments.kills)


if __name__ == "__main__":
    main()
