"""Greedy generation as transformers does it: the counterpart of leadspan's, on the same prompts.

`prompts` renders the questions of a JSON-lines file through a tokenizer's chat template and writes their tokens, a list of
lists. `run` continues them with `generate`: float32, sdpa, its key-value cache, prompts padded on the left with a mask, and
nothing that stops a sample before it has its tokens. A few tokens are generated before the clock starts.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel


def load(path: Path) -> PreTrainedModel:
    """A GGUF file or model directory in float32."""
    where = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    folder = path.parent if where else path
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa", **where)
    return model.eval()


def write_prompts(problems: Path, tokenizer: Path, count: int, out: Path) -> None:
    """The first `count` questions as tokens."""
    rows = [json.loads(line) for line in problems.read_text().splitlines()[:count]]
    render = AutoTokenizer.from_pretrained(tokenizer).apply_chat_template
    turns = [[{"role": "user", "content": row["question"]}] for row in rows]
    prompts = [render(turn, add_generation_prompt=True, return_dict=True)["input_ids"] for turn in turns]
    out.write_text(json.dumps(prompts))


@torch.inference_mode()
def generate(model: PreTrainedModel, prompts: list[list[int]], new_tokens: int, stop: list[int] | None) -> list[list[int]]:
    """What follows each prompt, up to a stop token and without it."""
    longest = max(map(len, prompts))
    tokens = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    model.generation_config.eos_token_id = stop
    output = model.generate(tokens, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False, pad_token_id=0)
    generated = output[:, longest:].tolist()
    ends = [next((i for i, token in enumerate(row) if token in (stop or [])), len(row)) for row in generated]
    return [row[:end] for row, end in zip(generated, ends, strict=True)]


def main() -> None:
    """Parse the arguments and do what they ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    of_prompts = commands.add_parser("prompts")
    of_prompts.add_argument("problems", type=Path, help="JSON lines with `question`")
    of_prompts.add_argument("tokenizer", type=Path, help="a directory with a tokenizer and its chat template")
    of_prompts.add_argument("out", type=Path)
    of_prompts.add_argument("--count", type=int, default=8, help="(default: %(default)s)")
    of_run = commands.add_parser("run")
    of_run.add_argument("model", type=Path, help="a GGUF file or model directory")
    of_run.add_argument("prompts", type=Path)
    of_run.add_argument("--batch", type=int, default=8, help="(default: %(default)s)")
    of_run.add_argument("--new-tokens", type=int, default=128, help="(default: %(default)s)")
    of_run.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    of_run.add_argument("--tokens", action="store_true", help="print what was generated, too")
    of_run.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if arguments.command == "prompts":
        write_prompts(arguments.problems, arguments.tokenizer, arguments.count, arguments.out)
        return
    torch.set_num_threads(arguments.threads)
    model, prompts = load(arguments.model), json.loads(arguments.prompts.read_text())
    batches = [prompts[i : i + arguments.batch] for i in range(0, len(prompts), arguments.batch)]
    generate(model, batches[0], 2, None)
    began = time.perf_counter()
    generated = [row for batch in batches for row in generate(model, batch, arguments.new_tokens, None)]
    seconds = time.perf_counter() - began
    tokens = sum(map(len, generated))
    result = {
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    if arguments.tokens:
        result["generated"] = generated
    print(json.dumps(result) if arguments.json else f"{tokens / seconds:.0f} tokens/s, {tokens} tokens in {seconds:.1f} s")


if __name__ == "__main__":
    main()
