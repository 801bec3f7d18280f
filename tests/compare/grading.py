"""Answers found in what a model wrote and compared with the right ones, after docs/grading.md's description alone.

Run as a program, it checks itself. With JSON lines on its standard input and `--lines`, it is a grader (docs/grading.md).
"""

import json
import re
import sys
from fractions import Fraction

BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
NAMED = re.compile(
    r"(?i)\banswer(?:\*\*|__)?\s*(?:is|was|:|=)"
    r"(?:[\s:*]+(?:therefore|thus|then|hence|now|simply|just|given by|equal to|as follows)\b)?[\s:*]*"
)
GOES_ON = re.compile(r"(?i),?\s+(?:because|since|which|so|as|where|when)\b")
JUDGEMENTS = ("right", "correct", "wrong", "incorrect", "not", "yes or no", "unique")
SPACE = r"(?:\\[,;:! ]|\\thinspace|[~ \u00a0\u2009\u202f\u2007])"
WHOLE = rf"(?:[1-9]\d{{0,2}}(?:(?:(?:\{{,\}}|,)(?:\\!)?\d{{3}}(?!\d))+|(?:['’]\d{{3}}(?!\d))+|(?:{SPACE}\d{{3}}(?!\d))+)|\d+)"
DECIMAL = rf"(?:{WHOLE}(?:\.(?:\d{{3}}(?:{SPACE}\d{{3}}(?!\d))+|\d+))?|\.\d+)"
SIGN = rf"(?:[-−–﹣－+]{SPACE}*)"
ARGUMENT = rf"(?:\{{{SPACE}*{SIGN}?{DECIMAL}{SPACE}*\}}|\d)"
FRACTION = rf"\\[dtc]?frac{SPACE}*{ARGUMENT}{SPACE}*{ARGUMENT}"
RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"
EXPONENT = rf"{SPACE}*(?:(?:\^|\*\*)\{{{SPACE}*{SIGN}?\d+{SPACE}*\}}|(?:\^|\*\*){SIGN}?\d+|⁻?[{RAISED}]+)"
TEN = rf"{SPACE}*(?:\\times|\\cdot|\\ast|[×·⋅*x]){SPACE}*(?:10|\{{10\}}){EXPONENT}"
MAGNITUDE = re.compile(
    rf"(?P<fraction>{FRACTION})"
    rf"|(?P<mixed>\d+{SPACE}*{FRACTION}|\d+{SPACE}+\d+{SPACE}*/{SPACE}*{DECIMAL})"
    rf"|(?P<ratio>{DECIMAL}{SPACE}*/{SPACE}*{DECIMAL})"
    rf"|(?P<ten>10{EXPONENT})"
    rf"|(?P<power>{DECIMAL}(?:[eE]{SIGN}?\d+(?!\w)|{TEN}))"
    rf"|(?P<decimal>{DECIMAL})"
)
CURRENCY = {"\\$": "dollar", "$": "dollar", "US$": "dollar", "€": "euro", "£": "pound", "¥": "yen"}
UNITS = {
    name: names.split()[0]
    for names in (
        "mm millimeter millimetre,cm centimeter centimetre,m meter metre,km kilometer kilometre,in inch inches,ft foot feet,yd yard,"
        "mi mile,mg milligram,g gram,kg kilogram,pound lb £,oz ounce,ms millisecond,s sec second,min minute,h hr hour,day,week,month,"
        "yr year,ml milliliter millilitre,l liter litre,gal gallon,dollar usd $,cent ¢,euro eur €,yen ¥,degree deg °,radian rad"
    ).split(",")
    for name in names.split()
}
NO_UNITS = set(
    "and or to plus minus times over of choose factorial mod modulo remainder squared cubed root power base pi tau alpha beta gamma "
    "theta lambda sigma omega sqrt sin cos tan log infinity infinite hundred thousand million billion trillion dozen dozens half "
    "halves third thirds fourths fifths sixths tenths hundredths thousandths more less than if where".split()
)
STYLES = "text|textrm|textbf|textit|textsf|textnormal|mathrm|mathbf|mathit|mathsf|mbox|operatorname"
STYLED = re.compile(rf"\\(?:{STYLES})\s*\{{((?:[^{{}}\\]|\\.)*)\}}")
SIZES = re.compile(
    r"\\(?:left|right|middle|[bB]igg?[lr]?|displaystyle|textstyle|limits|nolimits|q?quad|thinspace)(?![a-zA-Z])|\\[,;:! ()]|~"
)
NAMES = {"\\" + a: "\\" + b for a, b in (pair.split(":") for pair in (
    "dfrac:frac tfrac:frac cfrac:frac le:leq leqslant:leq ge:geq geqslant:geq ne:neq varnothing:emptyset rightarrow:to "
    "gets:leftarrow ldots:dots lbrace:{ rbrace:}"
).split())} | {"\\lt": "<", "\\gt": ">", "\\lbrack": "[", "\\rbrack": "]", "\\lvert": "|", "\\rvert": "|", "\\vert": "|", "\\%": "%"}  # fmt: skip
NAMES |= dict(zip("−–×·⋅÷±√∞πθαβγλμσφω≤≥≠≈∈∪∩∅→←…", (
    "- - \\times \\cdot \\cdot \\div \\pm \\sqrt \\infty \\pi \\theta \\alpha \\beta \\gamma \\lambda \\mu \\sigma \\phi \\omega "
    "\\leq \\geq \\neq \\approx \\in \\cup \\cap \\emptyset \\to \\leftarrow \\dots"
).split(), strict=True))  # fmt: skip


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


