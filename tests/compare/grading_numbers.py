"""Numbers with their units, read after docs/grading.md's description alone."""

import re
from fractions import Fraction

VULGAR = dict(zip("½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒", "1/2 1/3 2/3 1/4 3/4 1/5 2/5 3/5 4/5 1/6 5/6 1/7 1/8 3/8 5/8 7/8 1/9 1/10".split(), strict=True))
SPACE = r"(?:\\[,;:! ]|\\thinspace|[~ \u00a0\u2009\u202f\u2007])"
WHOLE = rf"(?:[1-9]\d{{0,2}}(?:(?:(?:\{{,\}}|,)(?:\\!)?\d{{3}}(?!\d))+|(?:['’]\d{{3}}(?!\d))+|(?:{SPACE}\d{{3}}(?!\d))+)|\d+)"
DECIMAL = rf"(?:{WHOLE}(?:\.(?:\d{{3}}(?:{SPACE}\d{{3}}(?!\d))+|\d+))?|\.\d+)"
SIGN = rf"(?:[-−–﹣－+]{SPACE}*)"
ARGUMENT = rf"(?:\{{{SPACE}*{SIGN}?{DECIMAL}{SPACE}*\}}|\d)"
FRACTION = rf"(?:\\[dtc]?frac{SPACE}*{ARGUMENT}{SPACE}*{ARGUMENT}|[{''.join(VULGAR)}])"
RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"
EXPONENT = rf"{SPACE}*(?:(?:\^|\*\*)\{{{SPACE}*{SIGN}?\d+{SPACE}*\}}|(?:\^|\*\*){SIGN}?\d+|⁻?[{RAISED}]+)"
TEN = rf"{SPACE}*(?:\\times|\\cdot|\\ast|[×·⋅*x]){SPACE}*(?:10|\{{10\}}){EXPONENT}"
MAGNITUDE = re.compile(
    rf"(?P<fraction>{FRACTION})"
    rf"|(?P<mixed>\d+{SPACE}*{FRACTION}|\d+{SPACE}+\d+{SPACE}*[/⁄]{SPACE}*{DECIMAL})"
    rf"|(?P<ratio>{DECIMAL}{SPACE}*[/⁄]{SPACE}*{DECIMAL})"
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
        "yr year,ml milliliter millilitre,l liter litre,gal gallon,dollar usd $,cent ¢,euro eur €,yen ¥,degree deg °,radian rad,"
        "celsius centigrade,fahrenheit,k kelvin,v volt,a amp ampere,w watt,j joule,n newton,hz hertz"
    ).split(",")
    for name in names.split()
}
SCALES = set(
    "hundred thousand million billion trillion mil bn lakh crore score gross dozen pair couple hundredweight one two three four five "
    "six seven eight nine ten eleven twelve twenty half halve third quarter fourth fifth sixth seventh eighth ninth tenth twelfth "
    "sixteenth twentieth hundredth thousandth millionth billionth".split()
)
TURNS = set(
    "increase increased decrease decreased rise fall drop decline growth reduction discount profit loss losse gain deficit surplus "
    "debt debit credit win north south east west northeast northwest southeast southwest ne nw se sw northward southward eastward "
    "westward clockwise counterclockwise anticlockwise am pm bc bce ad ce early late earlier later ago ahead behind above below up "
    "down upward downward uphill downhill upstream downstream forward backward inward outward higher lower faster slower older "
    "younger taller shorter longer heavier lighter larger smaller bigger greater fewer inside outside true false wrong incorrect not "
    "never maximum minimum".split()
)
NO_UNITS = set(
    "and or to plus minus times over of choose mod modulo remainder than if where base root power negative factorial squared cubed "
    "infinity infinite zero approximately approx roughly nearly almost least most pi tau alpha beta gamma theta lambda sigma omega "
    "sqrt sin cos tan log ln more less under beyond past until since short off left right before after".split()
)
STYLES = "text|textrm|textbf|textit|textsf|textnormal|mathrm|mathbf|mathit|mathsf|mbox|operatorname"
STYLED = re.compile(rf"\\(?:{STYLES})\s*\{{((?:[^{{}}\\]|\\.)*)\}}")
LETTERS = ("mathbf", "mathit", "mathsf", "operatorname")


def among(words: set[str], word: str) -> bool:
    """Whether a word, or its singular, is one of these."""
    return word in words or word.endswith("s") and word[:-1] in words


