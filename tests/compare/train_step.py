"""One training step of a student as PyTorch and transformers do it: the counterpart of leadspan's, on the same samples.

EXPORT is what `leadspan cache export` wrote of a cache that holds whole samples. The step is what a careful user of
transformers would write for a CPU: float32, padded batches with a mask, cross-entropy and forward KL over the stored entries
and one bucket for the rest (half and half, mean over the supervised positions), clipping at 1, AdamW. With `--online` the
stored entries are not used: a teacher of SmolLM2-135M's shape runs in the step and its top 64 are taken.
"""

import argparse
import json
import resource
import time

import numpy as np
import pyarrow.parquet as pq
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

SMOLLM2 = dict(
    vocab_size=49152, hidden_size=576, intermediate_size=1536, num_attention_heads=9, num_key_value_heads=3,
    rms_norm_eps=1e-5, rope_theta=100000.0, max_position_embeddings=8192, tie_word_embeddings=True,
)  # fmt: skip
QWEN3 = dict(
    vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_attention_heads=16, num_key_value_heads=8,
    head_dim=128, rms_norm_eps=1e-6, rope_theta=1000000.0, max_position_embeddings=40960, tie_word_embeddings=True,
)  # fmt: skip
SECTIONS = ["prompt", "chain_of_thought", "answer"]
TOP_K = 64


def build(shape: str) -> torch.nn.Module:
    """A student of that shape with random weights."""
    torch.manual_seed(0)
    if shape == "smollm2-6":
        return LlamaForCausalLM(LlamaConfig(num_hidden_layers=6, **SMOLLM2))
    return Qwen3ForCausalLM(Qwen3Config(num_hidden_layers=4, **QWEN3))


def samples(export: str, count: int) -> list[dict]:
    """The first training samples: tokens (the first is not in an export: 0), sections and entries of their positions."""
    file = pq.ParquetFile(export)
    found: list[dict] = []
    for batch in file.iter_batches(batch_size=4096):
        for row in batch.to_pylist():
            if row["split"] != "train":
                return found
            if row["position"] == 0:
                if len(found) == count:
                    return found
                found.append({"tokens": [0], "sections": [], "ids": [], "logprobs": [], "tails": []})
            sample = found[-1]
            sample["tokens"].append(row["token_id"])
            sample["sections"].append(row["section"])
            sample["ids"].append(row["token_ids"])
            sample["logprobs"].append(row["logprobs"])
            sample["tails"].append(row["tail_logprob"])
    return found


def collate(members: list[dict], proportion: float, sections: list[str]) -> dict:
    """Padded tokens and mask; of the supervised positions: where they are, targets, entries, tails."""
    kept = [max(1, int(len(sample["tokens"]) * proportion + 1e-9)) for sample in members]
    fed = [count - 1 for count in kept]
    length = max(fed)
    tokens = torch.zeros(len(members), length, dtype=torch.long)
    mask = torch.zeros(len(members), length, dtype=torch.long)
    places, targets, ids, logprobs, tails = [], [], [], [], []
    for row, (sample, count) in enumerate(zip(members, fed, strict=True)):
        tokens[row, :count] = torch.tensor(sample["tokens"][:count])
        mask[row, :count] = 1
        for position in range(count):
            if sample["sections"][position] in sections:
                places.append(row * length + position)
                targets.append(sample["tokens"][position + 1])
                ids.append(sample["ids"][position])
                logprobs.append(sample["logprobs"][position])
                tails.append(sample["tails"][position])
    return {
        "tokens": tokens,
        "mask": mask,
        "fed": sum(fed),
        "places": torch.tensor(places),
        "targets": torch.tensor(targets),
        "ids": torch.from_numpy(np.array(ids, dtype=np.int64)),
        "logprobs": torch.from_numpy(np.array(logprobs, dtype=np.float32)),
        "tails": torch.from_numpy(np.array(tails, dtype=np.float32)),
    }


