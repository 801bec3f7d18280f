"""Compare an exported student in transformers with the log-probabilities that leadspan computes for it.

MODEL is a directory that `leadspan train` exported; PROBE a safetensors file with `tokens` (u32 [B, T]) and
`logprobs` (f32 [B, T, V]), leadspan's own log-probabilities of every next token. The directory must load as a model
with a tokenizer and nothing missing. With `--adapter`, MODEL is the base of an exported LoRA adapter, which PEFT loads and whose
folder has the tokenizer (needs `peft` 0.21.2). Exits with 1 if any log-probability differs by more than the tolerance.

transformers computes in float64: in float32 it is itself some 8e-5 nats off that, as far as leadspan is, and the
difference of two such roundings says little about either.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging


def main() -> None:
    """Parse the arguments, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the exported directory")
    parser.add_argument("--probe", type=Path, required=True, help="the safetensors file to compare with")
    parser.add_argument("--adapter", type=Path, help="the exported adapter, if the model is its base")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="in nats (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model, loading = AutoModelForCausalLM.from_pretrained(
        arguments.model, dtype=torch.float64, output_loading_info=True
    )
    faults = {name: sorted(map(str, keys)) for name, keys in loading.items() if keys}
    if faults:
        sys.exit(f"error: `{arguments.model}` did not load cleanly: {faults}")
    if arguments.adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, arguments.adapter).double()
    tokenizer = AutoTokenizer.from_pretrained(arguments.adapter or arguments.model)

    probe = load_file(arguments.probe)
    tokens, expected = probe["tokens"].astype(np.int64), probe["logprobs"]
    worst, total, agreeing = 0.0, 0.0, 0
    for row, stored in zip(tokens, expected, strict=True):
        with torch.inference_mode():
            logprobs = model(torch.from_numpy(row)[None]).logits[0].double().log_softmax(-1).numpy()
        if logprobs.shape != stored.shape:
            sys.exit(f"error: the probe's logprobs are {stored.shape} a sample, but the model gives {logprobs.shape}")
        difference = np.abs(logprobs - stored)
        # `max` would drop a NaN, numpy's does not.
        worst = np.maximum(worst, difference.max())
        total += difference.mean() / len(tokens)
        agreeing += int((logprobs.argmax(-1) == stored.argmax(-1)).sum())

    result = {
        "parameters": model.num_parameters(),
        "tokenizer_entries": len(tokenizer),
        "chat_template": tokenizer.chat_template is not None,
        "positions": tokens.size,
        "max_difference": float(worst),
        "mean_difference": float(total),
        "top_1_agreement": agreeing / tokens.size,
    }
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:<18} {value}")
    if not worst <= arguments.tolerance:
        sys.exit(f"error: the largest difference is above {arguments.tolerance}")


if __name__ == "__main__":
    main()
