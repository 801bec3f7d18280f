"""Makes what a run on a GPU measures with: a random teacher and student of real shapes, made-up texts, a pipeline.

    make.py DIR --fixture DIR [--small]

The teacher has Qwen3-1.7B's shape and the student Qwen3-0.6B's; both have the tokenizer of the fixture, whose few hundred tokens
are part of their vocabulary. There are 256 samples of 1,840 tokens on average, 500 to 4,096. --small makes tiny models and few
samples, for a rehearsal on a CPU.
"""

import argparse
import json
import random
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

COMMON = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151_936,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "max_position_embeddings": 40_960,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
}
TEACHER = {**COMMON, "hidden_size": 2048, "intermediate_size": 6144}
STUDENT = {**COMMON, "hidden_size": 1024, "intermediate_size": 3072}
SMALL = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a model's weights."""
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    for index in range(config["num_hidden_layers"]):
        layer = {
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
            "self_attn.q_norm": (head,),
            "self_attn.k_norm": (head,),
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        found |= {f"model.layers.{index}.{name}.weight": shape for name, shape in layer.items()}
    return found


def write_model(folder: Path, config: dict, fixture: Path, seed: int) -> None:
    """A model with random weights: normal with deviation 0.02 (0.05 in the embedding), norms of one."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    for name in TOKENIZER_FILES:
        shutil.copy(fixture / "tiny-teacher" / name, folder / name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(seed)
    weights = {}
    for name, shape in shapes(config).items():
        if len(shape) == 1:
            weight = torch.ones(shape)
        else:
            deviation = 0.05 if "embed" in name else 0.02
            weight = torch.randn(shape, generator=generator, device=device) * deviation
        weights[name] = weight.to(torch.bfloat16).cpu()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_texts(path: Path, tokenizer: Tokenizer, count: int, mean: int) -> None:
    """Samples of made-up sums with chains of thought of many lengths."""
    drawn = random.Random(3)
    with path.open("w") as file:
        for index in range(count):
            wanted = max(20, min(4096, max(mean * 500 // 1840, int(drawn.lognormvariate(0, 0.6) * mean * 0.84))) - 60)
            lines: list[str] = []
            tokens = 0
            while tokens < wanted:
                a, b = drawn.randrange(1000), drawn.randrange(1000)
                lines.append(f"{a} + {b} = {a + b}.")
                tokens += len(tokenizer.encode(lines[-1] + "\n", add_special_tokens=False).ids)
            row = {
                "id": f"made-up-{index}",
                "question": f"Ada has {index} apples. How many are {a} and {b} together?",
                "chain_of_thought": "\n".join(lines),
                "answer": f"#### {a + b}",
            }
            file.write(json.dumps(row) + "\n")


def main() -> None:
    """Writes everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fixture", type=Path, required=True, help="the folder with tiny-teacher")
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    small = {**SMALL, "vocab_size": 1000} if arguments.small else {}
    write_model(folder / "teacher", {**TEACHER, **small}, arguments.fixture, 1)
    write_model(folder / "student", {**STUDENT, **small}, arguments.fixture, 2)
    tokenizer = Tokenizer.from_file(str(folder / "teacher" / "tokenizer.json"))
    write_texts(folder / "texts.jsonl", tokenizer, *((24, 120) if arguments.small else (256, 1840)))
    (folder / "pipeline.toml").write_text("""
[teacher]
model = "teacher"
dtype = "bf16"
[data]
files = ["texts.jsonl"]
format = "columns"
[cache]
dir = "cache"
top_k = 64
lead_span_proportion = 1.0
[student]
model = "student"
[train]
dir = "run"
dtype = "bf16"
lead_span_proportion = 1.0
learning_rate = 1e-5
epochs = 1
batch_samples = 9
checkpoint_steps = 0
""")


if __name__ == "__main__":
    main()
