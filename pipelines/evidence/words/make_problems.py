"""Makes the problems, tokenizer and model configurations of the second family, into a folder.

    make_problems.py FOLDER [SCALE]

SCALE divides all numbers of problems and makes the models tiny, to try the recipe. Of each kind of problem (`kinds.py`) there are
three parts:

| | easy | hard | held out |
|---|---|---|---|
| `gsm` | half of the known templates | all known templates | every eighth template, in no other part |
| `legs` | 2 or 3 animals | 4 to 7 | 8 or 9 |
| `sums` | 2 or 3 terms | 4 to 6 | 7 or 8 |
| `gcd` | numbers up to 60 | 61 to 200 | 201 to 400 |

- `teacher.jsonl` is easy and hard, `teacher-hard.jsonl` hard, `base.jsonl` easy with some hard ones: what the two models are made with.
- `hard.jsonl` is what the student learns from the teacher, `known.jsonl` (some of `base.jsonl`) what it is reminded of.
- `test.jsonl` is hard, `transfer.jsonl` held out. No question of either is in another file.

Rows of `hard.jsonl` have a column `response`: how many tokens the prompt and the first half of the response have together.
"""

import json
import random
import sys
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import kinds

VOCABULARY = 3072
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Hidden size, layers, inner size, heads, key-value heads.
SHAPES = {"teacher": (384, 6, 1024, 6, 2), "student": (256, 4, 448, 4, 1)}
TINY = {"teacher": (64, 1, 64, 1, 1), "student": (64, 1, 64, 1, 1)}
# Words with the space before them, digits one by one, and everything else.
PIECES = r"[0-9]| ?[A-Za-z']+|\s+| ?[^\sA-Za-z0-9']+"


def parts():
    """Of each part, how each kind of problem is drawn, with its share in ten."""
    numbers = sorted(kinds.templates())
    held_out = numbers[4::8]
    known = [number for number in numbers if number not in held_out]

    def drawn(gsm, legs, sums, gcd):
        return [
            ("gsm", 4, lambda random_: kinds.gsm(random_, gsm)[:3]),
            ("legs", 2, lambda random_: kinds.legs(random_, *legs)),
            ("sums", 2, lambda random_: kinds.sums(random_, *sums)),
            ("gcd", 2, lambda random_: kinds.gcd(random_, *gcd)),
        ]

    return {
        "easy": drawn(known[::2], (2, 3), (2, 3), (2, 60)),
        "hard": drawn(known, (4, 7), (4, 6), (61, 200)),
        "held-out": drawn(held_out, (8, 9), (7, 8), (201, 400)),
    }


def problems(seed, count, name, part, seen):
    """So many rows with questions that have not been seen, which are seen from then on."""
    random_, rows = random.Random(seed), []
    names, shares, makers = zip(*part, strict=True)
    while len(rows) < count:
        kind = random_.choices(range(len(names)), shares)[0]
        question, working, answer = makers[kind](random_)
        if question not in seen:
            seen.add(question)
            rows.append({"id": f"{name}-{len(rows)}", "kind": names[kind], "question": question, "chain_of_thought": working,
                         "answer": answer})
    return rows


def shuffled(*several):
    rows = [row for part in several for row in part]
    random.Random(8).shuffle(rows)
    return rows


def tokenizer(rows):
    """Byte-level BPE, trained on the texts that the teacher is taught."""
    made = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces = pre_tokenizers.Split(pattern=Regex(PIECES), behavior="isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([pieces, byte_level])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    texts = (row[field] for row in rows for field in ("question", "chain_of_thought"))
    made.train_from_iterator([*texts, "user", "assistant"], trainer)
    return made


def architecture(ids, rows, hidden, layers, inner, heads, key_value_heads):
    return {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": rows, "hidden_size": hidden,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads, "head_dim": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "max_position_embeddings": 1024, "tie_word_embeddings": True, "attention_bias": False, "hidden_act": "silu",
        "torch_dtype": "float32", "bos_token_id": None, "eos_token_id": ids["<|im_end|>"],
    }


def write_models(folder, made, shapes):
    """Everything of the two models but their weights: 10.5 and 2.7 million parameters."""
    ids = {content: made.token_to_id(content) for content in SPECIAL}
    tokens = json.loads(made.to_str())
    for token in tokens["added_tokens"]:
        token["special"] = not token["content"].endswith("think>")
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": None, "eos_token": "<|im_end|>",
             "pad_token": "<|endoftext|>", "model_max_length": 1024, "clean_up_tokenization_spaces": False,
             "chat_template": TEMPLATE}
    ends = {"eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"]}
    rows = -(-made.get_vocab_size() // 32) * 32
    for name, shape in shapes.items():
        to = folder / "models" / name
        to.mkdir(parents=True, exist_ok=True)
        (to / "tokenizer.json").write_text(json.dumps(tokens, ensure_ascii=False) + "\n", encoding="utf-8")
        for file, content in [("tokenizer_config", about), ("generation_config", ends), ("config", architecture(ids, rows, *shape))]:
            (to / f"{file}.json").write_text(json.dumps(content, indent=2) + "\n")


def counted(made, row):
    """Tokens of the prompt and of the response, as the program renders a row."""
    prompt = f"<|im_start|>user\n{row['question']}<|im_end|>\n<|im_start|>assistant\n"
    response = f"<think>\n{row['chain_of_thought']}\n</think>\n\n{row['answer']}<|im_end|>\n"
    before = len(made.encode(prompt).ids)
    return before, len(made.encode(prompt + response).ids) - before


def shares(made, rows):
    """Prints the sections' lengths of each kind of problem."""
    for kind in ("gsm", "legs", "sums", "gcd", ""):
        counts = [counted(made, row) for row in rows if not kind or row["kind"] == kind]
        if counts:
            prompt, response = (sum(count[section] for count in counts) / len(counts) for section in (0, 1))
            longest = max(map(sum, counts))
            print(f"{kind or 'all':6} {prompt:6.1f} tokens of prompt, {response:6.1f} of response; "
                  f"prompt {prompt / (prompt + response):.1%}; at most {longest}")


def main(folder, scale=1):
    def drawn(seed, count, name, part):
        return problems(seed, max(count // scale, 24), name, made_of[part], seen)

    made_of, seen = parts(), set()
    test = drawn(61, 500, "test", "hard")
    transfer = drawn(62, 250, "transfer", "held-out")
    hard = drawn(63, 700, "hard", "hard")
    base = shuffled(drawn(64, 8000, "easy-base", "easy"), drawn(65, 500, "hard-base", "hard"))
    teacher = shuffled(drawn(66, 8000, "easy-teacher", "easy"), drawn(67, 8000, "hard-teacher", "hard"))
    teacher_hard = drawn(69, 48000, "more-teacher", "hard")
    hard += drawn(70, 1400, "more-hard", "hard")
    made = tokenizer(teacher)
    for row in hard:
        prompt, response = counted(made, row)
        row["response"] = prompt + response // 2
    written = {"test": test, "transfer": transfer, "hard": hard, "base": base, "teacher": teacher, "teacher-hard": teacher_hard,
               "known": random.Random(68).sample(base, max(1200 // scale, 24))}
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in written.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    write_models(folder, made, SHAPES if scale == 1 else TINY)
    print(f"{made.get_vocab_size()} tokens of the vocabulary; hard.jsonl:")
    shares(made, hard)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
