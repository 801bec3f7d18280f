"""Answers found in what a model wrote and compared with the right ones, after docs/grading.md's description alone.

Run as a program, it checks itself. With JSON lines on its standard input and `--lines`, it is a grader (docs/grading.md).
"""

import json
import re
import sys

from grading_found import answer_of_reference, answer_of_text
from grading_numbers import STYLED, VULGAR, bare, number

SIZES = re.compile(
    r"\\(?:left|right|middle|[bB]igg?[lr]?|displaystyle|textstyle|limits|nolimits|q?quad|thinspace)(?![a-zA-Z])|\\[,;:! ()]|~"
)
NAMES = {"\\" + a: "\\" + b for a, b in (pair.split(":") for pair in (
    "dfrac:frac tfrac:frac cfrac:frac le:leq leqslant:leq ge:geq geqslant:geq ne:neq varnothing:emptyset rightarrow:to "
    "gets:leftarrow ldots:dots lbrace:{ rbrace:}"
).split())} | {"\\lt": "<", "\\gt": ">", "\\lbrack": "[", "\\rbrack": "]", "\\lvert": "|", "\\rvert": "|", "\\vert": "|", "\\%": "%"}  # fmt: skip
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", strict=True))
OR = re.compile(r"\\(?:text|textrm|textnormal|mathrm|mbox)\s*\{[\s~,]*or[\s~]*\}|\\(?:lor|vee)\b|,?\s+or\s+|∨")
NAMES |= dict(zip("⁄−–×·⋅÷±√∞πθαβγλμσφω≤≥≠≈∈∪∩∅→←…", (
    "/ - - \\times \\cdot \\cdot \\div \\pm \\sqrt \\infty \\pi \\theta \\alpha \\beta \\gamma \\lambda \\mu \\sigma \\phi \\omega "
    "\\leq \\geq \\neq \\approx \\in \\cup \\cap \\emptyset \\to \\leftarrow \\dots"
).split(), strict=True))  # fmt: skip


def symbols(text: str) -> list[str]:
    """The symbols of a text; the words of prose in lower case."""
    text = text.strip()
    text = text if text.endswith("...") else text.rstrip(".,;").rstrip()
    if all((c.isalpha() and not "\u0370" <= c < "\u0400") or c in " -'’\n" for c in text):
        return [word.lower() if len(word) > 2 or word.lower() == "no" else word for word in text.split()]
    text = re.sub(f"[{''.join(RAISED)}]+", lambda found: "^{" + "".join(map(RAISED.get, found[0])) + "}", text)
    text = re.sub(f"[{''.join(LOWERED)}]+", lambda found: "_{" + "".join(map(LOWERED.get, found[0])) + "}", text)
    text = re.sub(f"[{''.join(VULGAR)}]", lambda found: "\\frac{{{}}}{{{}}}".format(*VULGAR[found[0]].split("/")), text)
    while STYLED.search(text):
        text = STYLED.sub(lambda found: found[1], text)
    text = re.sub(r"\\(?:left|right)\s*\.|\{,\}|,\\!", "", text.replace("\\\\", "\x02"))
    text = SIZES.sub(" ", text).replace("\x02", "\\\\")
    text = re.sub(r"(?<=\d)\s+(?=\d)", "\x01", text.replace("...", "\\dots").replace("°", "^\\circ"))
    found = [NAMES.get(symbol, symbol) for symbol in re.findall(r"\\[a-zA-Z]+|\\.|[^\s]", text, re.DOTALL)]
    kept: list[str] = []
    for place, symbol in enumerate(found):
        first = not kept or kept[-1] in ("(", "[", "\\{", ",", "=")
        following = found[place + 1] if place + 1 < len(found) else ""
        if not (symbol == "+" and first and (following.isalnum() or len(following) > 2)):
            kept.append(symbol)
    joined: list[str] = []
    place = 0
    while place < len(kept):
        symbol, rest = kept[place], kept[place + 1 : place + 3]
        if symbol == "{" and len(rest) == 2 and rest[1] == "}" and rest[0] not in "{}":
            joined.append(rest[0])
            place += 3
            continue
        joined.append(symbol)
        place += 1
        if symbol in ("^", "_") and place < len(kept):
            length = 1
            if symbol == "^" and kept[place] == "-" and kept[place + 1 : place + 2] and kept[place + 1].isdigit():
                while place + length < len(kept) and kept[place + length].isdigit():
                    length += 1
            elif kept[place].isdigit():
                while place + length < len(kept) and kept[place + length].isdigit():
                    length += 1
            if kept[place] == "{":
                joined.append("{")
            else:
                joined += ["{", *kept[place : place + length], "}"]
                place += length - 1
                if place + 1 < len(kept) and kept[place + 1] == "\x01":
                    place += 1
            place += 1
    return joined


