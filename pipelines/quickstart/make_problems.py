"""Makes the quickstart's problems, tokenizer and configuration: chains of sums and differences, worked step by step.

Easy problems add and subtract ones (1 to 9) and tens (10, 20, ..., 90); hard ones any number from 1 to 99. Every value on the way
is between 1 and 99. A line of the working does one step and restates what is left to do. Of a number that is neither ones nor
tens, the tens are one step and the ones the next: that is what a hard problem's working has to teach. Of what the base student is
taught, nine in ten problems are easy, and in one in ten just one number is hard: it has seen such steps, at any place, but
seldom.

    make_problems.py FOLDER
"""

import json
import random
import sys
from pathlib import Path

EASY, HARD = [*range(1, 10), *range(10, 100, 10)], [*range(1, 100)]
SPLIT = [number for number in HARD if number not in EASY]
EASY_TERMS, HARD_TERMS = range(2, 12), range(5, 8)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Rows of logits are a multiple of 32, a few more than there are tokens.
ROWS = 288


def byte_names():
    """The printable character by which byte-level BPE writes each byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, next_free = {byte: chr(byte) for byte in kept}, 256
    for byte in range(256):
        if byte not in names:
            names[byte] = chr(next_free)
            next_free += 1
    return names


def tokenizer():
    """Byte-level BPE whose only merges are those of the two roles; and the ids of the special tokens."""
    names = byte_names()
    vocabulary = {names[byte]: byte for byte in range(256)}
    merges = []
    for word in ["user", "assistant"]:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append([word[: end - 1], word[end - 1]])
    ids = {content: len(vocabulary) + number for number, content in enumerate(SPECIAL)}
    added = [
        {"id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": not content.endswith("think>")}
        for content, number in ids.items()
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    words = {"type": "Split", "pattern": {"Regex": "[a-z]+|[^a-z]"}, "behavior": "Isolated", "invert": False}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary, "merges": merges}
    return ids, {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [words, level]}, "post_processor": None, "decoder": level,
        "model": model,
    }


def architecture(ids):
    """Qwen3 with four layers: 0.62 million parameters."""
    return {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": ROWS, "hidden_size": 128,
        "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 512, "tie_word_embeddings": True,
        "attention_bias": False, "hidden_act": "silu", "torch_dtype": "float32", "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"],
    }


def write_model(folder):
    """Everything of a model but its weights."""
    ids, tokens = tokenizer()
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": None, "eos_token": "<|im_end|>",
             "pad_token": "<|endoftext|>", "model_max_length": 512, "clean_up_tokenization_spaces": False,
             "chat_template": TEMPLATE}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(tokens, ensure_ascii=False) + "\n", encoding="utf-8")
    ends = {"eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"]}
    for name, content in [("tokenizer_config", about), ("generation_config", ends), ("config", architecture(ids))]:
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def easy(random_):
    """Of each step, the numbers it may add or subtract."""
    return [EASY] * (random_.choice(EASY_TERMS) - 1)


def hard(random_, terms=HARD_TERMS):
    return [HARD] * (random_.choice(terms) - 1)


def up_to_hard(random_):
    return hard(random_, range(2, HARD_TERMS.stop))


def easy_but_one(random_):
    kinds = [EASY] * (random_.choice(range(2, HARD_TERMS.stop)) - 1)
    kinds[random_.randrange(len(kinds))] = SPLIT
    return kinds


def problem(random_, kinds):
    """A step for each of `kinds`: the question, its working, the answer."""
    start = value = random_.randint(1, 99)
    steps = []
    for numbers in kinds:
        fitting = {"+": [by for by in numbers if value + by <= 99], "-": [by for by in numbers if value - by >= 1]}
        sign = random_.choice([sign for sign in "+-" if fitting[sign]])
        steps.append((sign, random_.choice(fitting[sign])))
        value = applied(value, *steps[-1])
    lines, value = [line(start, steps)], start
    while steps:
        sign, by = steps.pop(0)
        tens, ones = by - by % 10, by % 10
        if tens and ones:
            steps.insert(0, (sign, ones))
        value = applied(value, sign, tens or ones)
        lines.append(line(value, steps))
    return lines[0], "\n".join(lines[1:]), str(value)


def applied(value, sign, by):
    return value + by if sign == "+" else value - by


def line(value, steps):
    return str(value) + "".join(f"{sign}{by}" for sign, by in steps)


def problems(seed, count, name, draw, apart=(), make=problem):
    """So many different ones, made by `make` of the kinds that `draw` draws, none of which is in `apart`."""
    random_, seen, rows = random.Random(seed), set(apart), []
    while len(rows) < count:
        question, working, answer = make(random_, draw(random_))
        if question not in seen:
            seen.add(question)
            rows.append({"id": f"{name}-{len(rows)}", "question": question, "chain_of_thought": working, "answer": answer})
    return rows


def shuffled(*parts):
    rows = [row for part in parts for row in part]
    random.Random(8).shuffle(rows)
    return rows


def main(folder):
    test = problems(1, 200, "test", hard)
    apart = [row["question"] for row in test]
    base = shuffled(problems(6, 21600, "easy-base", easy), problems(10, 2400, "one-hard-base", easy_but_one, apart))
    written = {
        "test": test,
        "easy-test": problems(4, 200, "easy-test", easy),
        # What the student learns from the teacher, and what it was taught before.
        "hard": problems(2, 2100, "hard", hard, apart),
        "known": random.Random(5).sample(base, 1000),
        # What teacher and base are made with.
        "teacher": shuffled(
            problems(5, 12000, "easy-teacher", easy), problems(7, 12000, "hard-teacher", up_to_hard, apart)
        ),
        "base": base,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in written.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_model(folder / "model")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
