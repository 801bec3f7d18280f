"""Compare a cache's distributions with what transformers computes from the same teacher.

EXPORT is what `leadspan cache export` wrote from a cache made at proportion 1.0 with all sections supervised, so that
every position of a sample is there. Its `token_id` column gives all tokens of a sample but the first, which
--first-token names. transformers reads the teacher (a GGUF file or a model directory), dequantised to float32, and the
log-probabilities of the stored entries, of the tail and of the targets are compared position by position.

Exits with 1 if --tolerance is given and the mean difference of the entries is above it.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

COLUMNS = ["sample_id", "position", "token_id", "token_ids", "logprobs", "tail_logprob", "target_logprob"]
# Stored tails are clamped here when entries are left out.
TAIL_FLOOR = -30.0


@dataclass
class Difference:
    """Absolute differences in nats, gathered over positions."""

    parts: list[np.ndarray] = field(default_factory=list)

    def add(self, stored: np.ndarray, computed: np.ndarray) -> None:
        """Gather |stored - computed|; two infinities of one sign do not differ."""
        with np.errstate(invalid="ignore"):
            difference = np.abs(stored.astype(np.float64) - computed)
        self.parts.append(np.where(stored == computed, 0.0, difference).ravel())

    def summary(self) -> dict[str, float]:
        """The mean, the 99th percentile and the largest difference."""
        values = np.concatenate(self.parts)
        return {"mean": values.mean(), "p99": float(np.quantile(values, 0.99)), "max": values.max()}


def read_samples(path: Path, limit: int) -> Iterator[pa.Table]:
    """Yield the first `limit` samples (0: all), whose rows lie together, as one table each."""
    pending: pa.Table | None = None
    yielded = 0
    for batch in pq.ParquetFile(path).iter_batches(batch_size=8192, columns=COLUMNS):
        table = pa.Table.from_batches([batch])
        pending = table if pending is None else pa.concat_tables([pending, table])
        ids = pending["sample_id"].to_numpy(zero_copy_only=False)
        starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
        for start, end in pairwise(starts):
            yield pending.slice(start, end - start)
            yielded += 1
            if yielded == limit:
                return
        pending = pending.slice(starts[-1])
    if pending is not None and pending.num_rows:
        yield pending


def load_teacher(path: Path) -> tuple[PreTrainedModel, dict[str, int]]:
    """Load the model in float32 and its tokenizer's vocabulary."""
    source, options = (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **options)
    return model.eval(), AutoTokenizer.from_pretrained(source, **options).get_vocab()


def compare(model: PreTrainedModel, samples: Iterator[pa.Table], first_token: int) -> dict[str, Any]:
    """Compare every position of every sample and summarise."""
    entries, tails, targets = Difference(), Difference(), Difference()
    sample_count = position_count = top_1 = 0
    for sample in samples:
        name = sample["sample_id"][0].as_py()
        positions = sample["position"].to_numpy()
        if not np.array_equal(positions, np.arange(len(positions))):
            sys.exit(
                f"error: sample `{name}` does not have every position\n"
                "hint: export a cache made at proportion 1.0 with all sections supervised"
            )
        target_ids = sample["token_id"].to_numpy().astype(np.int64)
        tokens = np.concatenate([[first_token], target_ids[:-1]])
        with torch.inference_mode():
            logits = model(torch.from_numpy(tokens)[None]).logits[0]
        logprobs = logits.double().log_softmax(-1).numpy()

        top_1 += int(
            sum(ids[0].as_py() == best for ids, best in zip(sample["token_ids"], logprobs.argmax(-1), strict=True))
        )
        targets.add(sample["target_logprob"].to_numpy(), logprobs[np.arange(len(tokens)), target_ids])
        stored_tails = sample["tail_logprob"].to_numpy()
        for row, (ids, stored) in enumerate(zip(sample["token_ids"], sample["logprobs"], strict=True)):
            ids = ids.values.to_numpy()
            entries.add(stored.values.to_numpy(), logprobs[row, ids])
            rest = np.delete(logprobs[row], ids)
            computed_tail = max(np.logaddexp.reduce(rest), TAIL_FLOOR) if len(rest) else -np.inf
            tails.add(stored_tails[row : row + 1], np.array([computed_tail]))
        sample_count += 1
        position_count += len(tokens)
    if not position_count:
        sys.exit("error: the export holds no positions")
    return {
        "samples": sample_count,
        "positions": position_count,
        "top_1_agreement": top_1 / position_count,
        "entry_logprob": entries.summary(),
        "tail_logprob": tails.summary(),
        "target_logprob": targets.summary(),
    }


def main() -> None:
    """Parse the arguments, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="the Parquet file")
    parser.add_argument("--model", type=Path, required=True, help="the teacher: FILE.gguf or a model directory")
    parser.add_argument(
        "--first-token", default="<|im_start|>", help="every sample's first token, text or id (default: %(default)s)"
    )
    parser.add_argument("--samples", type=int, default=32, help="compare the first N samples; 0: all (default: 32)")
    parser.add_argument("--tolerance", type=float, help="largest mean difference of the entries, in nats")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model, vocabulary = load_teacher(arguments.model)
    first_token = vocabulary.get(arguments.first_token)
    if first_token is None:
        if not arguments.first_token.isdecimal():
            sys.exit(f"error: `{arguments.first_token}` is not a token of `{arguments.model}`")
        first_token = int(arguments.first_token)

    result = compare(model, read_samples(arguments.export, arguments.samples), first_token)
    if arguments.json:
        print(json.dumps(result))
    else:
        print(f"{result['samples']} samples, {result['positions']} positions")
        print(f"top-1 agreement  {result['top_1_agreement']:.6f}")
        print("absolute difference in nats       mean        p99        max")
        for name in ("entry_logprob", "tail_logprob", "target_logprob"):
            values = result[name]
            print(f"  {name:<26}{values['mean']:>11.2e}{values['p99']:>11.2e}{values['max']:>11.2e}")
    if arguments.tolerance is not None and not result["entry_logprob"]["mean"] <= arguments.tolerance:
        sys.exit(f"error: the mean difference of the entries is above {arguments.tolerance}")


if __name__ == "__main__":
    main()
