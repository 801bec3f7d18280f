"""Compare our special tokens, texts and tokens with those of transformers for the tokenizers of several models.

RENDER is the built example `render` of leadspan-precompute, MODEL a directory with a tokenizer and a chat template. The
conversations are those of `qwen3_template.py`. A conversation that one refuses must be refused by the other. Exits with 1
where anything differs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from qwen3_template import CONVERSATIONS
from transformers import PreTrainedTokenizerFast


def rendered(tokenizer, messages, add_generation_prompt):
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    except Exception:  # whatever the template raises
        return None


def compare(render, model):
    """The token that ends a turn, the number of conversations that are rendered, and the differences as (conversation, what, ours, theirs)."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "conversations.jsonl"
        lines = [json.dumps({"id": id_, "messages": messages}) + "\n" for id_, messages in CONVERSATIONS.items()]
        rows.write_text("".join(lines))
        made = subprocess.run([render, model, rows], check=True, capture_output=True, text=True)
    head, *ours = map(json.loads, made.stdout.strip("\n").split("\n"))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    differences, both = [], 0
    if head["special_tokens"] != tokenizer.special_tokens_map:
        differences.append(("-", "special tokens", head["special_tokens"], tokenizer.special_tokens_map))
    for row in ours:
        messages = CONVERSATIONS[row["id"]]
        text = rendered(tokenizer, messages, False)
        both += text is not None
        ids = tokenizer.encode(text, add_special_tokens=False) if text is not None else None
        for what, theirs in [("text", text), ("opened", rendered(tokenizer, messages, True)), ("encoded", ids)]:
            if row[what] != theirs:
                differences.append((row["id"], what, row[what], theirs))
    return head["end_of_turn"], both, differences


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("render", type=Path)
    parser.add_argument("model", type=Path, nargs="+")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {model.name: compare(arguments.render, model) for model in arguments.model}
    if arguments.json:
        print(json.dumps(results))
    else:
        for name, (end, both, differences) in results.items():
            print(f"{name}: {len(CONVERSATIONS)} conversations, {both} rendered, {len(differences)} differences; "
                  f"a turn ends with {end}")
            for conversation, what, ours, theirs in differences:
                print(f"  {conversation}: {what}\n    ours:   {ours!r:.600}\n    theirs: {theirs!r:.600}")
    sys.exit(any(differences for *_, differences in results.values()))


if __name__ == "__main__":
    main()
