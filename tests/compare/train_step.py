"""One training step of a student as PyTorch and transformers do it: the counterpart of leadspan's, on the same samples.

EXPORT is what `leadspan cache export` wrote of a cache that holds whole samples, all sections supervised. The step is
what a careful user of transformers writes for a CPU: float32, padded batches with a mask, logits of all positions,
cross-entropy and forward KL over the stored entries and one bucket for the rest (halves, mean over the supervised
positions), clipping at 1, fused AdamW. With --online the stored entries are not used: a teacher of SmolLM2-135M's shape
runs in the step and its top 64 are taken. Weights are random; a sample's first token, which no export has, is 0.
"""

import argparse
import json
import platform
import resource
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, PretrainedConfig, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

SMOLLM2 = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
QWEN3 = {
    "vocab_size": 151936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
}
SHAPES = ["smollm2-6", "qwen3-4"]
SECTIONS = ["prompt", "chain_of_thought", "answer"]
COLUMNS = ["sample_id", "split", "position", "section", "token_id", "token_ids", "logprobs", "tail_logprob"]
PARTS = ["teacher", "forward", "loss", "backward", "optimizer"]
TOP_K = 64
DISTILLATION_WEIGHT = 0.5
# Log-probabilities in float32 cannot tell a smaller rest from none.
SMALLEST_TAIL = 1e-7


@dataclass
class Sample:
    """A sample's tokens [n], and of its positions 0 to n - 2: sections, entries [n - 1, K] and tails."""

    tokens: np.ndarray
    sections: np.ndarray
    token_ids: np.ndarray
    logprobs: np.ndarray
    tails: np.ndarray

    def fed(self, proportion: Fraction, sections: list[str]) -> int:
        """The tokens that go through the student: up to the last supervised position of the lead span."""
        kept = max(1, int(len(self.tokens) * proportion))
        supervised = np.flatnonzero(np.isin(self.sections[: kept - 1], sections))
        return int(supervised[-1]) + 1 if len(supervised) else 0


@dataclass
class Batch:
    """Padded tokens and mask [B, T]; of N of the B·T places: targets, entries [N, K], tails, weights that sum to one.

    Where half or more of all places are supervised, N is all of them and `places` None: what has no weight costs less
    than a copy of the logits without it.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    places: torch.Tensor | None
    targets: torch.Tensor
    token_ids: torch.Tensor
    logprobs: torch.Tensor
    tails: torch.Tensor
    weights: torch.Tensor


def read_samples(path: Path, limit: int, proportion: Fraction, sections: list[str]) -> list[Sample]:
    """The first `limit` training samples, in the file's order, that have a supervised position."""
    found: list[Sample] = []
    pending: list[pa.RecordBatch] = []

    def finish() -> None:
        table = pa.Table.from_batches(pending).combine_chunks()
        pending.clear()
        if not np.array_equal(table["position"].to_numpy(), np.arange(len(table))):
            sys.exit(f"error: `{path}` lacks positions of `{table['sample_id'][0]}`: export a cache of whole samples")
        entries = {name: table[name].combine_chunks().flatten().to_numpy() for name in ("token_ids", "logprobs")}
        sample = Sample(
            np.concatenate([[0], table["token_id"].to_numpy()]).astype(np.int64),
            table["section"].to_numpy(),
            entries["token_ids"].reshape(len(table), -1).astype(np.int64),
            entries["logprobs"].reshape(len(table), -1).copy(),
            table["tail_logprob"].to_numpy().copy(),
        )
        if sample.fed(proportion, sections):
            found.append(sample)

    for batch in pq.ParquetFile(path).iter_batches(batch_size=1024, columns=COLUMNS):
        ids = batch["sample_id"].to_numpy(zero_copy_only=False)
        edges = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1), len(ids)]
        for start, end in zip(edges, edges[1:], strict=False):
            if pending and pending[-1]["sample_id"][0] != batch["sample_id"][start]:
                finish()
            if len(found) == limit:
                return found
            if batch["split"][start].as_py() == "train":
                pending.append(batch.slice(start, end - start))
    if pending:
        finish()
    if len(found) < limit:
        sys.exit(f"error: `{path}` has {len(found)} training samples to learn from, {limit} are needed")
    return found


