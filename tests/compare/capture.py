"""The capture of a teacher's top k as PyTorch and transformers do it: the counterpart of leadspan's, on the same samples.

EXPORT is what `leadspan cache export` wrote of a cache of whole samples; its first training samples are run through the
teacher again. What is done is what a careful user of transformers writes for a CPU: float32, sdpa, no key-value cache, no
gradients, batches of samples of similar lengths with a mask, the head on the positions that are wanted in chunks of 512,
log-softmax, top 64, the rest's mass and the target's log-probability, all kept in memory: nothing is encoded or written.
The first batch is not timed. A sample's first token, which no export has, is 0.
"""

import argparse
import json
import resource
import time
from fractions import Fraction
from pathlib import Path

import torch
from train_step import SECTIONS, SMOLLM2, Sample, build, log_rest, read_samples
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

CHUNK_ROWS = 512


def batches_of(samples: list[Sample], budget: int) -> list[list[Sample]]:
    """Samples of similar lengths, longest first, at most `budget` tokens with padding."""
    batches: list[list[Sample]] = []
    for sample in sorted(samples, key=lambda sample: -len(sample.tokens)):
        if batches and (len(batches[-1]) + 1) * len(batches[-1][0].tokens) <= budget:
            batches[-1].append(sample)
        else:
            batches.append([sample])
    return batches


@torch.inference_mode()
def capture(teacher: PreTrainedModel, batch: list[Sample], k: int) -> int:
    """The top k of every position of the batch; its tokens."""
    lengths = [len(sample.tokens) - 1 for sample in batch]
    shape = (len(batch), max(lengths))
    tokens, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    for row, (sample, length) in enumerate(zip(batch, lengths, strict=True)):
        tokens[row, :length] = torch.from_numpy(sample.tokens[:length])
        mask[row, :length] = 1
    targets = torch.cat([torch.from_numpy(sample.tokens[1:]) for sample in batch])
    hidden = teacher.model(input_ids=tokens, attention_mask=mask, use_cache=False).last_hidden_state
    hidden = hidden[mask.bool()]
    kept = []
    for rows, of_rows in zip(hidden.split(CHUNK_ROWS), targets.split(CHUNK_ROWS), strict=True):
        logprobs = teacher.lm_head(rows).log_softmax(-1)
        top = logprobs.topk(k)
        kept.append((top.indices, top.values, log_rest(top.values), logprobs.gather(-1, of_rows[:, None])[:, 0]))
    return sum(lengths)


def main() -> None:
    """Parse the arguments, run the batches, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="the Parquet file")
    parser.add_argument("--model", type=Path, help="a GGUF file or model directory (default: SmolLM2-135M's shape, random)")
    parser.add_argument("--samples", type=int, default=48, help="(default: %(default)s)")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="(default: %(default)s)")
    parser.add_argument("--top-k", type=int, default=64, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    batches = batches_of(read_samples(arguments.export, arguments.samples, Fraction(1), SECTIONS), arguments.batch_tokens)
    if arguments.model is None:
        teacher = build(LlamaConfig(num_hidden_layers=30, **SMOLLM2), "sdpa", 0).eval()
    else:
        path = arguments.model
        where = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
        folder = path.parent if where else path
        teacher = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa", **where)
        teacher.eval()
    tokens, began = 0, time.perf_counter()
    for index, batch in enumerate(batches):
        if index == 1:
            tokens, began = 0, time.perf_counter()
        tokens += capture(teacher, batch, arguments.top_k)
    seconds = time.perf_counter() - began
    result = {
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(result) if arguments.json else f"{tokens / seconds:.0f} tokens/s, {tokens} tokens in {seconds:.1f} s")


if __name__ == "__main__":
    main()
