#!/usr/bin/env python3
"""Writes a teacher of a known shape with random weights in bfloat16, in shards, without holding more than a block of it.

    tests/compare/random_teacher.py OUT --shape qwen3-8b

Tokenizer and chat template are those of the tiny teacher of the tests: the vocabulary of the shape has more tokens.
"""

import argparse
import json
import pathlib
import shutil
import struct

import numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SHARD_BYTES = 4 << 30
BLOCK = 1 << 24

SHAPES = {
    "qwen3-8b": {
        "model_type": "qwen3", "num_hidden_layers": 36, "hidden_size": 4096, "intermediate_size": 12288,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
        "tie_word_embeddings": False, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "max_position_embeddings": 40960,
    },
    "smollm2-135m": {
        "model_type": "llama", "num_hidden_layers": 30, "hidden_size": 576, "intermediate_size": 1536,
        "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "vocab_size": 49152,
        "tie_word_embeddings": True, "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "max_position_embeddings": 8192,
    },
}


def weights(shape):
    """Names and shapes, in the order in which they are stored."""
    hidden, inner, head = shape["hidden_size"], shape["intermediate_size"], shape["head_dim"]
    queries, keys = shape["num_attention_heads"] * head, shape["num_key_value_heads"] * head
    yield "model.embed_tokens.weight", [shape["vocab_size"], hidden]
    for layer in range(shape["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        yield name + "input_layernorm.weight", [hidden]
        yield name + "self_attn.q_proj.weight", [queries, hidden]
        yield name + "self_attn.k_proj.weight", [keys, hidden]
        yield name + "self_attn.v_proj.weight", [keys, hidden]
        yield name + "self_attn.o_proj.weight", [hidden, queries]
        if shape["model_type"] == "qwen3":
            yield name + "self_attn.q_norm.weight", [head]
            yield name + "self_attn.k_norm.weight", [head]
        yield name + "post_attention_layernorm.weight", [hidden]
        yield name + "mlp.gate_proj.weight", [inner, hidden]
        yield name + "mlp.up_proj.weight", [inner, hidden]
        yield name + "mlp.down_proj.weight", [hidden, inner]
    yield "model.norm.weight", [hidden]
    if not shape["tie_word_embeddings"]:
        yield "lm_head.weight", [shape["vocab_size"], hidden]


def elements(shape):
    return int(numpy.prod(shape))


def bfloat16(values):
    """The upper halves of numbers in single precision."""
    return (values.astype(numpy.float32).view(numpy.uint32) >> 16).astype("<u2")


def shards(shape):
    """Lists of weights, each as large as a shard."""
    some, size = [], 0
    for name, dims in weights(shape):
        if some and size + 2 * elements(dims) > SHARD_BYTES:
            yield some
            some, size = [], 0
        some.append((name, dims))
        size += 2 * elements(dims)
    yield some


def write(path, some, block, draw):
    header, offset = {}, 0
    for name, dims in some:
        end = offset + 2 * elements(dims)
        header[name] = {"dtype": "BF16", "shape": dims, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    one = bfloat16(numpy.ones(1))
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, dims in some:
            left = elements(dims)
            if len(dims) == 1:
                out.write(numpy.repeat(one, left).tobytes())
                continue
            while left:
                # The same numbers from another place: drawing all of them would take minutes.
                start = int(draw.integers(BLOCK // 2))
                part = block[start:start + min(left, BLOCK // 2)]
                out.write(part.tobytes())
                left -= len(part)


def make(out, name):
    shape = SHAPES[name]
    out.mkdir(parents=True, exist_ok=True)
    for file in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"]:
        shutil.copy(ROOT / "tests/fixtures/tiny-teacher" / file, out / file)
    config = dict(shape, hidden_act="silu", bos_token_id=1, eos_token_id=2, dtype="bfloat16", attention_bias=False)
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    draw = numpy.random.default_rng(7)
    block = bfloat16(draw.standard_normal(BLOCK, dtype=numpy.float32) * 0.02)
    parts = list(shards(shape))
    if len(parts) == 1:
        write(out / "model.safetensors", parts[0], block, draw)
        return
    places = {}
    for number, some in enumerate(parts, 1):
        file = f"model-{number:05}-of-{len(parts):05}.safetensors"
        write(out / file, some, block, draw)
        places.update({weight: file for weight, _ in some})
    index = {"metadata": {}, "weight_map": places}
    (out / "model.safetensors.index.json").write_text(json.dumps(index))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--shape", choices=SHAPES, default="smollm2-135m")
    given = parser.parse_args()
    make(given.out, given.shape)
