"""Makes the rows and the model of the rehearsal: everything is made up or random. Python's own library is enough.

    python make_rehearsal.py FOLDER
"""

import json
import pathlib
import random
import struct
import sys

ROWS = 120
SYSTEM = "Explore the question first, between <|begin_of_thought|> and <|end_of_thought|>, then give your solution."
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 32,
    "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "hidden_act": "silu",
    "attention_bias": False, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "bos_token_id": 151643,
    "eos_token_id": 151645,
}


def row(n, numbers):
    """Every tenth has no thought, every fifteenth is longer than 4,095 tokens."""
    a, b = numbers.randrange(2, 99), numbers.randrange(2, 99)
    steps = [f"{a} times {k} is {a * k}." for k in range(1, b + 1)]
    thought = "\n\n".join(steps * (20 if n % 15 == 14 else 1))
    solution = f"<|begin_of_solution|>\n\n\\boxed{{{a * b}}} 🎲\n\n<|end_of_solution|>"
    if n % 10 != 9:
        solution = f"<|begin_of_thought|>\n\n{thought}\n\n<|end_of_thought|>\n\n{solution}"
    question = f"What is {a} \\times {b}? Return your final response within \\boxed{{}}."
    return {"system": SYSTEM, "conversations": [{"from": "user", "value": question}, {"from": "assistant", "value": solution}]}


def tensors():
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    heads, key_value = (CONFIG[name] * CONFIG["head_dim"] for name in ("num_attention_heads", "num_key_value_heads"))
    shapes = {"model.embed_tokens.weight": [CONFIG["vocab_size"], hidden], "model.norm.weight": [hidden]}
    for layer in range(CONFIG["num_hidden_layers"]):
        for name, shape in {
            "input_layernorm": [hidden], "post_attention_layernorm": [hidden], "self_attn.q_norm": [CONFIG["head_dim"]],
            "self_attn.k_norm": [CONFIG["head_dim"]], "self_attn.q_proj": [heads, hidden],
            "self_attn.k_proj": [key_value, hidden], "self_attn.v_proj": [key_value, hidden],
            "self_attn.o_proj": [hidden, heads], "mlp.gate_proj": [inner, hidden], "mlp.up_proj": [inner, hidden],
            "mlp.down_proj": [hidden, inner],
        }.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    return shapes


def write_weights(path, numbers):
    header, offset = {}, 0
    for name, shape in tensors().items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            # bf16 numbers of either sign between 1/32 and 1/8; norms are 1.
            low, high = numbers.randbytes((end - begin) // 2), numbers.choices(b"\x3d\xbd", k=(end - begin) // 2)
            values = bytearray(end - begin)
            values[0::2], values[1::2] = low, bytes(high)
            if "norm" in name:
                values = b"\x80\x3f" * ((end - begin) // 2)
            file.write(values)


def main():
    folder = pathlib.Path(sys.argv[1])
    numbers = random.Random(0)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "model").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row(n, numbers), ensure_ascii=False) + "\n" for n in range(ROWS)]
    (folder / "data/train.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "model/config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    write_weights(folder / "model/model.safetensors", numbers)


if __name__ == "__main__":
    main()
