"""What stands beside a number or a box, after docs/grading.md's description alone."""

import re

from grading_numbers import MAGNITUDE, SCALES, SPACE, STYLES, TURNS, VULGAR, among, unit

TEXT = re.compile(rf"\\(?:{STYLES})\s*\{{((?:[^{{}}\\]|\\.)*)\}}")
HARMLESS = set(
    "approx equiv cong neq ne le leq leqslant ge geq geqslant lt gt in to rightarrow Rightarrow implies iff longrightarrow "
    "Longrightarrow leadsto therefore because quad qquad hspace vspace hfill tag label nonumber newline end begin blacksquare square "
    "Box qed checkmark pmod mod left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle boxed "
    "fbox large Large huge Huge".split()
) | set(STYLES.split("|"))
NOT_BEFORE = set(
    "or and than least most between plus minus times over under below above negative except without from by squared log ln sin cos "
    "tan sqrt root mod versus vs per nearly almost up within exceeds step case page figure equation problem question part chapter "
    "section example line version item either neither nor".split()
)
DENIALS = ("not", "never", "cannot", "no", "without", "except", "isnt")
VALUES = ("total", "sum", "amount", "answer", "value", "result", "cost", "price", "average")
SHORT = "is in as so by on at if we it he an be do my no us of to and for the has are was but".split()
COMMANDS = (
    "approx quad qquad therefore implies iff rightarrow Rightarrow longrightarrow Longrightarrow displaystyle end square blacksquare "
    "checkmark tag hfill"
).split()


def formula_around(before: str, after: str) -> bool:
    """Whether a place is in a formula: between delimiters, without prose before it."""
    before, after = before.rsplit("\n\n", 1)[-1], after.split("\n\n")[0]
    opener = max((before.rfind(a) for a, b in (("\\(", "\\)"), ("\\[", "\\]")) if before.rfind(a) > before.rfind(b)), default=-1)
    if opener < 0:
        dollars = [found.start() for found in re.finditer(r"(?<!\\)\$", before)]
        double = dollars and before[: dollars[-1]].endswith("$") and len(dollars) % 4 == 2
        if not (len(dollars) % 2 or double) or "$" not in after:
            return False
        opener = dollars[-1] - 1
        longest = 1 if before[opener + 2 : opener + 3].isdigit() else 2
    else:
        longest = 2
    inner = re.sub(r"\\(?:begin|end)\{[^}]*\}|\\[a-zA-Z]+", " ", TEXT.sub(" ", before[opener + 2 :]))
    return not re.search(rf"[^\W\d_]{{{longest + 1}}}", inner)


def unit_length(text: str) -> int:
    """How far the text is a unit of measurement, a currency or a percent sign."""
    line = re.split(r"\n|(?<!\\)\$", text)[0]
    for end in range(min(len(line), 60), 0, -1):
        head, rest = line[:end], line[end:]
        if head[-1].isspace() or head[-1] == "." or rest[:1].isalnum() or head.strip() == "in" and rest.lstrip()[:1].isalpha():
            continue
        found = unit(head)
        if found == "%" or found and found[0] and not found[1]:
            return end
    return 0


def rest_of_formula(text: str) -> str:
    """The text up to the end of the formula, the line or the sentence."""
    return re.split(r"\$|\\\)|\\\]|\\\\|\\end|\n|&|\. ", text)[0].strip().rstrip(".")


def words_after(text: str) -> list[str]:
    """The first words of a text."""
    return re.match(r"[\w \t'’]*", text)[0].lower().split()


def words_before(text: str) -> list[str]:
    """The last words of a text, the last one first."""
    return re.search(r"[\w \t'’]*\Z", text)[0].lower().split()[::-1]


def spaces(text: str, formula: bool) -> str:
    """The text behind the spaces that it starts with."""
    return re.sub(rf"^(?:{SPACE}|\t)+" if formula else r"^[ \t]+", "", text)


def spaces_before(text: str, formula: bool) -> str:
    """The text before the spaces that it ends with."""
    return re.sub(rf"(?:{SPACE}|\t)+\Z" if formula else r"[ \t]+\Z", "", text)


def last_alone(text: str) -> str | None:
    """The last number of a text, if it stands alone."""
    numbers = list(MAGNITUDE.finditer(text))
    if not numbers:
        return None
    # The 2 of `12 cm^2` is a part of the unit of 12.
    end = numbers[-1].end()
    owner = next(found for found in numbers[-4:] if found.end() == end or found.end() + unit_length(text[found.end() :]) >= end)
    before, number, after = text[: owner.start()], owner[0], text[owner.end() :]
    formula = formula_around(before, after)
    stem, sign = before, ""
    for _ in range(2):
        mark = re.search(r"(\\\$|[€£¥−-])\Z" if formula else r"(\\?\$|[€£¥−-])\Z", stem)
        if mark:
            stem, sign = stem[: mark.start()], mark[0] + sign
    integer = not re.search(rf"[./⁄]|frac|[{''.join(VULGAR)}]", number)
    behind = trail(after, formula, integer)
    return sign + number + behind if behind is not None and starts(stem, formula) else None


