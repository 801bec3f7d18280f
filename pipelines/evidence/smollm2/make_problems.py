"""Makes the problems of the study on SmolLM2-135M, into a folder: GSM-Symbolic, as the package has it.

    make_problems.py FOLDER TEACHER STUDENT TEST
    make_problems.py FOLDER TOKENIZER

The numbers say how many problems the teacher is taught, how many the student learns from the teacher (of them, a twentieth is held
out), and how many both are tested on. Every eighth template is in `new-templates.jsonl` alone;
`new-numbers.jsonl` has other problems of the templates that are taught. No test question is among those that are taught.

TOKENIZER is the `tokenizer.json` of the trained teacher. The second command adds a column `response` to the rows of `student.jsonl`:
how many tokens the prompt and the first half of the response have together.
"""

import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "words"))
import kinds  # noqa: E402

# What SmolLM2-Instruct's chat template writes, with the system prompt that it adds.
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
PROMPT = "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
RESPONSE = "<think>\n{chain_of_thought}\n</think>\n\n{answer}<|im_end|>\n"


def problems(seed, count, name, numbers, seen):
    random_, rows = random.Random(seed), []
    while len(rows) < count:
        question, working, answer, template = kinds.gsm(random_, numbers, small=False)
        if question not in seen:
            seen.add(question)
            rows.append({"id": f"{name}-{len(rows)}", "template": template, "question": question, "chain_of_thought": working,
                         "answer": answer})
    return rows


def write(path, rows):
    """The file appears whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    new.replace(path)


def make(folder, teacher, student, test):
    numbers = sorted(kinds.templates())
    held_out = numbers[4::8]
    known = [number for number in numbers if number not in held_out]
    seen = set()
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "new-templates.jsonl", problems(71, test // 2, "new-templates", held_out, seen))
    write(folder / "new-numbers.jsonl", problems(72, test, "new-numbers", known, seen))
    write(folder / "student.jsonl", problems(73, student, "student", known, seen))
    write(folder / "teacher.jsonl", problems(74, teacher, "teacher", known, seen))


def count(folder, tokenizer):
    """Adds the column, and prints the sections' lengths."""
    tokens = Tokenizer.from_file(tokenizer)

    def length(text):
        return len(tokens.encode(text, add_special_tokens=False).ids)

    rows = [json.loads(line) for line in (folder / "student.jsonl").read_text(encoding="utf-8").splitlines()]
    total = prompts = 0
    for row in rows:
        prompt, response = length(PROMPT.format(system=SYSTEM, **row)), length(RESPONSE.format(**row))
        row["response"] = prompt + response // 2
        prompts, total = prompts + prompt, total + prompt + response
    write(folder / "student.jsonl", rows)
    print(f"student.jsonl: {total / len(rows):.1f} tokens a sample, prompt {prompts / total:.1%}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        from tokenizers import Tokenizer

        count(Path(sys.argv[1]), sys.argv[2])
    else:
        make(Path(sys.argv[1]), *map(int, sys.argv[2:]))