def singular(word: str) -> str:
    """A word without the ending of a plural."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("es") and word[:-2].endswith(("x", "s", "sh", "ch")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and len(word) > 2 and not word.endswith("ss") else word


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
    """`\\frac{a}{b}`, `½` or `a/b`."""
    if written.strip()[-1:] in VULGAR:
        parts = VULGAR[written.strip()[-1]].split("/")
    elif "frac" in written:
        parts = re.findall(ARGUMENT, written[written.index("frac") + 4 :])
    else:
        parts = re.split("[/⁄]", written)
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
            if re.search(SPACE, re.split(rf"{SPACE}*[/⁄]", written)[0]):
                return None
            magnitude = ratio(written)
        elif found["ten"]:
            power = re.sub(r"^10", "", written)
            if abs(exponent(power)) > 10_000:
                return None
            magnitude = Fraction(10) ** exponent(power)
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
    if head[2] and (behind := joined((((CURRENCY[head[2]], 1),), ()), behind)) is None:
        return None
    negative = ((head[1] or "") + (head[3] or ""))[:1] in tuple("-−–﹣－")
    return (-magnitude if negative else magnitude), behind or None


def unit(text: str) -> tuple | str | None:
    """The unit that all of the text is: known and other factors, `%`, `()` for nothing, `None` if it is none."""
    text = re.sub(r"(?:\{\})?\^\{?\\circ\}?|\\degree", "°", text)
    parts: list[tuple[str, bool, bool]] = []
    for run, command in [(m[3] if m[3] is not None else m[1], m[2]) for m in _runs(text)]:
        apart, place, styled = False, 0, command is not None and command not in LETTERS
        while place < len(run):
            found = re.compile(
                rf"(?P<space>{SPACE})|(?P<percent>\\?%|(?i:percents?|pct|per\s*cent)(?![^\W\d_]))|(?P<over>/|(?i:per)(?![^\W\d_]))"
                rf"|(?P<power>\^\{{?[23]\}}?|[²³])|(?P<dot>\\cdot|·)|(?P<sign>[°€£¥¢]|\\?\$)|(?P<word>[^\W\d_]+)|(?P<stop>\.)"
            ).match(run, place)
            if not found:
                return None
            kind, place = found.lastgroup, found.end()
            if kind == "dot" and not parts:
                return None
            if kind == "stop" and not (styled and not re.match(r"[^\W\d_]", run[place:]) or place == len(run)):
                return None
            if kind in ("percent", "over", "power"):
                parts.append(({"percent": "%", "over": "/"}.get(kind, found[0]), False, False))
            elif kind in ("sign", "word"):
                parts.append((found[0].lstrip("\\"), kind == "sign" or styled, apart))
            apart = kind == "space"
    if not parts:
        return ()
    if parts == [("%", False, False)]:
        return "%"
    known: list[tuple[str, int]] = []
    other: list[tuple[str, int]] = []
    raised: list[tuple[str, int]] | None = None
    words, direction, power, before = 0, 1, 1, ""
    for word, styled, apart in parts:
        lower, after_degrees, before = word.lower(), before == "°", word
        if word == "%":
            return None
        if word == "/":
            direction = -1
        elif word[0] in "^²³":
            if not raised:
                return None
            raised[-1] = (raised[-1][0], raised[-1][1] * (2 if "2" in word or "²" in word else 3))
            raised = None
        elif after_degrees and len(word) == 1:
            if word not in "CF":
                return None
            known.append(("celsius" if word == "C" else "fahrenheit", 1))
            words += 1
        else:
            words += 1
            name = UNITS.get(lower) or (len(lower) > 2 and lower.endswith("s") and UNITS.get(lower[:-1])) or None
            if re.fullmatch("[a-zA-Z]", word) and word not in "mgshlLKVAWJN":
                name = None
            if any(among(list_, lower) for list_ in (SCALES, TURNS, NO_UNITS)) or words > 4:
                return None
            this, power, raised = direction * power, 1, None
            if lower in ("square", "sq", "cubic"):
                power = 3 if lower == "cubic" else 2
            elif lower == "mph":
                known += [("mi", this), ("h", -this)]
            elif name and (styled or words > 1 or len(word) > 1):
                known.append((name, this))
                raised = known
            elif styled and len(word) > 1 or apart and len(word) > 3 and word[1:].islower() and re.search("[aeiouy]|[^\x00-\x7f]", word):
                other.append((singular(lower), this))
                raised = other
            else:
                return None
    return (tuple(sorted(known)), tuple(sorted(other))) if known or other else None


def joined(before: tuple, after: tuple | str) -> tuple | None:
    """A currency before a number with the unit behind it."""
    if after == ():
        return before
    if after == "%" or before[0] != after[0] and any(power > 0 for _, power in after[0]):
        return None
    return (before[0] if before[0] == after[0] else tuple(sorted(before[0] + after[0])), after[1])


def _runs(text: str) -> list[re.Match]:
    """The text as runs: those of a text command in group 3 with its name in group 2, others in group 1."""
    return list(re.finditer(rf"((?:(?!\\(?:{STYLES})\s*\{{).)+)|\\({STYLES})\s*\{{((?:[^{{}}\\]|\\.)*)\}}", text, re.DOTALL))


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
