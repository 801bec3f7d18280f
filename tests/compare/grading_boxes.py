"""The answer in a box, with what touches it, after docs/grading.md's description alone."""

import re

from grading_beside import HARMLESS, TEXT, formula_around, rest_of_formula, spaces, spaces_before, unit_length, words_after, words_before
from grading_numbers import SCALES, TURNS, among, bare, number

BOX = re.compile(r"\\(?:boxed|fbox)")
JOINING = ("or", "and", "to", "plus", "minus", "times")
GAP = r"(?:[ \t\n$*~]|\\[()\[\],;:! ]|\\q?quad\b)*"
SEPARATOR = re.compile(
    rf"{GAP}([,;])?{GAP}(?:\\(?:text|textrm|mathrm|mbox)\s*\{{[\s,]*(?P<text>or|and)\s*\}}|(?P<word>or|and)\b|(?P<lor>\\lor\b))?{GAP}"
)


def argument(text: str, place: int) -> tuple[str, int] | None:
    """The argument of the box whose command ends there, and its end."""
    start = place + len(text[place:]) - len(text[place:].lstrip())
    if text[start : start + 1] != "{":
        token = re.match(r"\\[^\W\d_]+|[^\W_]", text[start:])
        if not token or text[start].isalpha() and (start == place or text[start + 1 : start + 2].isalpha()):
            return None
        return token[0], start + token.end()
    depth, end = 1, start + 1
    while end < len(text) and depth:
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 2 if text[end] == "\\" else 1
    inner = text[start + 1 : end - 1].strip()
    return (inner, end) if not depth and inner else None


def boxed(text: str) -> str | None:
    """The last box that is closed, with what belongs to it."""
    boxes = [(found.start(), inner) for found in BOX.finditer(text) if (inner := argument(text, found.end()))]
    if not boxes:
        return None
    start, (answer, end) = boxes.pop()
    alone = True
    while boxes and alone is not None:
        earlier, (inner, close) = boxes.pop()
        found = SEPARATOR.fullmatch(text[close:start]) if close <= start else None
        word = found and (found["text"] or found["word"] or found["lor"])
        if not found or not (word or found[1]) or "\n\n" in text[close:start] or start - close > 60:
            break
        answer, start, alone = inner + (r"\text{ or }" if word in ("or", "\\lor") else ", ") + answer, earlier, False
    before, behind = text[:start], text[end:]
    formula = formula_around(before, behind)
    value = number(bare(answer)) if alone else None
    after, is_unit = touching_after(behind, formula, plain=bool(value and value[1] is None))
    sign = touching_before(before, formula)
    if sign is None:
        return grouped(start_of_formula(before), answer, rest_of_formula(behind) if formula else after)
    return sign + answer + after if is_unit or not after and (not sign or value) else grouped(sign, answer, after)


def grouped(before: str, answer: str, after: str) -> str:
    """The answer with what is beside it, in brackets where it would become something else."""
    symbol = re.fullmatch(r"\\[^\W\d_]+|[^\W_.]*(?:\.[^\W_.]*)*", answer)
    space = " " if after[:1].isalpha() else ""
    if before.endswith("{") and after.startswith("}") or symbol and not re.search(r"[\d.]\Z", before) and not re.match(r"[\d.,:]", after):
        return before + answer + space + after
    return f"{before}({answer}){space}{after}"


def start_of_formula(text: str) -> str:
    """The end of what precedes a box in its formula."""
    return re.split(r"\$|\\\(|\\\[|\\\\|\n|&|=|:|\. ", text)[-1].lstrip()