def elements(parts: list[str]) -> list[list[str]] | None:
    """The parts between commas outside brackets."""
    depth, found = 0, [[]]
    for symbol in parts:
        depth += (symbol in ("(", "[", "{", "\\{", "\\langle")) - (symbol in (")", "]", "}", "\\}", "\\rangle"))
        if depth < 0:
            return None
        if symbol == "," and depth == 0:
            found.append([])
        else:
            found[-1].append(symbol)
    return found if depth == 0 and all(found) else None


def listed(parts: list[str]) -> tuple[tuple[str, str] | None, list[list[str]]] | None:
    """The brackets and the elements of a list."""
    found = elements(parts)
    if found is None:
        return None
    if len(found) > 1:
        return None, found
    if len(parts) > 2 and parts[0] in ("(", "[", "\\{") and parts[-1] in (")", "]", "\\}"):
        inner = elements(parts[1:-1])
        return ((parts[0], parts[-1]), inner) if inner is not None else None
    return None


def written(parts: list[str]) -> str:
    """Symbols as a text."""
    return re.sub(r"(\\[a-zA-Z]+) (?![a-zA-Z])", r"\1", "".join(f"{s} " if len(s) > 2 else s for s in parts)).replace("\x01", " ")


def assigned(text: str) -> tuple[str | None, str]:
    """The name before an only equals sign, and the value."""
    found = re.fullmatch(r"\s*((?:\\[a-zA-Z]+|[^\W\d_])(?:_\{?[^\W_]+\}?|\([a-zA-Z]\))?)\s*=\s*([^=]*\S)\s*", text, re.DOTALL)
    return (found[1], bare(found[2])) if found else (None, text)


def same(expected: str, found: str | None) -> bool:
    """Whether the answer found is the right one."""
    if found is None:
        return False
    (name, expected), (other, found) = assigned(bare(expected)), assigned(bare(found))
    if name and other and symbols(name) != symbols(other):
        return False
    a, b = number(expected), number(found)
    if a and b:
        if "%" in (a[1], b[1]) and None in (a[1], b[1]):
            percent, plain = (a, b) if a[1] == "%" else (b, a)
            return plain[0] in (percent[0], percent[0] / 100)
        return a[0] == b[0] and agree(a[1], b[1])
    if a or b:
        return False
    left, right = symbols(expected), symbols(found)
    if not left or not right or left == right:
        return bool(left and right)
    ours, theirs = alternatives(expected), alternatives(found)
    if ours and theirs and same_elements(ours, theirs, ordered=False):
        return True
    one, two = listed(left), listed(right)
    if not one or not two or one[0] != two[0] or len(one[1]) != len(two[1]):
        return False
    ours, theirs = [written(part) for part in one[1]], [written(part) for part in two[1]]
    return same_elements(ours, theirs, ordered=bool(one[0] and one[0][0] != "\\{"))


def same_elements(ours: list[str], theirs: list[str], *, ordered: bool) -> bool:
    """Whether two lists have the same elements. Several names on one side alone order them in any case."""
    if len(ours) != len(theirs):
        return False
    named, others = [[name and symbols(name) for name, _ in map(assigned, side)] for side in (ours, theirs)]
    for names, unnamed in ((named, others), (others, named)):
        ordered |= any(name and name != next(filter(None, names)) for name in names) and None in unnamed
    if ordered:
        return all(map(same, ours, theirs))
    for part in ours:
        place = next((i for i, other in enumerate(theirs) if same(part, other)), None)
        if place is None:
            return False
        theirs.pop(place)
    return True


def agree(a: tuple | str | None, b: tuple | str | None) -> bool:
    """Whether numbers with these units may be the same answer."""
    if a is None or b is None or "%" in (a, b):
        return a is None or b is None or a == b
    return a[0] == b[0] and (set(a[1]) <= set(b[1]) or set(b[1]) <= set(a[1]))


