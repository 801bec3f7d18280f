"""Compare our texts and tokens of tricky conversations with those of transformers, for the chat templates of many models.

    chat_templates.py RENDER FOLDER

RENDER is the built example `render` of leadspan-precompute. FOLDER is what `chat_templates.sh` fetches: a folder with a tokenizer
and its template for some models, and the templates alone of others. For these a small tokenizer stands in: texts do not depend on
it.

What transformers renders must be the same text, with and without the header of the next turn, and the same tokens; what it
refuses must be refused. Of a sample that `prepare` makes of a conversation, the tokens must be those of transformers. What is
refused beyond that is counted and must be of a kind that is meant: tools that a template does not write. Special tokens are
compared where a model has its own tokenizer. Prints a table, and exits with 1 where anything differs.

Three things are ours. A blank `reasoning_content` of the last turn is left out, so that thinking in the content is found. A template
that does not read it finds it in the content, between thinking markers. transformers is given the conversation of a sample in that
form. And the date of `strftime_now` is fixed, here also for transformers.
"""

import argparse
import datetime
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import transformers.utils.chat_template_utils as chat_template_utils
from chat_template_conversations import CONVERSATIONS
from transformers import PreTrainedTokenizerFast

STAND_IN = Path(__file__).parent.parent / "fixtures" / "tokenizer"

