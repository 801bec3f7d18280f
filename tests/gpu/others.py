"""Capture and training as transformers does them on the same GPU, on the samples of a cache's export.

    others.py capture DIR EXPORT [--compile] [--tokens N]   tokens per second
    others.py errors DIR EXPORT                             both sides' errors against float32
    others.py train DIR EXPORT [--steps N]                  with Liger's kernels if they are installed, and fused AdamW

What is done is what a careful user writes: bf16, sdpa, batches of samples of similar lengths; the head in chunks. Nothing is
encoded or written. Training is by cross-entropy alone, in pure bf16 without masters: less work than leadspan's step. Each
prints one JSON line.
"""

import argparse
import json
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
from transformers import AutoModelForCausalLM

GPU = "cuda" if torch.cuda.is_available() else "cpu"
CHUNK_ROWS = 512
FIRST_TOKEN = 1  # The start of a turn in the fixture's template. An export begins with the second token.


class Sample:
    """A sample's tokens, and what the cache stored of its positions."""

    def __init__(self, tokens: list[int], token_ids: list[list[int]], logprobs: list[list[float]]) -> None:
        self.tokens = torch.tensor([FIRST_TOKEN, *tokens])
        self.token_ids, self.logprobs = token_ids, logprobs

    def __len__(self) -> int:
        return len(self.tokens)


def read(export: Path) -> list[Sample]:
    """All samples of an export."""
    rows = pq.read_table(export, columns=["sample_id", "token_id", "token_ids", "logprobs"]).to_pylist()
    by_id: dict[str, list[dict]] = {}
    for row in rows:
        by_id.setdefault(row["sample_id"], []).append(row)
    columns = ("token_id", "token_ids", "logprobs")
    return [Sample(*[[row[name] for row in found] for name in columns]) for found in by_id.values()]


def batches_of(samples: list[Sample], budget: int) -> list[list[Sample]]:
    """Samples of similar lengths, longest first, at most `budget` tokens with padding."""
    batches: list[list[Sample]] = []
    for sample in sorted(samples, key=lambda sample: -len(sample)):
        if batches and (len(batches[-1]) + 1) * len(batches[-1][0]) <= budget:
            batches[-1].append(sample)
        else:
            batches.append([sample])
    return batches


def padded(batch: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and mask [B, T]."""
    tokens = torch.zeros(len(batch), max(map(len, batch)), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, sample in enumerate(batch):
        tokens[row, : len(sample)], mask[row, : len(sample)] = sample.tokens, 1
    return tokens.to(GPU), mask.to(GPU)


def synchronize() -> None:
    """Waits for the device."""
    if GPU == "cuda":
        torch.cuda.synchronize()


@torch.inference_mode()
def capture_one(model: torch.nn.Module, inner: torch.nn.Module, batch: list[Sample]) -> None:
    """The top 64 of every position, what the others have, and the target."""
    tokens, mask = padded(batch)
    hidden = inner(input_ids=tokens, attention_mask=mask, use_cache=False).last_hidden_state
    hidden, targets = hidden[:, :-1][mask[:, 1:].bool()], tokens[:, 1:][mask[:, 1:].bool()]
    for rows, of_rows in zip(hidden.split(CHUNK_ROWS), targets.split(CHUNK_ROWS), strict=True):
        logprobs = model.lm_head(rows).float().log_softmax(-1)
        top = logprobs.topk(min(64, logprobs.shape[-1]))
        kept = top.indices, top.values, logprobs.scatter(1, top.indices, -torch.inf).logsumexp(-1), logprobs.gather(-1, of_rows[:, None])
        for tensor in kept:
            tensor.to("cpu", non_blocking=True)


def load(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    """A model on the device."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").to(GPU)


