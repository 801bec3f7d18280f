"""Hold an evaluation of leadspan's to the same problems put to the same model by transformers.

transformers answers on its own: the model in float32, its tokenizer's chat template, batches padded on the left, greedy
`generate` with the model's stop tokens. leadspan's built-in rules grade both texts, in a process of their own. Then, answer by
answer: the texts, the number of tokens, the answers found in them and the verdicts. Where two texts differ, they may only do so because of a
near-tie: at the first token that differs, the two best logits, from an unbatched pass over prompt and text, are less than
`--tie` apart, and leadspan's text goes on with the other of the two.
"""

import argparse
import glob
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel


def read_problems(pipeline: Path, settings: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The first `count` problems of JSON-lines files: id, the turns before the answer, the right answer."""
    for key in ("where", "path"):
        if settings.get(key):
            sys.exit(f"error: `evaluate.{key}` is not known here")
    columns = {"question": "question", "answer": "answer"} | settings.get("columns", {})
    answer = settings.get("answer")
    problems: list[dict[str, Any]] = []
    for pattern in settings["files"]:
        for path in sorted(glob.glob(str(pipeline.parent / pattern))):
            for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
                if len(problems) == count:
                    return problems
                if not line.strip():
                    continue
                row = json.loads(line)
                if settings.get("format", "messages") == "columns":
                    turns = [{"role": "user", "content": str(row[columns["question"]])}]
                    reference = row[answer or columns["answer"]]
                elif settings.get("format", "messages") == "messages":
                    turns = list(row["messages"])
                    last = turns.pop()["content"] if turns[-1]["role"] == "assistant" else None
                    reference = row[answer] if answer else last
                else:
                    sys.exit(f"error: the format `{settings['format']}` is not known here")
                name = row.get("id", f"{Path(path).relative_to(pipeline.parent)}:{number}")
                problems.append({"id": str(name), "turns": turns, "reference": str(reference)})
    return problems


def graded(grade: Path, references: list[str], texts: list[str]) -> list[dict[str, Any]]:
    """The answers found in texts, and whether they are right."""
    pairs = enumerate(zip(references, texts, strict=True))
    lines = "".join(json.dumps({"index": i, "reference": reference, "text": text}) + "\n" for i, (reference, text) in pairs)
    run = subprocess.run([grade], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


class Oracle:
    """A model, its tokenizer and its stop tokens."""

    def __init__(self, model: Path, tokenizer: Path | None) -> None:
        where = {"gguf_file": model.name} if model.suffix == ".gguf" else {}
        folder = model.parent if where else model
        self.model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa", **where
        ).eval()
        of = {"pretrained_model_name_or_path": tokenizer} if tokenizer else {"pretrained_model_name_or_path": folder, **where}
        self.tokenizer = AutoTokenizer.from_pretrained(**of)
        stops = self.model.generation_config.eos_token_id
        stops = self.tokenizer.eos_token_id if stops is None else stops
        self.stops = [] if stops is None else [stops] if isinstance(stops, int) else list(stops)

    def prompt(self, turns: list[dict[str, str]]) -> list[int]:
        """The tokens of a conversation that the model goes on with."""
        return self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]

    def text(self, tokens: list[int]) -> str:
        """Generated tokens as text."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    @torch.inference_mode()
    def answer(self, prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
        """What follows each prompt, up to a stop token and without it."""
        longest = max(map(len, prompts))
        tokens = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        greedy = GenerationConfig(
            do_sample=False, max_new_tokens=new_tokens, eos_token_id=self.stops or None, pad_token_id=0
        )
        # Nothing of the model's own settings, such as penalties, is to be mixed in.
        self.model.generation_config = greedy
        rows = self.model.generate(tokens, attention_mask=mask, generation_config=greedy)[:, longest:].tolist()
        ends = [next((i for i, token in enumerate(row) if token in self.stops), len(row)) for row in rows]
        return [row[:end] for row, end in zip(rows, ends, strict=True)]

    @torch.inference_mode()
    def two_best(self, tokens: list[int]) -> tuple[list[int], float]:
        """The two most probable tokens after `tokens`, and how far their logits are apart."""
        logits = self.model(torch.tensor([tokens])).logits[0, -1]
        values, best = logits.topk(2)
        return best.tolist(), float(values[0] - values[1])


def first_difference(oracle: Oracle, tokens: list[int], text: str) -> int:
    """How many of `tokens` the other program's text begins with."""
    for end in range(1, len(tokens) + 1):
        # A character of several tokens is not whole after the first of them.
        if not text.startswith(oracle.text(tokens[:end]).rstrip("\N{REPLACEMENT CHARACTER}")):
            return end - 1
    return len(tokens)


def explained(oracle: Oracle, prompt: list[int], tokens: list[int], text: str, tie: float) -> dict[str, Any]:
    """Whether a near-tie is why `text` is not what `tokens` say."""
    place = first_difference(oracle, tokens, text)
    best, apart = oracle.two_best(prompt + tokens[:place])
    taken = {tokens[place]} if place < len(tokens) else set(oracle.stops)
    others = [token for token in best if token not in taken]

    def goes_on(token: int) -> bool:
        if token in oracle.stops:
            return text == oracle.text(tokens[:place])
        return text.startswith(oracle.text([*tokens[:place], token]).rstrip("\N{REPLACEMENT CHARACTER}"))

    is_tie = apart < tie and len(others) == 1 and goes_on(others[0])
    words = [oracle.tokenizer.decode([token]) for token in best]
    return {"token": place, "two_best": words, "apart": apart, "near_tie": is_tie}


def main() -> None:
    """Parse the arguments, compare, and exit with 1 where something is left unexplained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", type=Path, help="the pipeline file with an [evaluate] table")
    parser.add_argument("answers", type=Path, help="the answers.jsonl that leadspan wrote")
    parser.add_argument("model", type=Path, help="the model that was asked: a directory or a GGUF file")
    parser.add_argument("--grade", type=Path, required=True, help="the example `grade` of the crate `evaluate`")
    parser.add_argument("--tokenizer", type=Path, help="a directory with its tokenizer, where the model's is not to be read")
    parser.add_argument("--batch", type=int, default=10, help="problems at a time (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--tie", type=float, default=1e-3, help="logits this close are a near-tie (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    table = tomllib.loads(arguments.pipeline.read_text(encoding="utf-8"))
    settings = table["evaluate"]
    if settings.get("answer_pattern") or settings.get("grader") or "thinking_end" in table.get("sections", {}):
        sys.exit("error: only the built-in rules with their defaults are known here")
    theirs = [json.loads(line) for line in arguments.answers.read_text(encoding="utf-8").splitlines()]
    problems = read_problems(arguments.pipeline, settings, len(theirs))
    wrong: list[str] = []
    if [problem["id"] for problem in problems] != [answer["id"] for answer in theirs]:
        sys.exit("error: these are not the answers to the pipeline's problems")

    oracle = Oracle(arguments.model, arguments.tokenizer)
    prompts = [oracle.prompt(problem["turns"]) for problem in problems]
    # Like lengths together: less padding.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    generated: dict[int, list[int]] = {}
    for start in range(0, len(order), arguments.batch):
        batch = order[start : start + arguments.batch]
        rows = oracle.answer([prompts[i] for i in batch], settings.get("max_new_tokens", 512))
        generated |= dict(zip(batch, rows, strict=True))
        print(f"transformers answered {len(generated)} of {len(order)}", file=sys.stderr)

    equal = {"texts": 0, "answers found": 0, "verdicts": 0}
    right = {"leadspan": 0, "transformers": 0}
    ties: list[float] = []
    references = [problem["reference"] for problem in problems]
    texts = [oracle.text(generated[i]) for i in range(len(problems))]
    verdicts = graded(arguments.grade, references, texts)
    # What leadspan wrote, graded here, is what leadspan made of it, whatever transformers wrote.
    regraded = graded(arguments.grade, references, [answer["text"] for answer in theirs])
    for i, (problem, answer) in enumerate(zip(problems, theirs, strict=True)):
        text, verdict, again = texts[i], verdicts[i], regraded[i]
        equal["texts"] += text == answer["text"]
        equal["answers found"] += verdict["found"] == answer["found"]
        equal["verdicts"] += verdict["correct"] == answer["correct"]
        right["leadspan"] += answer["correct"]
        right["transformers"] += verdict["correct"]
        if (again["found"], again["correct"]) != (answer["found"], answer["correct"]):
            wrong.append(f"{problem['id']}: graded {again} here")
        if text == answer["text"]:
            if len(generated[i]) != answer["tokens"]:
                wrong.append(f"{problem['id']}: {answer['tokens']} tokens, {len(generated[i])} here")
            continue
        why = explained(oracle, prompts[i], generated[i], answer["text"], arguments.tie)
        line = f"{problem['id']}: other texts from token {why['token']} on, where {why['two_best']} are {why['apart']:.1e} apart"
        print(line, file=sys.stderr)
        if why["near_tie"]:
            ties.append(why["apart"])
        else:
            wrong.append(f"{line}, which is no near-tie between them")

    count = len(problems)
    result = {"problems": count, "equal": equal, "right": right, "near_ties": sorted(ties), "unexplained": wrong}
    if arguments.json:
        print(json.dumps(result))
    else:
        counts = ", ".join(f"{name} equal {number}" for name, number in equal.items())
        shares = ", ".join(f"{name} {number / count:.1%} ({number})" for name, number in right.items())
        apart = f" (at most {max(ties):.1e} apart)" if ties else ""
        print(f"{count} problems: {counts}; right: {shares}; {len(ties)} near-ties{apart}, {len(wrong)} unexplained")
        for line in wrong:
            print(f"  {line}")
    sys.exit(1 if wrong or not problems else 0)


if __name__ == "__main__":
    main()