def last_number(text: str) -> str | None:
    """The last number that is no part of an expression, as it is written."""
    last, place = None, 0
    while found := MAGNITUDE.search(text, place):
        place = found.end()
        before, after = text[: found.start()], text[found.end() :]
        if re.search(r"([^\W\d]|[_^{\\\d]|\d[.:]|[^\W_]/|[)}]/)$", before):
            continue
        glued = re.match(r"\^(?!\{?\\circ)|[_({√π\d]|[.:]\d|/[^\W_]", after)
        word = re.match(r"[^\W\d_]+", after)
        operation = re.match(r"\s*\\(?:sqrt|pi|[dt]?frac|cdot|times|log|ln|sin|cos|tan|infty|binom)", after)
        if glued or operation or word and not unit(word[0]):
            continue
        last = found
    if not last:
        return None
    before = text[: last.start()].rstrip("$€£¥\\")
    stem = before.rstrip("-−")
    negative = stem != before and not re.search(r"[^\W_]$|[)}]$", stem)
    percent = re.match(r"\\?%", text[last.end() :])
    return ("-" if negative else "") + last[0] + (percent[0] if percent else "")


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
    """The right answer: what is marked, or the text itself."""
    text = text.rpartition(thinking_end)[2].strip()
    if pattern and (found := by_pattern(pattern, text)) is not None:
        return found
    return marked(text) or text


def value(written: str) -> Fraction:
    """A signed decimal without its separators and braces."""
    digits = re.sub(r"[^\d.]", "", written)
    return Fraction(f"0{digits}") * (-1 if re.search("[-−–﹣－]", written) else 1)


def exponent(written: str) -> int:
    """The exponent behind a ten."""
    for place, raised in enumerate(RAISED):
        written = written.replace(raised, str(place)).replace("⁻", "-")
    return int(value(written))


def ratio(written: str) -> Fraction:
    """`\\frac{a}{b}` or `a/b`."""
    if "frac" in written:
        parts = re.findall(ARGUMENT, written[written.index("frac") + 4 :])
    else:
        parts = written.split("/")
    return value(parts[0]) / value(parts[1])