def sparse_loss(logits: torch.Tensor, batch: dict) -> torch.Tensor:
    """Half cross-entropy, half forward KL with a bucket, from one log-sum-exp."""
    lse = torch.logsumexp(logits, -1)
    entries = logits.gather(-1, batch["ids"]) - lse[:, None]
    # Cheaper than a second log-sum-exp over what is left, and good enough for a benchmark.
    log_tail = torch.log1p(-entries.exp().sum(-1).clamp(max=1 - 1e-6))
    p, p_tail = batch["logprobs"].exp(), batch["tails"].exp()
    divergence = (p * (batch["logprobs"] - entries)).sum(-1) + p_tail * (batch["tails"] - log_tail)
    cross_entropy = lse - logits.gather(-1, batch["targets"][:, None])[:, 0]
    return 0.5 * cross_entropy.mean() + 0.5 * divergence.mean()


def ask(teacher: torch.nn.Module, batch: dict) -> dict:
    """What the teacher says at the supervised positions, as stored entries are."""
    with torch.no_grad():
        logits = teacher(input_ids=batch["tokens"], attention_mask=batch["mask"], use_cache=False).logits
        logprobs = logits.flatten(0, 1)[batch["places"]].log_softmax(-1)
        top = logprobs.topk(TOP_K)
        tails = torch.log1p(-top.values.exp().sum(-1)).clamp(min=-30.0)
    return {**batch, "ids": top.indices, "logprobs": top.values, "tails": tails}


def product_rate() -> float:
    """Operations a second of one product of the feed-forward block; the best of several."""
    x, weight = torch.randn(1684, 576), torch.randn(1536, 576)
    fastest = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        x @ weight.T
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * 1684 * 576 * 1536 / fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("--shape", choices=["smollm2-6", "qwen3-4"], default="smollm2-6")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--batch-samples", type=int, default=8)
    parser.add_argument("--proportion", type=float, default=1.0)
    parser.add_argument("--sections", default="all")
    parser.add_argument("--online", action="store_true", help="run a teacher of SmolLM2-135M's shape in every step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sections = SECTIONS if arguments.sections == "all" else arguments.sections.split(",")
    steps = arguments.warmup + arguments.steps
    read = samples(arguments.export, steps * arguments.batch_samples)
    groups = [read[at : at + arguments.batch_samples] for at in range(0, len(read), arguments.batch_samples)]
    batches = [collate(group, arguments.proportion, sections) for group in groups]

    student = build(arguments.shape)
    student.train()
    teacher = LlamaForCausalLM(LlamaConfig(num_hidden_layers=30, **SMOLLM2)).eval() if arguments.online else None
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, weight_decay=0.05, fused=True)
    losses, tokens, positions, began = [], 0, 0, time.perf_counter()
    parts = {"forward": 0.0, "head_and_loss": 0.0, "backward": 0.0, "optimizer": 0.0, "teacher": 0.0}
    for index, batch in enumerate(batches):
        if index == arguments.warmup:
            began, tokens, positions = time.perf_counter(), 0, 0
            parts = dict.fromkeys(parts, 0.0)
        times = [time.perf_counter()]
        if teacher:
            batch = ask(teacher, batch)
        times.append(time.perf_counter())
        logits = student(input_ids=batch["tokens"], attention_mask=batch["mask"], use_cache=False).logits
        times.append(time.perf_counter())
        loss = sparse_loss(logits.flatten(0, 1)[batch["places"]], batch)
        times.append(time.perf_counter())
        loss.backward()
        times.append(time.perf_counter())
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter())
        spans = np.diff(times)
        for name, span in zip(["teacher", "forward", "head_and_loss", "backward", "optimizer"], spans, strict=True):
            parts[name] += span
        losses.append(loss.item())
        del logits, loss
        tokens += batch["fed"]
        positions += len(batch["places"])
    seconds = time.perf_counter() - began
    result = {
        "shape": arguments.shape,
        "steps": arguments.steps,
        "tokens": tokens,
        "positions": positions,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "product_gflops_per_second": product_rate() / 1e9,
        "shares": {name: round(part / seconds, 3) for name, part in parts.items()},
        "losses": losses,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    print(json.dumps(result) if arguments.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