# The family, where the template comes from, and the tokens at the beginning and at the end of texts where there is no tokenizer.
MODELS = {
    "qwen3": ("Qwen3", "npm", None),
    "llama3": ("Llama", "npm", None),
    "llama3_1": ("Llama", "npm", None),
    "gemma3": ("Gemma 3", "npm", None),
    "gemini": ("another", "npm", None),
    "deepseek_v3": ("another", "npm", None),
    "Qwen-Qwen2.5-7B-Instruct": ("Qwen2", "llama.cpp", ("", "<|im_end|>")),
    "Qwen-QwQ-32B": ("Qwen2", "llama.cpp", ("", "<|im_end|>")),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": ("Qwen2", "llama.cpp", ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": ("Llama", "llama.cpp", ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")),
    "meta-llama-Llama-3.2-3B-Instruct": ("Llama", "llama.cpp", ("<|begin_of_text|>", "<|eot_id|>")),
    "smollm2:135m": ("Llama", "ollama", ("<|im_start|>", "<|im_end|>")),
    "Qwen3.5-4B": ("Qwen3.5", "llama.cpp", ("", "<|im_end|>")),
    "mistral:7b-instruct-fp16": ("Mistral", "ollama", ("<s>", "</s>")),
    "mistralai-Mistral-Nemo-Instruct-2407": ("Mistral", "llama.cpp", ("<s>", "</s>")),
    "Mistral-Small-3.2-24B-Instruct-2506": ("Mistral", "llama.cpp", ("<s>", "</s>")),
    "mistralai-Ministral-3-14B-Reasoning-2512": ("Mistral", "llama.cpp", ("<s>", "</s>")),
    "olmo2:7b": ("OLMo 2", "ollama", ("<|endoftext|>", "<|endoftext|>")),
    "HuggingFaceTB-SmolLM3-3B": ("SmolLM3", "llama.cpp", ("", "<|im_end|>")),
    "ibm-granite-granite-3.3-2B-Instruct": ("Granite", "llama.cpp", ("<|end_of_text|>", "<|end_of_text|>")),
    "ibm-granite-granite-4.0": ("Granite", "llama.cpp", ("<|end_of_text|>", "<|end_of_text|>")),
    "microsoft-Phi-3.5-mini-instruct": ("Phi-3", "llama.cpp", ("<s>", "<|endoftext|>")),
    "phi4:14b": ("Phi-3", "ollama", ("<|endoftext|>", "<|im_end|>")),
    "phi4-mini:3.8b": ("Phi-3", "ollama", ("<|endoftext|>", "<|endoftext|>")),
    "phi4-reasoning:14b": ("Phi-3", "ollama", ("<|endoftext|>", "<|im_end|>")),
    "openai-gpt-oss-120b": ("gpt-oss", "llama.cpp", ("<|startoftext|>", "<|return|>")),
}


class FixedDate(datetime.datetime):
    """The date that leadspan gives to templates."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, tzinfo=tz)


def template_of(folder, name, where):
    """The text of a template that comes without a tokenizer."""
    if where == "llama.cpp":
        return (folder / "llama.cpp" / f"{name}.jinja").read_text()
    table = (folder / "ollama.ts").read_text()
    found = re.search(rf'model: "library/{re.escape(name)}",\s*gguf: ("(?:[^"\\]|\\.)*")', table)
    return json.loads(found[1])


def stand_in(folder, template, tokens):
    """Write a small tokenizer with a template and its special tokens."""
    tokenizer = json.loads((STAND_IN / "tokenizer.json").read_text())
    known = {token["content"] for token in tokenizer["added_tokens"]}
    last = max([token["id"] for token in tokenizer["added_tokens"]] + list(tokenizer["model"]["vocab"].values()))
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    for token in dict.fromkeys(tokens):
        if token and token not in known:
            last += 1
            tokenizer["added_tokens"].append({"id": last, "content": token, **plain})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    names = {name: token for name, token in zip(("bos_token", "eos_token"), tokens, strict=True) if token}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(template)


def as_row(conversation):
    return conversation if isinstance(conversation, dict) else {"messages": conversation}


def rendered(tokenizer, row, add_generation_prompt=False):
    """The text, or None where transformers refuses."""
    arguments = {"tools": row.get("tools"), **row.get("chat_template_kwargs", {})}
    try:
        return tokenizer.apply_chat_template(
            row["messages"], tokenize=False, add_generation_prompt=add_generation_prompt, **arguments
        )
    except Exception:  # whatever a template raises
        return None


def of_sample(row, template_source):
    """The row as `prepare` gives it to the template."""
    *earlier, last = row["messages"]
    thinking = (last.get("reasoning_content") or last.get("thinking") or "").strip()
    if not thinking or not ("reasoning_content" in template_source or ".thinking" in template_source):
        last = {name: value for name, value in last.items() if name not in ("reasoning_content", "thinking")}
        if thinking:
            thinking = f"<think>\n{thinking}\n</think>"
            last["content"] = f"{thinking}\n\n{last['content']}" if last["content"] else thinking
    return {**row, "messages": [*earlier, last]}


def compare(render, model, template_source):
    """What is found for one model: counts, and the differences as (conversation, what, ours, theirs)."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "conversations.jsonl"
        lines = [json.dumps({"id": id_, **as_row(row)}) + "\n" for id_, row in CONVERSATIONS.items()]
        rows.write_text("".join(lines))
        made = subprocess.run([render, model, rows], capture_output=True, text=True)
    if made.returncode:
        raise SystemExit(f"{model.name}: {made.stderr}")
    head, *ours = map(json.loads, made.stdout.strip("\n").split("\n"))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    counts = {"conversations": len(CONVERSATIONS), "rendered": 0, "samples": 0, "refused by us alone": 0}
    differences = []
    if head["special_tokens"] != tokenizer.special_tokens_map:
        differences.append(("-", "special tokens", head["special_tokens"], tokenizer.special_tokens_map))
    for found in ours:
        row = as_row(CONVERSATIONS[found["id"]])
        text = rendered(tokenizer, row)
        if text is not None and "tools" in row and "tools" not in template_source and found["text"] is None:
            counts["refused by us alone"] += 1
            continue
        counts["rendered"] += text is not None
        ids = tokenizer.encode(text, add_special_tokens=False) if text is not None else None
        pairs = [("text", text), ("opened", rendered(tokenizer, row, True)), ("encoded", ids)]
        if found["tokens"] is not None:
            counts["samples"] += 1
            sample = rendered(tokenizer, of_sample(row, template_source))
            pairs.append(("tokens", sample and tokenizer.encode(sample, add_special_tokens=False)))
        for what, theirs in pairs:
            if found[what] != theirs:
                mine = found.get("refused") if found[what] is None else found[what]
                differences.append((found["id"], what, mine, theirs))
    return {"family": "", "end of turn": head["end_of_turn"], **counts, "differences": differences}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("render", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", choices=MODELS, default=list(MODELS), help="some of the models")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    chat_template_utils.datetime = FixedDate
    results = {}
    for name in arguments.only:
        family, where, tokens = MODELS[name]
        with tempfile.TemporaryDirectory() as folder:
            model = arguments.folder / name
            if tokens is not None:
                stand_in(Path(folder), template_of(arguments.folder, name, where), tokens)
                model = Path(folder)
            files = [model / "chat_template.jinja", model / "tokenizer_config.json"]
            source = "".join(file.read_text() for file in files if file.exists())
            results[name] = compare(arguments.render, model, source) | {"family": family, "from": where}
    if arguments.json:
        print(json.dumps(results))
    else:
        print("| family | template | from | conversations | rendered | samples | refused by leadspan alone | differences | a turn ends with |")
        print("|---|---|---|---|---|---|---|---|---|")
        for name, result in results.items():
            row = [result[key] for key in ("conversations", "rendered", "samples", "refused by us alone")]
            end = str(result["end of turn"]).replace("|", "\\|")
            row = [result["family"], f"`{name}`", result["from"], *row, len(result["differences"]), f"`{end}`"]
            print("|", " | ".join(map(str, row)), "|")
        for name, result in results.items():
            for conversation, what, ours, theirs in result["differences"]:
                print(f"\n{name}: {conversation}: {what}\n    ours:   {ours!r:.800}\n    theirs: {theirs!r:.800}")
    sys.exit(any(result["differences"] for result in results.values()))


if __name__ == "__main__":
    main()