def starts(text: str, formula: bool) -> bool:
    """Whether a number that stands alone may start behind the text."""
    apart = False
    while True:
        stem = spaces_before(text, formula)
        apart, text = apart or stem != text, stem
        mark = re.search(r"(\$\$|\$|\\\(|\\\[|\*\*|`|“|‘)\Z", text)
        if formula and text.endswith("\n"):
            text = text.rstrip()
        elif mark:
            text, apart, formula = text[: mark.start()], True, False
        else:
            break
    if not text:
        return True
    last, stem = text[-1], text[:-1]
    command = re.search(r"\\([a-zA-Z]+)\Z", text)
    if last == "\n":
        line_before = re.search(r"\\([a-zA-Z]+)\Z", text.rstrip())
        return not line_before or line_before[1] in COMMANDS
    if last in "≈—":
        return True
    if last == "=":
        return not stem.endswith(("<", ">", "!", "~", "≠"))
    if last == ":":
        return not re.search(r"\d\Z", stem)
    if last in ".!?":
        return apart and not formula and bool(re.search(r"[^.!?]\Z", stem, re.DOTALL))
    if last in ",;":
        return apart and not formula and stem[-1:].isalpha()
    if command:
        return command[1] in COMMANDS
    if not last.isalpha() or not apart or formula:
        return False
    words = [*words_before(text)[:3], "", ""]
    allowed = len(words[0]) > 1 and words[0] not in NOT_BEFORE and not among(TURNS, words[0])
    if words[0] == "of":
        allowed = words[1] in VALUES
    if words[0] == "to":
        allowed = not re.search(r"\d", words[1])
    denied = any(word in DENIALS or word.endswith(("n't", "n’t")) for word in words[:3])
    return allowed and not denied


def beyond(rest: str, formula: bool) -> tuple[str, bool, bool, bool]:
    """The text behind spaces, ends of formulas and marks; whether it is in a formula, apart, behind a mark."""
    apart, closed = False, False
    while True:
        stem = spaces(rest, formula)
        apart, rest = apart or stem != rest, stem
        mark = re.match(r"\$\$|\$|\\\)|\\\]|\*\*|`|”|’|\)", rest)
        if formula and rest.startswith("\n"):
            rest = rest.lstrip()
        elif mark:
            rest, closed, formula = rest[mark.end() :], True, False
        else:
            return rest, formula, apart, closed


def trail(after: str, formula: bool, integer: bool) -> str | None:
    """The unit at the start of the text, if a number before it stands alone."""
    behind = after[: unit_length(after)]
    rest, formula, apart, closed = beyond(after[len(behind) :], formula)
    if closed and not behind and (length := unit_length(rest)):
        behind = (" " if apart else "") + rest[:length]
        rest, formula, apart, closed = beyond(rest[length:], formula)
    first, following = rest[:1], rest[1:]
    inner = TEXT.match(rest)
    alone = False
    if not first or first in "\n?≈—" or "\u2600" <= first <= "\u27bf" or first >= "\U0001f000":
        alone = True
    elif first == "=":
        alone = not following.startswith("=")
    elif first == ".":
        alone = not (following[:1].isalnum() or following.startswith("."))
    elif first in ",;:":
        alone = bool(re.match(r"\s*(?:\$|\\(?!text))", following)) if formula else not following[:1].isalnum()
    elif first == "!":
        alone = closed or not integer or bool(behind)
    elif first in "-–":
        alone = apart and not formula and following.startswith(" ")
    elif first == "(":
        alone = apart and not formula and len((words_after(following) or [""])[0]) > 1
    elif first == "<":
        alone = bool(re.match("[/|a-zA-Z]", following))
    elif inner:
        alone = prose_after(inner[1].lstrip())
    elif first == "\\":
        alone = following.startswith("\\") or re.match("[a-zA-Z]*", following)[0] in COMMANDS
    else:
        alone = apart and not formula and prose_after(rest)
    return behind if alone else None


def prose_after(text: str) -> bool:
    """Whether these words leave a number before them as it is."""
    word = re.match(r"[^\W\d_]*", text)[0]
    if len(word) < 2 or len(word) == 2 and word not in SHORT or re.match(r"[\w^{]", text[len(word) :]):
        return False
    natural = all(letter.islower() for letter in word[1:]) and bool(re.search("[aeiouy]|[^\x00-\x7f]", word.lower()))
    words = words_after(text)[:3]
    if words[0] == "and":
        changed = any(among(SCALES, other) for other in words[1:])
    elif words[0] in SHORT:
        changed = False
    else:
        operators = "or plus minus times over squared cubed factorial choose mod modulo base".split()
        changed = words[0] in operators or among(SCALES, words[0]) or any(among(TURNS, other) for other in words)
    return (word in SHORT or natural) and not changed
