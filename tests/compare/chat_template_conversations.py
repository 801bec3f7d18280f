"""Compare our rendering and tokens of tricky conversations with those of transformers, character by character.

MODEL is a directory with Qwen3's `tokenizer.json` and `tokenizer_config.json`; RENDER is the built example `render` of
leadspan-precompute. Exits with 1 where a text or a token differs, or a conversation is left out from whose last turn the
template does not remove the thinking.

One thing is ours: a `reasoning_content` of the last turn that is blank is left out, so that thinking in the content is
found. transformers is given the tokens' conversation in that form.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from transformers import AutoTokenizer

CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": [2.5, None, True], "c": "é\"<&'"}}}
ENDED = "<think>\nbecause\n</think>\n\nIt is."


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **fields):
    return {"role": "assistant", "content": content, **fields}


CONVERSATIONS = {
    "plain": [user("Why?"), assistant(ENDED)],
    "no thinking": [user("Why?"), assistant("It is.")],
    "empty thinking": [user("Why?"), assistant("<think>\n\n</think>\n\nIt is.")],
    "thinking in one line": [user("Why?"), assistant("<think>because</think>It is.")],
    "thinking with outer white space": [user("Why?"), assistant("<think> \n\n \tbecause \n\n</think>\n\n\n  It is. \n\n")],
    "end marker alone": [user("Why?"), assistant("because</think>It is.")],
    "end marker twice": [user("Why?"), assistant("<think>a</think>b</think>c")],
    "nothing after thinking": [user("Why?"), assistant("<think>\nbecause\n</think>")],
    "text before thinking": [user("Why?"), assistant("Well. <think>because</think> It is.")],
    "system prompt": [{"role": "system", "content": "Be brief.\n"}, user("Why?"), assistant(ENDED)],
    "empty system prompt": [{"role": "system", "content": ""}, user("Why?"), assistant(ENDED)],
    "system prompt further down": [user("Why?"), {"role": "system", "content": "Hm."}, user("Why?"), assistant(ENDED)],
    "thinking in earlier turns": [user("One?"), assistant(ENDED), user("Two?"), assistant(ENDED), user("Three?"), assistant(ENDED)],
    "two assistant turns at the end": [user("Why?"), assistant(ENDED), assistant("<think>\nmore\n</think>\n\nYes.")],
    "assistant first": [assistant(ENDED), user("What?"), assistant(ENDED)],
    "no user at all": [{"role": "system", "content": "Speak."}, assistant(ENDED)],
    "reasoning_content": [user("Why?"), assistant("It is.", reasoning_content="because")],
    "reasoning_content with white space": [user("Why?"), assistant("\n\n It is.\n", reasoning_content="\n\n because \n\n")],
    "reasoning_content in earlier turns": [user("One?"), assistant("1", reasoning_content="r"), user("Two?"), assistant("2", reasoning_content="s")],
    "reasoning_content and markers": [user("Why?"), assistant("<think>a</think>b", reasoning_content="because")],
    "empty reasoning_content": [user("Why?"), assistant("It is.", reasoning_content="")],
    "null reasoning_content": [user("Why?"), assistant(ENDED, reasoning_content=None)],
    "empty reasoning_content and markers": [user("Why?"), assistant(ENDED, reasoning_content="")],
    "blank reasoning_content in an earlier turn": [user("Why?"), assistant(ENDED, reasoning_content=" \n"), user("Why?"), assistant(ENDED)],
    "markers in the user's text": [user("What do <think> and </think> do? </think><think>"), assistant(ENDED)],
    "special tokens in the user's text": [user("<|im_end|>\n<|im_start|>assistant\nno<|endoftext|> <|im_start|>"), assistant(ENDED)],
    "tool-like text": [user("<tool_response>\n{\"a\": 1}\n</tool_response>"), assistant(ENDED)],
    "tool-like question before": [user("Add."), assistant("<think>x</think>y"), user("<tool_response>3</tool_response>"), assistant(ENDED)],
    "tool calls": [user("Add."), assistant("", tool_calls=[CALL, CALL], reasoning_content="I add."), {"role": "tool", "content": "3"}, {"role": "tool", "content": "4"}, assistant(ENDED)],
    "tool call after text": [user("Add."), assistant("<think>hm</think>\n\nSo:", tool_calls=[CALL]), {"role": "tool", "content": "3"}, assistant("Three.")],
    "tool call with arguments as text": [user("Add."), assistant("", tool_calls=[{"name": "add", "arguments": "{\"a\": 1}"}]), {"role": "tool", "content": "3"}, assistant(ENDED)],
    "tool result between questions": [user("Add."), assistant("", tool_calls=[CALL]), {"role": "tool", "content": "3"}, user("And?"), assistant(ENDED)],
    "unicode": [user("Ça va? 你好，世界 🙂🏳️‍🌈 e\u0301 \u00e9 \ufb01 ﷽ \u200b\u2028\u00a0|"), assistant("<think>\n思考 é e\u0301 Å\u030a\n</think>\n\n好 🙂")],
    "white space": [user("  \ttwo  spaces\r\nand\n\n\n\nlines \n "), assistant("<think>\n  indented\n\tcode\n</think>\n\n    x = 1\n\n\n    y = 2   \n\n")],
    "numbers and code": [user("1234567890 3.14159 ```python\nprint('a\\n')\n``` $\\frac{1}{2}$"), assistant("<think>\n0x1F 1_000\n</think>\n\n\\boxed{42}")],
    "empty question": [user(""), assistant(ENDED)],
    "braces": [user("{{ messages }} {% if x %} {# no #} {{"), assistant("<think>\n{{ 1 }}\n</think>\n\n{% raw %}")],
    "long": [user("word " * 500), assistant("<think>\n" + "thinking, " * 2000 + "\n</think>\n\nDone.")],
}


def without_blank_reasoning(messages):
    *earlier, last = messages
    if not (last.get("reasoning_content") or "").strip():
        last = {name: value for name, value in last.items() if name != "reasoning_content"}
    return [*earlier, last]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("render", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "conversations.jsonl"
        lines = [json.dumps({"id": id_, "messages": messages}) + "\n" for id_, messages in CONVERSATIONS.items()]
        rows.write_text("".join(lines))
        made = subprocess.run([arguments.render, arguments.model, rows], check=True, capture_output=True, text=True)
    ours = {row["id"]: row for row in map(json.loads, made.stdout.strip("\n").split("\n")[1:])}

    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    differences, tokens, removed = [], 0, 0
    for id_, messages in CONVERSATIONS.items():
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        opened = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer.apply_chat_template(without_blank_reasoning(messages), tokenize=True, return_dict=False)
        tokens += len(ids)
        for what, theirs in [("text", text), ("opened", opened), ("tokens", ids)]:
            if what == "tokens" and ours[id_][what] is None and "</think>" not in text:
                removed += 1
            elif ours[id_][what] != theirs:
                differences.append({"conversation": id_, "what": what, "ours": ours[id_][what], "theirs": theirs})
    if arguments.json:
        print(json.dumps({"conversations": len(CONVERSATIONS), "thinking_removed": removed, "tokens": tokens,
                          "differences": differences}))
    else:
        left_out = f"{removed} of which give no sample, since the template removes their thinking"
        print(f"{len(CONVERSATIONS)} conversations ({left_out}), {tokens} tokens, {len(differences)} differences")
        for difference in differences:
            print(f"\n{difference['conversation']}: {difference['what']}")
            print(f"  ours:   {difference['ours']!r}\n  theirs: {difference['theirs']!r}")
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
