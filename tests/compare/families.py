"""Print how far models of every family are from what transformers computes, as a table.

    families.py FAMILIES [GRADIENTS]

FAMILIES is the built example `families` of leadspan-model; GRADIENTS a file with the output of the test
`losses_and_every_gradient_agree_with_pytorch` of leadspan-train (with `--nocapture`). The models are those of
`tests/fixtures`, with the numbers that transformers made for them. Students that the example exported are loaded in
transformers, whole and with nothing left over, and their log-probabilities are compared with those of the model. Exits with 1
if a difference is above 1e-4 (of gradients 1e-3, relative).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

FIXTURES = Path(__file__).parent.parent / "fixtures"
DIRECTORIES = (
    "llama llama_untied_sharded qwen2 qwen3 qwen3_yarn qwen3_moe qwen3_moe_unnormalized mistral mistral3 olmo2 smollm3 gemma3 "
    "gemma3_images granite phi3 phi3_partial qwen3_5"
).split()
# The file, and the row of the table that it belongs to.
FILES = {
    "tiny-teacher.gguf": "llama",
    "parity/qwen3_moe.gguf": "qwen3_moe",
    "gguf/olmo2.gguf": "olmo2",
    "gguf/smollm3.gguf": "smollm3",
    "gguf/gemma3.gguf": "gemma3",
    "gguf/granite.gguf": "granite",
}


def of_export(folder, model):
    """The largest difference of an exported student's log-probabilities, as transformers computes them."""
    student, loading = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    faults = {name: sorted(map(str, keys)) for name, keys in loading.items() if keys}
    if faults:
        sys.exit(f"`{folder.name}` did not load cleanly: {faults}")
    expected = load_file(FIXTURES / "parity" / model / "expected.safetensors")
    with torch.inference_mode():
        logits = student(torch.from_numpy(expected["tokens"].astype("int64"))).logits
    return (logits.double().log_softmax(-1) - torch.from_numpy(expected["logprobs"])).abs().max().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", type=Path)
    parser.add_argument("gradients", type=Path, nargs="?")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    gradients = {}
    for line in arguments.gradients.read_text().splitlines() if arguments.gradients else []:
        if line.startswith("gradients of "):
            name, value = line.removeprefix("gradients of ").split(": ")
            gradients[name] = float(value)
    models = [FIXTURES / "parity" / name for name in DIRECTORIES] + [FIXTURES / name for name in FILES]
    with tempfile.TemporaryDirectory() as out:
        made = subprocess.run([arguments.families, out, *models], check=True, capture_output=True, text=True)
        found = {row["model"]: row for row in map(json.loads, made.stdout.strip().split("\n"))}
        exports = {name: of_export(Path(out) / name, name) for name in DIRECTORIES if found[name]["student"]}
    files = {row: found[Path(name).name]["logprobs"] for name, row in FILES.items()}
    shown = lambda value: f"{value:.0e}" if value is not None else "–"  # noqa: E731
    print("| family | model | hidden states | log-probabilities | gradients | export in transformers | GGUF |")
    print("|---|---|---|---|---|---|---|")
    for name in DIRECTORIES:
        row = found[name]
        values = [row["hidden"], row["logprobs"], gradients.get(name), exports.get(name), files.get(name)]
        role = "teacher, student" if row["student"] else "teacher"
        print(f"| `{row['family']}` ({role}) | `{name}` |", " | ".join(map(shown, values)), "|")
    numbers = [value for row in found.values() for value in (row["hidden"], row["logprobs"]) if value is not None]
    sys.exit(max([*numbers, *exports.values()]) > 1e-4 or max(gradients.values(), default=0) > 1e-3)


if __name__ == "__main__":
    main()