def collate(samples: list[Sample], proportion: Fraction, sections: list[str]) -> Batch:
    """One batch, padded on the right."""
    fed = [sample.fed(proportion, sections) for sample in samples]
    shape, width = (len(samples), max(fed)), samples[0].token_ids.shape[1]
    tokens, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    targets, supervised = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)
    # Padding must hold different tokens and finite logarithms, and gets no weight.
    token_ids = torch.arange(width).repeat(*shape, 1)
    logprobs = torch.full((*shape, width), -np.log(width + 1), dtype=torch.float32)
    tails = torch.full(shape, -np.log(width + 1), dtype=torch.float32)
    for row, (sample, count) in enumerate(zip(samples, fed, strict=True)):
        tokens[row, :count] = torch.from_numpy(sample.tokens[:count])
        mask[row, :count] = 1
        targets[row, :count] = torch.from_numpy(sample.tokens[1 : count + 1])
        supervised[row, :count] = torch.from_numpy(np.isin(sample.sections[:count], sections))
        token_ids[row, :count] = torch.from_numpy(sample.token_ids[:count])
        logprobs[row, :count] = torch.from_numpy(sample.logprobs[:count])
        tails[row, :count] = torch.from_numpy(sample.tails[:count])
    weights = supervised.flatten() / supervised.sum()
    places = None if 2 * supervised.sum() >= supervised.numel() else supervised.flatten().nonzero()[:, 0]
    of_places = [part if places is None else part[places] for part in (
        targets.flatten(), token_ids.flatten(0, 1), logprobs.flatten(0, 1), tails.flatten(), weights,
    )]  # fmt: skip
    return Batch(tokens, mask, places, *of_places)