def touching_before(text: str, formula: bool) -> str | None:
    """The sign before a box; `None` if the box is a part of an expression."""
    rest = text
    while (rest := spaces_before(rest, formula)).endswith("{"):
        stem = rest[:-1].rstrip()
        command = re.search(r"\\([a-zA-Z]+)\Z", stem)
        if command and command[1] not in HARMLESS or stem.endswith(("^", "_", "}")):
            return None
        rest = stem[: command.start()] if command else stem
    if command := re.search(r"\\([a-zA-Z]+)\Z", rest):
        return "" if command[1] in HARMLESS else None
    if currency := re.search(r"\\\$\Z|[€£¥]\Z", rest):
        return currency[0]
    if not rest:
        return ""
    glued, last, stem = rest == text, rest[-1], spaces_before(rest[:-1], formula)
    operand = bool(re.search(r"[^\W_]\Z|[)\]}]\Z", stem))
    command = re.search(r"\\([a-zA-Z]+)\Z", stem)
    first = not stem or stem.endswith(tuple("\n$([{=:,&≈"))
    if last in "-−–":
        if first or command and command[1] in HARMLESS:
            return "-" if formula or glued else ""
        if formula or re.search(r"[\d)}]\Z", stem):
            return None
        return "-" if last != "–" and glued and rest[:-1][-1:].isspace() else ""
    part = {
        "+": not first,
        "*": not rest.endswith("**") and (formula or bool(re.search(r"[\d)]\Z", stem))),
        "_": formula,
        ".": glued and stem[-1:].isdigit(),
        "}": _words_of_text(rest) in (None, *JOINING) if formula else glued and operand,
    }.get(last)
    if part is None:
        if last in ")]":
            part = formula or glued and operand
        elif last in "0123456789":
            part = formula or glued
        elif last.isalpha():
            part = formula or glued and not stem[-1:].isalpha() or words_before(rest)[:1] == ["or"]
        else:
            part = last in "/^×·⋅÷±√!"
    return None if part else ""


def _words_of_text(text: str) -> str | None:
    """The words in the text command that a text ends with."""
    command = re.search(r"\\([a-zA-Z]+)\s*\Z", text[: text.rfind("{")])
    return text[text.rfind("{") + 1 : -1].strip().rstrip(",") if command and command[1] in HARMLESS else None


def touching_after(text: str, formula: bool, *, plain: bool) -> tuple[str, bool]:
    """What follows a box and belongs to the value, and whether it is the unit of its number."""
    rest, closed = text, False
    while True:
        stem = spaces(rest, True)
        if plain and (length := unit_length(rest)):
            return rest[:length], True
        mark = re.match(r"\}|\$\$|\$|\\\)|\\\]|\*\*|__|`", stem)
        if not mark:
            break
        ends = mark[0][0] in "$\\"
        rest, formula, closed = stem[mark.end() :], formula and not ends, closed or ends
    glued, rest = stem == rest, stem
    first, second = rest[:1], rest[1:2]
    if not first:
        return "", False
    if inner := TEXT.match(rest):
        if inner[1].strip().rstrip(",") in JOINING:
            return rest_of_formula(rest), False
        return (inner[0], False) if _words(inner[1].lstrip()) else ("", False)
    if first == "\\":
        name = re.match(r"[^\W\d_]*", rest[1:])[0]
        part = name not in HARMLESS if name else rest.startswith("\\%")
    elif first == "!":
        part = not closed
    elif first in ".,:":
        part = not closed and glued and second.isdigit()
    elif first in "^%‰°×·⋅÷±√{":
        part = True
    elif first in "+*/-−–_":
        part = formula or bool(re.match(r"[\d\\$(]", spaces(rest[1:], True))) or glued and not closed and second.isalnum()
    elif first in "([":
        part = formula or glued and not closed and not any(len(word) > 2 for word in words_after(rest[1:]))
    elif first.isalpha() and not formula and (not glued or closed):
        return _words(rest), False
    else:
        part = first.isalnum()
    return (rest_of_formula(rest) if part else ""), False


def _words(text: str) -> str:
    """What belongs to the value of a box with these words behind it."""
    first, second = [*words_after(text), "", ""][:2]
    denied = first in ("is", "was") and second in ("not", "wrong", "incorrect", "false", "too", "never", "impossible")
    if denied or first in ("isn't", "isn’t", "cannot") or first == "or" and (not second or re.search(r"\d", second)):
        return rest_of_formula(text)
    turned = among(SCALES, first) and first != "one" or among(TURNS, first) and first not in ("not", "never")
    return re.match(r"[^\W\d_]*", text)[0] if len(first) == 1 and first not in "ai" or turned else ""
