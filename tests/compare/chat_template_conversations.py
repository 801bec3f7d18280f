"""Conversations for `chat_templates.py`, with what templates stumble over.

Each is a list of turns, or a row: `messages` with `tools` or `chat_template_kwargs` beside them.
"""

CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": [2.5, None, True], "c": "é\"<&'"}}}
NUMBERED = {"id": "call00001", **CALL}
RESULT = {"role": "tool", "tool_call_id": "call00001", "content": "{\"sum\": 3}"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds <two> numbers & \"more\".\nExactly.",
            "parameters": {
                "type": "object",
                "properties": {
                    "a": {"type": "integer", "description": "The first: é."},
                    "b": {"type": "array", "items": {"type": "number"}, "default": [2.5, 1e20]},
                    "c": {"type": ["string", "null"], "enum": ["x", "y"]},
                },
                "required": ["a", "b"],
            },
            "return": {"type": "number"},
        },
    },
    {"type": "function", "function": {"name": "now", "description": "The time.", "parameters": {"type": "object", "properties": {}}}},
]
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
    "content that is null": [user("Add."), assistant(None, tool_calls=[CALL]), {"role": "tool", "content": "3"}, assistant(ENDED)],
    "calls with ids": [user("Add."), assistant("", tool_calls=[NUMBERED]), RESULT, assistant("Three.")],
    "calls with ids, content and thinking": [user("Add."), assistant("So:", tool_calls=[NUMBERED], reasoning_content="I add."), RESULT, assistant(ENDED)],
    "a named tool": [user("Add."), assistant("", tool_calls=[NUMBERED]), {**RESULT, "name": "add"}, assistant("Three.")],
    "ends with a call": [user("Add."), assistant("", tool_calls=[NUMBERED], reasoning_content="I add.")],
    "thinking under another name": [user("Why?"), assistant("It is.", thinking="because")],
    "only spaces": [user(" "), assistant("\n")],
    "system prompt with markers": [{"role": "system", "content": "/no_think <think></think> [INST] <|user|>"}, user("Why?"), assistant(ENDED)],
    "system prompt and two turns": [{"role": "system", "content": " Be brief. "}, user("One?"), assistant("1"), user("Two?"), assistant("2")],
    "answer with tags": [user("Why?"), assistant("<answer>It is.</answer> <think>hm</think> </answer>")],
    "tools": {"messages": [user("Add."), assistant(ENDED)], "tools": TOOLS},
    "tools and a system prompt": {"messages": [{"role": "system", "content": "Be brief."}, user("Add."), assistant("3")], "tools": TOOLS},
    "tools and a call": {"messages": [user("Add."), assistant("", tool_calls=[NUMBERED]), RESULT, assistant("Three.")], "tools": TOOLS},
    "tools and calls in two turns": {"messages": [user("Add."), assistant("", tool_calls=[NUMBERED]), RESULT, user("Again."), assistant("", tool_calls=[NUMBERED]), RESULT, assistant("Three.")], "tools": TOOLS[:1]},
    "thinking off": {"messages": [user("Why?"), assistant("It is.")], "chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
    "thinking on": {"messages": [user("Why?"), assistant(ENDED)], "chat_template_kwargs": {"enable_thinking": True, "thinking": True}},
    "much effort": {"messages": [{"role": "system", "content": "Be brief."}, user("Why?"), assistant("It is.", thinking="because")], "chat_template_kwargs": {"reasoning_effort": "high", "model_identity": "You are a model."}},
}
