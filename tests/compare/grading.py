"""Answers found in what a model wrote and compared with the right ones, after README.md's description alone.

Where the answer is: the argument of the last closed `\\boxed{…}` (or `\\fbox{…}`), else what follows the last `####` on its
line, else the last number; behind the end of the thinking before anywhere. With a pattern, whatever that finds last. Two
answers are the same where they are the same number, however it is written, or the same text.

Run as a program, it checks itself.
"""

import re
from fractions import Fraction

BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
DIGITS = re.compile(r"[\d.,/]*\d", re.ASCII)
MINUS, CURRENCIES = "-−", "$€£¥"
WHOLE = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
DECIMAL = rf"(?:{WHOLE}(?:\.\d*)?|\.\d+)"
PLAIN = re.compile(rf"({DECIMAL})(?:\s*/\s*({DECIMAL}))?", re.ASCII)
MIXED = re.compile(rf"({WHOLE})\s+({WHOLE})\s*/\s*({DECIMAL})", re.ASCII)
FRACTION = re.compile(rf"({WHOLE})?\s*\\[dt]?frac\s*(?:\{{([^{{}}]*)\}}|(\d))\s*(?:\{{([^{{}}]*)\}}|(\d))", re.ASCII)
PERCENT = re.compile(r"\s*(?:\\?%|percent)$")
# A unit: a degree, a currency, or words, which begin with two letters where no space is before them.
UNIT = re.compile(
    r"(?:\s*(?:\^\{?\\circ\}?|°|\\?\$|€)|(?:\\[ ,])*\s*\\(?:text|mathrm|textrm|mbox)\s*\{.*\}|"
    r"(?<=[\d}])(?:\.*\s+[^\W\d_]|\.*[^\W\d_]{2})[^\W\d_ /.²³]*(?:[^\W\d_]|[ /.²³])*)$"
)
ENCLOSED = [("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`")]


def boxed(text: str) -> str | None:
    """The argument of the last box that is closed, unless it is empty."""
    for box in reversed(list(BOX.finditer(text))):
        depth, place = 1, box.end()
        while place < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            place += 2 if text[place] == "\\" else 1
        if not depth and (inner := text[box.end() : place - 1].strip()):
            return inner
    return None


def marked(text: str) -> str | None:
    """What a box, else the last line with `####` says."""
    if (answer := boxed(text)) is not None:
        return answer
    lines = text.rpartition("####")
    return lines[2].split("\n")[0].strip() or None if lines[1] else None


def last_number(text: str) -> str | None:
    """The last number as it is written; a minus that follows something is no sign."""
    for piece in reversed(list(DIGITS.finditer(text))):
        written = piece[0].lstrip(",/")
        number = next((part for part in (written, re.split("[,/]", written)[-1]) if value(part)), None)
        if number is None:
            continue
        before = text[: piece.end() - len(number)].rstrip(CURRENCIES)
        stem = before.rstrip(MINUS)
        negative = stem != before and not (stem[-1:].isalnum() or stem[-1:] == ")")
        return f"-{number}" if negative else number
    return None


def by_pattern(pattern: str, text: str) -> str | None:
    """The first group of the pattern's last match, or all of it."""
    found = list(re.finditer(pattern, text))
    return (found[-1][1] if found[-1].re.groups and found[-1][1] is not None else found[-1][0]).strip() if found else None


def answer_of_text(text: str, thinking_end: str, pattern: str | None = None) -> str | None:
    """The model's answer, if there is one."""
    behind = text.rpartition(thinking_end)
    for part in [behind[2], text] if behind[1] else [text]:
        found = by_pattern(pattern, part) if pattern else marked(part) or last_number(part)
        if found is not None:
            return found
    return None


def answer_of_reference(text: str, thinking_end: str, pattern: str | None = None) -> str:
    """The right answer: what is marked, the last number of prose (three words or more), or the text itself."""
    text = text.rpartition(thinking_end)[2].strip()
    if pattern and (found := by_pattern(pattern, text)) is not None:
        return found
    prose = sum(sum(map(str.isalpha, word)) > 1 for word in text.split()) >= 3
    return marked(text) or (last_number(text) if prose else None) or text