@torch.inference_mode()
def errors(folder: Path, samples: list[Sample]) -> dict[str, object]:
    """How far stored log-probabilities, and transformers' own in bf16, are from float32 at the stored tokens."""
    exact, bf16 = (load(folder / "teacher", dtype).eval() for dtype in (torch.float32, torch.bfloat16))
    off: dict[str, list[torch.Tensor]] = {"leadspan": [], "transformers": []}
    for sample in samples:
        tokens, ids = sample.tokens[None, :-1].to(GPU), torch.tensor(sample.token_ids, device=GPU)
        right = exact(tokens).logits[0].log_softmax(-1).gather(1, ids)
        off["leadspan"].append((torch.tensor(sample.logprobs, device=GPU) - right).abs().flatten())
        off["transformers"].append((bf16(tokens).logits[0].float().log_softmax(-1).gather(1, ids) - right).abs().flatten())
    found: dict[str, object] = {"part": "errors"}
    for side, parts in off.items():
        whole = torch.cat(parts)
        found |= {f"{side}_mean_error": float(whole.mean()), f"{side}_largest_error": float(whole.max())}
    return found


def capture(folder: Path, samples: list[Sample], compiled: bool, budget: int) -> dict[str, object]:
    """Times a capture after a batch of each end's shape."""
    model = load(folder / "teacher", torch.bfloat16).eval()
    inner = torch.compile(model.model, dynamic=True) if compiled else model.model
    batches = batches_of(samples, budget)
    for batch in (batches[0], batches[-1], batches[len(batches) // 2]):
        capture_one(model, inner, batch)
    synchronize()
    began = time.perf_counter()
    for batch in batches:
        capture_one(model, inner, batch)
    synchronize()
    seconds = time.perf_counter() - began
    tokens = sum(map(len, samples))
    line = {"part": "capture", "side": "transformers compiled" if compiled else "transformers", "tokens_per_second": tokens / seconds}
    if GPU == "cuda":
        line["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
    return line


def train(folder: Path, samples: list[Sample], steps: int, count: int) -> dict[str, object]:
    """Times steps of `count` samples, padded to their own length."""
    liger = True
    try:
        from liger_kernel.transformers import apply_liger_kernel_to_qwen3

        apply_liger_kernel_to_qwen3()
    except ImportError:
        liger = False
    model = load(folder / "student", torch.bfloat16).train()
    model.config.use_cache = False
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.05, fused=GPU == "cuda")
    # Samples of similar lengths share a step, so that padding costs little.
    ordered = sorted(samples, key=len)
    groups = [ordered[at : at + count] for at in range(0, len(ordered) - count + 1, count)]
    rates = []
    for step in range(min(steps, len(groups))):
        batch = groups[(step * 7) % len(groups)]
        tokens, mask = padded(batch)
        synchronize()
        began = time.perf_counter()
        labels = tokens.masked_fill(mask == 0, -100)
        model(input_ids=tokens, attention_mask=mask, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        synchronize()
        rates.append(int(mask.sum()) / (time.perf_counter() - began))
    settled = sorted(rates[3:] or rates)
    line: dict[str, object] = {"part": "training", "side": "transformers + Liger" if liger else "transformers (no Liger)"}
    line["tokens_per_second"] = settled[len(settled) // 2]
    if GPU == "cuda":
        line["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
    return line


def main() -> None:
    """Parses the arguments and prints the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["capture", "errors", "train"])
    parser.add_argument("folder", type=Path, help="what make.py made")
    parser.add_argument("export", type=Path, help="what `leadspan cache export` wrote")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--tokens", type=int, default=16_384, help="of a batch of the capture")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--samples", type=int, default=9, help="of a step of the training")
    arguments = parser.parse_args()
    samples = read(arguments.export)
    if arguments.what == "capture":
        line = capture(arguments.folder, samples, arguments.compile, arguments.tokens)
    elif arguments.what == "errors":
        line = errors(arguments.folder, sorted(samples, key=len)[:6])
    else:
        line = train(arguments.folder, samples, arguments.steps, arguments.samples)
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