def alternatives(text: str) -> list[str] | None:
    """What stands between `or`."""
    parts = [part.strip().rstrip(",") for part in OR.split(text)]

    def balanced(part: str) -> bool:
        depths = [0]
        for symbol in part:
            depths.append(depths[-1] + (symbol in "{([") - (symbol in "})]"))
        return depths[-1] == 0 and min(depths) == 0

    return parts if len(parts) > 1 and all(part and balanced(part) for part in parts) else None


def self_test() -> None:
    """What a person would say."""
    for text, answer in [
        (r"\boxed{1} no, \boxed{\frac{3}{4}}", r"\frac{3}{4}"),
        (r"\boxed{5} and then \boxed{6", "5"),
        (r"\boxed{} is 9", "9"),
        (r"\boxed{\{1\}} and 3", r"\{1\}"),
        ("8 * 2 = 16\n#### 16\n", "16"),
        ("#### \n17", "17"),
        ("It is 6.\n#### Conclusion", "6"),
        ("#### 2. Multiply\nSo 3 * 4 = 12", "12"),
        ("The answer is 4. There were 5.", "4"),
        ("It costs $1,234.50.", "$1,234.50"),
        ("It costs $9{,}500$.", "9{,}500"),
        (r"so \(\frac{3}{4}\)", r"\frac{3}{4}"),
        (r"is $3.2 \times 10^5$ of them", r"3.2 \times 10^5"),
        ("use 11 5/6 cups", "11 5/6"),
        ("it is 7 cm long", "7 cm"),
        ("a half is 1/2", "1/2"),
        *((text, None) for text in ("12 and then x^2", "from 10-4", "(3,4)", "5 \\cdot 35", "7!", r"\sqrt 7", "12 x", "not 7")),
        (r"\boxed{5}\%", r"5\%"),
        (r"$\boxed{5} \cdot 2$", r"5\cdot 2"),
        (r"$\boxed{3}\text{ or }\boxed{4}$", r"3\text{ or }4"),
        (r"\boxed 5", "5"),
        ("<think>\\boxed{5}</think> So 6.", "6"),
        ("<think>\\boxed{5}</think> Done.", "5"),
        ("none", None),
    ]:
        assert answer_of_text(text, "</think>") == answer, (text, answer_of_text(text, "</think>"))
    for reference, answer in [("#### 28", "28"), (" 42 ", "42"), ("She has 12 and sells 36 in all.", "She has 12 and sells 36 in all.")]:
        assert answer_of_reference(reference, "</think>") == answer, reference
    for expected, found, equal in [
        ("42", "42.0", True),
        ("42", "-42", False),
        ("28080", "$28,080 dollars.", True),
        ("10,\\!080", "10080", True),
        ("1234567", "1 234 567", True),
        ("0.5", r"\frac{1}{2}", True),
        ("11 5/6", r"11\frac56", True),
        ("4.5e33", r"4.5 \times 10^{33}", True),
        ("50%", "50", True),
        ("0.5", r"50 \%", True),
        ("5000", "50%", False),
        ("12", "12 apples", True),
        ("12", "12 x", False),
        ("12", "12 north", False),
        ("12 apples", "12 pears", False),
        ("1.5", "1½", True),
        ("x^2", "x²", True),
        ("x^{-1}", "x^-1", True),
        ("50%", "50 per cent", True),
        ("x=3 or x=2", "x=2 or x=3", True),
        ("2 or 3", "2, 3", False),
        ("x=1, y=2", "2, 1", False),
        ("5 cm", r"5\text{ m}", False),
        ("12", "x = 12", True),
        ("x=5", "y=5", False),
        ("1", "1/0", False),
        ("Paris", "**paris.**", True),
        ("B", r"\text{B}", True),
        ("n!", "n", False),
        (r"\leftarrow", r"\rightarrow", False),
        ("(1, 2)", r"\left(1,2.0\right)", True),
        ("(1, 2)", "(2, 1)", False),
        ("1, -2", "-2, 1", True),
        ("", "", False),
        ("1/3", "0.333", False),
    ]:
        assert same(expected, found) == equal, (expected, found)


def grade_lines() -> None:
    """Answer each line of the standard input."""
    for line in sys.stdin:
        request = json.loads(line)
        found = answer_of_text(request["text"], "</think>")
        correct = same(answer_of_reference(request["reference"], "</think>"), found)
        print(json.dumps({"index": request["index"], "correct": correct, "found": found}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--lines"]:
        grade_lines()
    else:
        self_test()
        print("as a person would say")