def at_places(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Logits [N, V] of the batch's places, from those of all positions [B, T, V]."""
    logits = logits.flatten(0, 1)
    return logits if batch.places is None else logits[batch.places]


def log_rest(logprobs: torch.Tensor) -> torch.Tensor:
    """log(1 - Σ exp(logprobs)) over the last dimension, through expm1 in double precision: also near a sum of one.

    A second log-sum-exp with the entries taken out would resolve a rest below `SMALLEST_TAIL`, at the price of another
    pass over the vocabulary each way; what is here is as cheap as can be, to PyTorch's advantage.
    """
    covered = logprobs.double().logsumexp(-1).clamp(max=-SMALLEST_TAIL)
    return torch.log(-torch.expm1(covered)).to(logprobs.dtype)


def sparse_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """(1 - α) cross-entropy + α forward KL with a bucket, of logits [N, V].

    One log_softmax and one gather for target and entries: two and more times as fast, backward included, as a
    log-sum-exp and gathers from the logits.
    """
    wanted = torch.cat([batch.targets[:, None], batch.token_ids], 1)
    student = logits.log_softmax(-1).gather(-1, wanted)
    cross_entropy, entries = -student[:, 0], student[:, 1:]
    # An exact export may have an empty tail, and 0 · -∞ must be 0.
    tails = batch.tails.clamp(min=-100.0)
    divergence = (batch.logprobs.exp() * (batch.logprobs - entries)).sum(-1) + tails.exp() * (tails - log_rest(entries))
    loss = (1 - DISTILLATION_WEIGHT) * cross_entropy + DISTILLATION_WEIGHT * divergence
    return (batch.weights * loss).sum()


def ask(teacher: PreTrainedModel, batch: Batch) -> Batch:
    """The batch with what the teacher says instead of the stored entries."""
    with torch.no_grad():
        logits = teacher(input_ids=batch.tokens, attention_mask=batch.mask, use_cache=False).logits
        top = at_places(logits, batch).log_softmax(-1).topk(TOP_K)
    return Batch(
        batch.tokens, batch.mask, batch.places, batch.targets,
        top.indices, top.values, log_rest(top.values), batch.weights,
    )  # fmt: skip


def build(config: PretrainedConfig, attention: str, seed: int) -> PreTrainedModel:
    """A model of that shape with random weights in float32."""
    torch.manual_seed(seed)
    config._attn_implementation = attention
    model = (Qwen3ForCausalLM if isinstance(config, Qwen3Config) else LlamaForCausalLM)(config)
    return model.float()


def optimizer_of(student: PreTrainedModel) -> torch.optim.Optimizer:
    """AdamW as leadspan has it: norms and biases do not decay."""
    kept, decaying = [], []
    for name, parameter in student.named_parameters():
        (kept if name.endswith(("norm.weight", ".bias")) else decaying).append(parameter)
    groups = [{"params": decaying, "weight_decay": 0.05}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, fused=True)


def product_rates(config: PretrainedConfig, rows: int) -> dict[str, float]:
    """GFLOP/s of a product of the feed-forward block and of one with the head (`ROWSxINNERxCOLUMNS`)."""
    rates = {}
    for m, k, n, times in [
        (rows, config.hidden_size, config.intermediate_size, 20),
        (1024, config.hidden_size, config.vocab_size, 3),
    ]:
        x, weight = torch.randn(m, k), torch.randn(n, k)
        fastest = float("inf")
        for _ in range(times):
            began = time.perf_counter()
            x @ weight.T
            fastest = min(fastest, time.perf_counter() - began)
        rates[f"{m}x{k}x{n}"] = 2 * m * k * n / fastest / 1e9
    return rates


def self_test() -> None:
    """Hold loss and gradient against a dense computation in float64, with padding, and for a peaked student."""
    torch.manual_seed(0)
    vocabulary, width, shape = 50, 4, (2, 3)
    tolerance = 1e-6
    # From nearly uniform to so peaked that the least rest is below 1e-6, which float32 resolves badly; such a rest has
    # as little weight in the loss.
    for scale in [0.1, 2.0, 8.0]:
        raw = (scale * torch.randn(*shape, vocabulary, dtype=torch.float64)).float()
        teacher = (raw + 0.3 * torch.randn_like(raw)).flatten(0, 1).double().log_softmax(-1)
        top = teacher.topk(width)
        rest = teacher.exp().scatter(-1, top.indices, 0.0).sum(-1)
        weights = torch.tensor([0.25, 0.25, 0.0, 0.25, 0.25, 0.0])
        targets = torch.randint(0, vocabulary, (6,))
        batch = Batch(
            torch.zeros(shape, dtype=torch.long), torch.ones(shape, dtype=torch.long), None,
            targets, top.indices, top.values.float(), rest.log().float(), weights,
        )  # fmt: skip
        sparse = raw.clone().requires_grad_()
        loss = sparse_loss(at_places(sparse, batch), batch)
        loss.backward()

        dense = raw.double().requires_grad_()
        q = dense.flatten(0, 1).softmax(-1)
        merged_q = torch.cat([q.gather(-1, top.indices), q.scatter(-1, top.indices, 0.0).sum(-1, keepdim=True)], 1)
        merged_p = torch.cat([top.values.exp(), rest[:, None]], 1)
        divergence = (merged_p * (merged_p.log() - merged_q.log())).sum(-1)
        cross_entropy = torch.nn.functional.cross_entropy(dense.flatten(0, 1), targets, reduction="none")
        expected = (weights * (0.5 * cross_entropy + 0.5 * divergence)).sum()
        expected.backward()

        off = abs(loss.item() - expected.item())
        gradient_off = (sparse.grad - dense.grad).abs().max().item()
        if not (off <= tolerance and gradient_off <= tolerance):
            sys.exit(f"error: scale {scale}: the loss is off by {off:.1e}, its gradient by {gradient_off:.1e}")
        # What was selected gives the same as what got no weight.
        places = weights.nonzero()[:, 0]
        parts = (batch.targets, batch.token_ids, batch.logprobs, batch.tails, batch.weights)
        chosen = Batch(batch.tokens, batch.mask, places, *(part[places] for part in parts))
        if not torch.isclose(sparse_loss(at_places(raw, chosen), chosen), loss, atol=1e-6):
            sys.exit(f"error: scale {scale}: selecting the supervised places changes the loss")
        print(f"rests from {rest.min():.0e}: loss off by {off:.1e}, gradient by {gradient_off:.1e}")


def main() -> None:
    """Parse the arguments, make the steps, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, nargs="?", help="the Parquet file")
    parser.add_argument("--shape", choices=SHAPES, default=SHAPES[0], help="the student's (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="timed steps (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them (default: %(default)s)")
    parser.add_argument("--batch-samples", type=int, default=8, help="samples of a step (default: %(default)s)")
    parser.add_argument("--proportion", type=Fraction, default=Fraction(1), help="of a sample's tokens (default: 1)")
    parser.add_argument("--sections", default="all", help="supervised ones, with commas between (default: %(default)s)")
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa", help="(default: %(default)s)")
    parser.add_argument("--online", action="store_true", help="run a teacher of SmolLM2-135M's shape in every step")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--self-test", action="store_true", help="only hold the loss against a dense computation")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.self_test:
        self_test()
        return
    if arguments.export is None:
        parser.error("name an EXPORT")
    if arguments.steps < 1 or arguments.warmup < 0 or arguments.batch_samples < 1:
        parser.error("--steps and --batch-samples must be positive, --warmup not negative")
    if not 0 < arguments.proportion <= 1:
        parser.error("--proportion must be above 0 and at most 1")
    sections = SECTIONS if arguments.sections == "all" else arguments.sections.split(",")
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")

    of_steps = (arguments.proportion, sections)
    size = arguments.batch_samples
    read = read_samples(arguments.export, (arguments.warmup + arguments.steps) * size, *of_steps)
    batches = [collate(read[at : at + size], *of_steps) for at in range(0, len(read), size)]
    del read

    if arguments.shape == "qwen3-4":
        config: PretrainedConfig = Qwen3Config(num_hidden_layers=4, **QWEN3)
    else:
        config = LlamaConfig(num_hidden_layers=6, **SMOLLM2)
    student = build(config, arguments.attention, 0).train()
    teacher = None
    if arguments.online:
        teacher = build(LlamaConfig(num_hidden_layers=30, **SMOLLM2), arguments.attention, 1).eval()
    optimizer = optimizer_of(student)

    losses, began = [], time.perf_counter()
    spent = dict.fromkeys(PARTS, 0.0)
    for index, batch in enumerate(batches):
        if index == arguments.warmup:
            spent, began = dict.fromkeys(PARTS, 0.0), time.perf_counter()
        times = [time.perf_counter()]
        if teacher is not None:
            batch = ask(teacher, batch)
        times.append(time.perf_counter())
        logits = student(input_ids=batch.tokens, attention_mask=batch.mask, use_cache=False).logits
        times.append(time.perf_counter())
        loss = sparse_loss(at_places(logits, batch), batch)
        # The graph holds what backward needs; a name for the logits would hold them through it.
        del logits
        times.append(time.perf_counter())
        loss.backward()
        times.append(time.perf_counter())
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter())
        losses.append(loss.item())
        for part, span in zip(PARTS, np.diff(times), strict=True):
            spent[part] += float(span)
    seconds = time.perf_counter() - began
    # Before the products are timed, which need memory of their own.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    timed = batches[arguments.warmup :]
    tokens = sum(int(batch.mask.sum()) for batch in timed)
    rates = product_rates(config, tokens // arguments.steps)
    result = {
        "shape": arguments.shape,
        "steps": arguments.steps,
        "tokens": tokens,
        "padded_tokens": sum(batch.mask.numel() for batch in timed),
        "positions": sum(int((batch.weights > 0).sum()) for batch in timed),
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "peak_memory_bytes": peak,
        "product_gflops_per_second": next(iter(rates.values())),
        "product_rates": rates,
        "shares": {part: round(span / seconds, 3) for part, span in spent.items()},
        "losses": losses,
        "attention": arguments.attention,
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    if arguments.json:
        print(json.dumps(result))
        return
    print(
        f"{arguments.shape}: {result['tokens_per_second']:.0f} tokens/s, {seconds / arguments.steps:.2f} s a step,"
        f" peak {peak / 1e6:.0f} MB; {tokens} tokens ({result['padded_tokens']} with padding),"
        f" {result['positions']} positions in {arguments.steps} steps on {arguments.threads} threads"
    )
    print("shares: " + ", ".join(f"{part} {share:.1%}" for part, share in result["shares"].items()))
    print("products: " + ", ".join(f"{shape} {rate:.0f} GFLOP/s" for shape, rate in rates.items()))
    print("losses: " + ", ".join(f"{loss:.4f}" for loss in losses))


if __name__ == "__main__":
    main()