def number(text: str) -> tuple[Fraction, tuple | str | None] | None:
    """The number that all of the text is, and its unit."""
    text = text.strip().rstrip(",;") if len(text) <= 1000 else ""
    head = re.match(rf"{SPACE}*({SIGN})?(US\$|\\?\$|[€£¥])?{SPACE}*({SIGN})?", text)
    if not head or head[1] and head[3]:
        return None
    found = MAGNITUDE.match(text, head.end())
    if not found:
        return None
    written = found[0]
    try:
        if found["fraction"]:
            magnitude = ratio(written)
        elif found["mixed"]:
            whole = re.match(r"\d+", written)
            part = ratio(written[whole.end() :])
            if not 0 <= part < 1:
                return None
            magnitude = int(whole[0]) + part
        elif found["ratio"]:
            if re.search(SPACE, re.split(rf"{SPACE}*/", written)[0]):
                return None
            magnitude = ratio(written)
        elif found["ten"]:
            magnitude = Fraction(10) ** exponent(re.sub(r"^10", "", written))
        elif found["power"]:
            base, power = re.fullmatch(rf"(.*?)(?:[eE]|{SPACE}*(?:\\times|\\cdot|\\ast|[×·⋅*x]){SPACE}*\{{?10\}}?)(.*)", written).groups()
            if abs(exponent(power)) > 10_000:
                return None
            magnitude = value(base) * Fraction(10) ** exponent(power)
        else:
            magnitude = value(written)
    except ZeroDivisionError:
        return None
    behind = unit(text[found.end() :])
    if behind is None:
        return None
    before = ((CURRENCY[head[2]], 1),) if head[2] else None
    negative = ((head[1] or "") + (head[3] or ""))[:1] in tuple("-−–﹣－")
    return (-magnitude if negative else magnitude), before or behind or None


def unit(text: str) -> tuple | str | None:
    """The unit that all of the text is: its factors, `%`, `other`, `()` for nothing, `None` if it is none."""
    text = re.sub(r"(?:\{\})?\^\{?\\circ\}?|\\degree", "°", text)
    parts: list[tuple[str, bool, bool]] = []
    for run, styled in [(m[2] if m[2] is not None else m[1], m[2] is not None) for m in _runs(text)]:
        apart, place = False, 0
        while place < len(run):
            found = re.compile(
                rf"(?P<space>{SPACE})|(?P<percent>\\?%|(?i:percent)\b)|(?P<over>/|per\b)|(?P<power>\^\{{?[23]\}}?|[²³])|(?P<dot>\\cdot|·)"
                rf"|(?P<sign>[°€£¥¢]|\\?\$)|(?P<word>[^\W\d_]+)|(?P<stop>\.)"
            ).match(run, place)
            if not found:
                return None
            kind = found.lastgroup
            if kind == "stop" and not (styled or place + 1 == len(run)):
                return None
            if kind == "word" and parts and parts[-1][0] == "°" and found[0] in "CF":
                parts.append((found[0], True, False))
            elif kind in ("percent", "over", "power"):
                parts.append(({"percent": "%", "over": "/"}.get(kind, found[0]), False, False))
            elif kind in ("sign", "word"):
                parts.append((found[0].lstrip("\\"), kind == "sign" or styled, apart))
            apart = kind == "space"
            place = found.end()
    if not parts:
        return ()
    if parts == [("%", False, False)]:
        return "%"
    factors: list[tuple[str, int]] = []
    known, words, direction, raised = True, 0, 1, 1
    for word, styled, apart in parts:
        lower = word.lower()
        if word == "%":
            return None
        if word == "/":
            direction = -1
        elif word[0] in "^²³":
            power = 2 if "2" in word or "²" in word else 3
            if factors:
                factors[-1] = (factors[-1][0], factors[-1][1] * power)
            elif not words:
                return None
        else:
            words += 1
            name = UNITS.get(lower) or (len(lower) > 2 and lower.endswith("s") and UNITS.get(lower[:-1])) or None
            if lower in NO_UNITS or words > 4:
                return None
            if lower in ("square", "sq", "cubic"):
                raised = 3 if lower == "cubic" else 2
            elif lower == "mph":
                factors += [("mi", 1), ("h", -1)]
            elif name and (styled or words > 1 or len(word) > 1):
                factors.append((name, direction * raised))
                raised = 1
            elif styled or apart and len(word) > 3 and word[1:].islower() and re.search("[aeiouy]|[^\x00-\x7f]", word):
                known = False
            else:
                return None
    return (tuple(sorted(factors)) if known and factors else "other") if words else None


