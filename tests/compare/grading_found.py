"""Answers found in texts, after docs/grading.md's description alone."""

import re

from grading_beside import last_alone
from grading_boxes import boxed
from grading_numbers import bare, number

NAMED = re.compile(
    r"(?i)\banswer(?:\*\*|__)?\s*(?:(?:is|was)\b|:|=)"
    r"(?:[\s:*]+(?:therefore|thus|then|hence|now|simply|just|given by|equal to|as follows)\b)?[\s:*]*"
)
GOES_ON = re.compile(r"(?i),?\s+(?:because|since|which|so|as|where|when)\b")
JUDGEMENTS = ("right", "correct", "wrong", "incorrect", "not", "yes or no", "unique")


def hashed(text: str) -> str | None:
    """The number on the last line that is `####` and a number."""
    for line in reversed(text.splitlines()):
        answer = line.lstrip()[4:].strip() if line.lstrip().startswith("####") else ""
        words = answer.split()
        if words and (len(words) == 1 or words[0][-1] not in ".):") and number(bare(answer)):
            return answer
    return None


def named(text: str) -> str | None:
    """What the last `answer is` says."""
    for found in reversed(list(NAMED.finditer(text))):
        rest = text[found.end() :]
        shown = re.match(r"\$\$(.*?)\$\$|\\\[(.*?)\\\]", rest, re.DOTALL)
        if shown:
            sentence = (shown[1] or shown[2] or "").strip()
        else:
            sentence = re.split(r"\.(?=[\s*]|$)|\?", rest.split("\n")[0])[0]
        answer = GOES_ON.split(sentence)[0].rstrip("*_:").strip()
        plain = bare(answer)
        words = [word for word in plain.split() if "\\" not in word and sum(map(str.isalpha, word)) > 1]
        if not re.search(r"[^\W_]|\\", plain):
            continue
        if number(plain) or len(words) <= 3 and not plain.lower().startswith(JUDGEMENTS):
            return answer
    return None


def marked(text: str) -> str | None:
    """The answer at a mark, or that a sentence names."""
    return boxed(text) or hashed(text) or named(text)


def by_pattern(pattern: str, text: str) -> str | None:
    """The first group of the pattern's last match, or all of it."""
    found = list(re.finditer(pattern, text))
    return (found[-1][1] if found[-1].re.groups and found[-1][1] is not None else found[-1][0]).strip() if found else None


def answer_of_text(text: str, thinking_end: str, pattern: str | None = None) -> str | None:
    """The model's answer, if there is one."""
    behind = text.rpartition(thinking_end)
    for part in [behind[2], text] if behind[1] else [text]:
        found = by_pattern(pattern, part) if pattern else marked(part) or last_alone(part)
        if found is not None:
            return found
    return None


def answer_of_reference(text: str, thinking_end: str, pattern: str | None = None) -> str:
    """The right answer: what is marked, or the text itself."""
    text = text.rpartition(thinking_end)[2].strip()
    if pattern and (found := by_pattern(pattern, text)) is not None:
        return found
    return marked(text) or text