def value(text: str) -> tuple[Fraction, bool] | None:
    """The number that all of the text is, and whether it is a percentage."""
    text = text.strip()
    if name := re.match(r"\s*[^\W\d_]\s*=", text):
        text = text[name.end() :]
    text = text.strip().rstrip(".,;").rstrip()
    sign = re.match(rf"([-−–+]?)\s*(?:\\\$|[{CURRENCIES}])*\s*([-−–+]?)\s*", text)
    signs, text = sign[1] + sign[2], text[sign.end() :]
    if len(signs) > 1:
        return None
    percent = PERCENT.search(text)
    unit = None if percent else UNIT.search(text)
    text = text[: (percent or unit).start()].strip() if percent or unit else text
    try:
        number = unsigned(text)
    except ZeroDivisionError:
        return None
    if number is None:
        return None
    return -number if signs and signs not in "+" else number, bool(percent)


def unsigned(text: str) -> Fraction | None:
    """A decimal, a fraction or a mixed number."""

    def of(written: str) -> Fraction:
        return Fraction("0" + written.replace(",", ""))

    if found := PLAIN.fullmatch(text):
        return of(found[1]) / (of(found[2]) if found[2] else 1)
    if found := MIXED.fullmatch(text):
        return of(found[1]) + of(found[2]) / of(found[3])
    if found := FRACTION.fullmatch(text):
        parts = [value(found[2] or found[3] or ""), value(found[4] or found[5] or "")]
        if all(parts):
            return of(found[1] or "0") + parts[0][0] / parts[1][0]
    return None


def plain(text: str) -> str:
    """The text without what changes nothing of its meaning."""
    text = re.sub(r"\\[dt]frac", r"\\frac", text.lower())
    text = re.sub(r"\\(?:text|mathrm|textbf|mathbf|mbox)\{([^}]*)\}", r"\1", text)
    text = re.sub(r"\\left|\\right|\\[!,;: ]|~|\\?\$|\^\{?\\circ\}?", "", text).replace(r"\%", "%").replace("−", "-")
    return re.sub(r"\s", "", text).rstrip(".,;!")


def bare(text: str) -> str:
    """The text without what encloses mathematics."""
    text = text.strip()
    for start, end in ENCLOSED:
        if text.startswith(start) and text.endswith(end) and len(text) > len(start) + len(end):
            return bare(text[len(start) : -len(end)])
    return text


def same(expected: str, found: str | None) -> bool:
    """Whether the answer found is the right one; one-sided percent signs may be left out or stand for a hundredth."""
    if found is None:
        return False
    expected, found = bare(expected), bare(found)
    a, b = value(expected), value(found)
    if a and b:
        if a[1] == b[1]:
            return a[0] == b[0]
        percent, other = (a, b) if a[1] else (b, a)
        return other[0] in (percent[0], percent[0] / 100)
    return plain(expected) != "" and plain(expected) == plain(found)


def self_test() -> None:
    """What a person would say."""
    for text, answer in [
        (r"\boxed{1} no, \boxed{\frac{3}{4}}", r"\frac{3}{4}"),
        (r"\boxed{5} and then \boxed{6", "5"),
        (r"\boxed{} is 9", "9"),
        (r"\boxed{\{1\}} or 3", r"\{1\}"),
        ("8 * 2 = 16\n#### 16\n", "16"),
        ("#### \n17", "17"),
        ("It costs $1,234.50.", "1,234.50"),
        ("from 10-4", "4"),
        ("at −$12", "-12"),
        ("a half is 1/2", "1/2"),
        ("(3,4)", "4"),
        ("<think>\\boxed{5}</think> So 6.", "6"),
        ("<think>\\boxed{5}</think> Done.", "5"),
        ("none", None),
    ]:
        assert answer_of_text(text, "</think>") == answer, (text, answer_of_text(text, "</think>"))
    for reference, answer in [("#### 28", "28"), (" 42 ", "42"), ("12 square meters", "12 square meters")]:
        assert answer_of_reference(reference, "</think>") == answer, reference
    assert answer_of_reference("She has 12 and sells them, 36 in all.", "</think>") == "36"
    for expected, found, equal in [
        ("42", "42.0", True),
        ("42", "-42", False),
        ("28080", "$28,080 dollars.", True),
        ("0.5", r"\frac{1}{2}", True),
        ("3/2", "1 1/2", True),
        ("50%", "50", True),
        ("0.5", r"50 \%", True),
        ("5000", "50%", False),
        ("12", "12 apples", True),
        ("12", "12x", False),
        ("12", "x = 12", True),
        ("1", "1/0", False),
        ("Paris", "**paris.**", True),
        ("B", r"\text{B}", True),
        ("", "", False),
        ("1/3", "0.333", False),
    ]:
        assert same(expected, found) == equal, (expected, found)


if __name__ == "__main__":
    self_test()
    print("as a person would say")