def _runs(text: str) -> list[re.Match]:
    """The text as runs: styled ones in group 2, others in group 1."""
    return list(re.finditer(rf"((?:(?!\\(?:{STYLES})\s*\{{).)+)|\\(?:{STYLES})\s*\{{((?:[^{{}}\\]|\\.)*)\}}", text, re.DOTALL))


def symbols(text: str) -> list[str]:
    """The symbols of a text; the words of prose in lower case."""
    text = text.strip()
    text = text if text.endswith("...") else text.rstrip(".,;").rstrip()
    if all((c.isalpha() and not "\u0370" <= c < "\u0400") or c in " -'’\n" for c in text):
        return [word.lower() if len(word) > 2 or word.lower() == "no" else word for word in text.split()]
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
            if kept[place].isdigit():
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


def bare(text: str) -> str:
    """The text without what encloses it."""
    text = text.strip()
    for start, end in [("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`")]:
        if text.startswith(start) and text.endswith(end) and len(text) > len(start) + len(end) and text[-len(end) - 1] != "\\":
            return bare(text[len(start) : -len(end)])
    if found := re.fullmatch(rf"\\(?:{STYLES})\s*\{{((?:[^{{}}\\]|\\.)+)\}}\.*", text, re.DOTALL):
        return bare(found[1])
    if found := re.fullmatch(r"\(([A-Z])\)", text):
        return found[1]
    dollars = re.findall(r"(?<!\\)\$", text)
    return re.sub(r"(?<!\\)\$", "", text) if dollars and len(dollars) % 2 == 0 else text


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
        comparable = None in (a[1], b[1]) or (a[1] == b[1]) or ("other" in (a[1], b[1]) and "%" not in (a[1], b[1]))
        return a[0] == b[0] and comparable
    left, right = symbols(expected), symbols(found)
    if not left or not right or left == right:
        return bool(left and right)
    one, two = listed(left), listed(right)
    if not one or not two or one[0] != two[0] or len(one[1]) != len(two[1]):
        return False
    ours, theirs = [written(part) for part in one[1]], [written(part) for part in two[1]]
    if one[0] and one[0][0] != "\\{":
        return all(map(same, ours, theirs))
    for part in ours:
        place = next((i for i, other in enumerate(theirs) if same(part, other)), None)
        if place is None:
            return False
        theirs.pop(place)
    return True


def self_test() -> None:
    """What a person would say."""
    for text, answer in [
        (r"\boxed{1} no, \boxed{\frac{3}{4}}", r"\frac{3}{4}"),
        (r"\boxed{5} and then \boxed{6", "5"),
        (r"\boxed{} is 9", "9"),
        (r"\boxed{\{1\}} or 3", r"\{1\}"),
        ("8 * 2 = 16\n#### 16\n", "16"),
        ("#### \n17", "17"),
        ("It is 6.\n#### Conclusion", "6"),
        ("#### 2. Multiply\nSo 3 * 4 = 12", "12"),
        ("The answer is 4. There were 5.", "4"),
        ("It costs $1,234.50.", "1,234.50"),
        ("It costs $9{,}500$.", "9{,}500"),
        (r"so \(\frac{3}{4}\)", r"\frac{3}{4}"),
        (r"about $3.2 \times 10^5$ of them", r"3.2 \times 10^5"),
        ("use 11 5/6 cups", "11 5/6"),
        ("12 and then x^2", "12"),
        ("from 10-4", "4"),
        ("at −$12", "-12"),
        ("a half is 1/2", "1/2"),
        ("(3,4)", "4"),
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
