"""Reference answers in the styles of four public sets, made up anew, and responses of which it is known whether they are right.

Nothing is taken from the sets: the forms are theirs (`10,\\!080`, `\\text{(C)}`, `$\\frac{n(n-1)}{2}$`, `4.5e33`, `#### 1,234`), the
numbers come from a seeded generator. Each reference answer gets itself in a box, the same answer in other notations, and
wrong answers that are close to it.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Case:
    """A response to a problem."""

    style: str
    reference: str
    text: str
    right: bool
    verbatim: bool = False


# The reference answer, right answers in other notations, wrong answers.
Answer = tuple[str, list[str], list[str]]


def grouped(number: int, separator: str) -> str:
    """The number with a separator of thousands."""
    return f"{number:,}".replace(",", separator)


def integer(draw: random.Random) -> Answer:
    n = draw.choice([draw.randint(2, 99), draw.randint(100, 9_999), -draw.randint(2, 99)])
    return str(n), [f"{n}.0", f"x = {n}", f"{n}."], [str(n + 1), str(-n), f"{n}0", f"{n}x"]


def thousands(draw: random.Random) -> Answer:
    n = draw.randint(1_000, 9_999_999)
    right = [str(n), grouped(n, ","), grouped(n, "{,}"), grouped(n, "\\,")]
    return grouped(n, ",\\!"), right, [str(n + 10), str(n % 1000), grouped(n * 10, ",")]


def fraction(draw: random.Random) -> Answer:
    a, b = draw.randint(1, 30), draw.choice([3, 7, 8, 9, 11, 16, 20])
    f = Fraction(a, b)
    a, b = f.numerator, f.denominator
    if b == 1:
        return fraction(draw)
    right = [f"\\dfrac{{{a}}}{{{b}}}", f"\\tfrac{{{a}}}{{{b}}}", f"{a}/{b}", f"\\frac{{{2 * a}}}{{{2 * b}}}"]
    return f"\\frac{{{a}}}{{{b}}}", right, [f"\\frac{{{b}}}{{{a}}}", str(a), str(b), f"-\\frac{{{a}}}{{{b}}}", f"\\frac{{{a}}}{{{b + 1}}}"]


def short_fraction(draw: random.Random) -> Answer:
    a, b = draw.choice([(1, 2), (3, 4), (5, 8), (2, 5), (7, 8)])
    return f"\\frac{a}{b}", [f"\\frac{{{a}}}{{{b}}}", f"{a / b}", f"{a}/{b}"], [f"\\frac{b}{a}", str(a), f"{a}{b}"]


def decimal(draw: random.Random) -> Answer:
    n = draw.randint(1, 9_999)
    text = f"{n / 100:.2f}"
    return text, [f"{text}0", f"\\frac{{{n}}}{{100}}"], [f"{(n + 1) / 100:.2f}", f"{n / 10:.1f}", f"-{text}"]


def mixed(draw: random.Random) -> Answer:
    whole, a, b = draw.randint(2, 20), draw.randint(1, 4), draw.choice([5, 7])
    right = [f"\\frac{{{whole * b + a}}}{{{b}}}", f"{whole}\\dfrac{{{a}}}{{{b}}}"]
    return f"{whole}\\frac{{{a}}}{{{b}}}", right, [f"\\frac{{{whole * a}}}{{{b}}}", str(whole), f"{whole}\\frac{{{a}}}{{{b + 1}}}"]


def root(draw: random.Random) -> Answer:
    a, b = draw.randint(2, 12), draw.choice([2, 3, 5, 6, 7])
    right = [f"{a} \\sqrt{{{b}}}", f"{a}\\sqrt {{{b}}}", f"\\sqrt{{{a * a * b}}}"]
    return f"{a}\\sqrt{{{b}}}", right[: draw.choice([2, 2, 2, 3])], [f"{b}\\sqrt{{{a}}}", str(a), f"\\sqrt{{{b}}}", f"{a}\\sqrt{{{b + 1}}}"]


def pi(draw: random.Random) -> Answer:
    a = draw.randint(2, 60)
    return f"{a}\\pi", [f"{a} \\pi", f"{a}π"], [str(a), f"{a + 1}\\pi", f"\\pi^{{{a}}}"]


def pi_fraction(draw: random.Random) -> Answer:
    a, b = draw.choice([(1, 2), (3, 4), (5, 6), (2, 3)])
    top = "\\pi" if a == 1 else f"{a}\\pi"
    right = [f"\\dfrac{{{top}}}{{{b}}}", f"\\frac {{{top}}} {{{b}}}"]
    return f"\\frac{{{top}}}{{{b}}}", right, [str(b), f"\\frac{{{a}}}{{{b}}}", f"\\frac{{{top}}}{{{b + 1}}}"]


def polar(draw: random.Random) -> Answer:
    r, b = draw.randint(2, 9), draw.choice([2, 3, 4, 6])
    right = [f"({r}, \\frac{{\\pi}}{{{b}}})", f"\\left({r},\\dfrac{{\\pi}}{{{b}}}\\right)"]
    return f"\\left( {r}, \\frac{{\\pi}}{{{b}}} \\right)", right, [str(b), str(r), f"\\left( {r}, \\frac{{\\pi}}{{{b + 1}}} \\right)"]


def pair(draw: random.Random) -> Answer:
    a, b = draw.randint(-9, 9), draw.randint(10, 20)
    return f"({a},{b})", [f"({a}, {b})", f"\\left({a},{b}\\right)", f"({a}.0, {b})"], [f"({b},{a})", f"({a},{b + 1})", str(b)]


def interval(draw: random.Random) -> Answer:
    a = draw.randint(-9, 5)
    b = a + draw.randint(1, 9)
    right = [f"[{a}, {b})", f"\\left[{a},{b}\\right)"]
    return f"[{a},{b})", right, [f"({a},{b})", f"[{a},{b}]", f"[{a},{b + 1})"]


def half_line(draw: random.Random) -> Answer:
    a = draw.randint(-9, 9)
    right = [f"(-\\infty, {a}]", f"\\left(-\\infty,{a}\\right]"]
    return f"(-\\infty,{a}]", right, [f"(-\\infty,{a})", f"[{a},\\infty)", f"(-\\infty,{a + 1}]"]


def union(draw: random.Random) -> Answer:
    a = draw.randint(-9, 0)
    b = a + draw.randint(2, 9)
    right = [f"(-\\infty, {a}) \\cup ({b}, \\infty)", f"\\left(-\\infty,{a}\\right)\\cup\\left({b},+\\infty\\right)"]
    wrong = [f"(-\\infty,{a}) \\cap ({b},\\infty)", f"(-\\infty,{a}]\\cup({b},\\infty)", f"({a},{b})"]
    return f"(-\\infty,{a})\\cup({b},\\infty)", right, wrong


def roots(draw: random.Random) -> Answer:
    a, b = draw.randint(1, 9), draw.randint(10, 30)
    return f"{a},{b}", [f"{a}, {b}", f"{b}, {a}"], [str(a), f"{a}, {b + 1}", f"{a}, {b}, {b + 2}", f"{a}{b}"]


def finite_set(draw: random.Random) -> Answer:
    a, b, c = draw.sample(range(1, 40), 3)
    right = [f"\\{{{b}, {a}, {c}\\}}", f"\\left\\{{{a},{b},{c}\\right\\}}"]
    return f"\\{{{a},{b},{c}\\}}", right, [f"\\{{{a},{b}\\}}", f"\\{{{a},{b},{c + 41}\\}}"]


def polynomial(draw: random.Random) -> Answer:
    a, b, c = draw.randint(2, 9), draw.randint(2, 9), draw.randint(1, 9)
    right = [f"{a}x^2 + {b}x - {c}", f"{a}x^{{2}}+{b}x-{c}", f"{b}x + {a}x^2 - {c}"]
    return f"{a}x^2+{b}x-{c}", right[: draw.choice([2, 2, 3])], [f"{a}x^2+{b}x+{c}", f"{a}x^3+{b}x-{c}", str(c)]


def line(draw: random.Random) -> Answer:
    a, b = draw.randint(2, 9), draw.randint(1, 9)
    return f"y = {a}x + {b}", [f"y={a}x+{b}", f"{a}x + {b}"], [f"y = {a}x - {b}", f"y = {b}x + {a + 9}", str(b)]


def factorial(draw: random.Random) -> Answer:
    n = draw.choice(["n", "(n-1)", "(2n)"])
    return f"{n}!", [f"{n} !"], [n, f"{n}!^2"]


def power(draw: random.Random) -> Answer:
    a, b = draw.choice([2, 3, 5]), draw.randint(20, 2_000)
    return f"{a}^{{{b}}}", [f"{a}^{b}", f"{a} ^ {{{b}}}"], [str(a), str(b), f"{a}^{{{b + 1}}}"]


def logarithm(draw: random.Random) -> Answer:
    a, b = draw.choice([2, 3, 5]), draw.choice([7, 11, 13])
    return f"\\log_{a} {b}", [f"\\log_{{{a}}} {b}", f"\\log_{{{a}}}{b}"], [f"\\log_{b} {a}", str(b), f"\\log_{a} {b + 4}"]


def choose(draw: random.Random) -> Answer:
    k = draw.randint(1, 9)
    right = [f"\\dfrac{{n(n-{k})}}{{2}}", f"\\frac{{n (n - {k})}}{{2}}"]
    return f"\\frac{{n(n-{k})}}{{2}}", right, [f"\\frac{{n(n+{k})}}{{2}}", f"\\frac{{n(n-{k})}}{{3}}", "2"]


def inequality(draw: random.Random) -> Answer:
    a = draw.randint(1, 99)
    return f"x \\leq {a}", [f"x \\le {a}", f"x\\leq{a}"], [f"x < {a}", f"x \\geq {a}", f"x \\leq {a + 1}"]


def complex_number(draw: random.Random) -> Answer:
    a, b = draw.randint(1, 9), draw.randint(2, 9)
    return f"{a}+{b}i", [f"{a} + {b}i"], [f"{a}-{b}i", f"{b}+{a + 9}i", str(a)]


def matrix(draw: random.Random) -> Answer:
    a, b = draw.randint(-9, 9), draw.randint(10, 20)
    written = "\\begin{{pmatrix}} {} \\\\ {} \\end{{pmatrix}}"
    right = [f"\\begin{{pmatrix}}{a}\\\\{b}\\end{{pmatrix}}"]
    return written.format(a, b), right, [written.format(b, a), written.format(a, b + 1)]


def degrees(draw: random.Random) -> Answer:
    a = draw.randint(5, 175)
    return f"{a}^\\circ", [str(a), f"{a}^{{\\circ}}"], [f"{a + 1}^\\circ", str(180 - a if a != 90 else 45)]


def units(draw: random.Random) -> Answer:
    a = draw.randint(2, 500)
    unit, power = draw.choice([("cm", ""), ("inches", ""), ("m", "^2"), ("cm", "^3")])
    right = [str(a), f"{a}\\text{{ {unit}}}{power}", f"{a} \\mathrm{{~{unit}}}{power}"]
    return f"{a} \\text{{ {unit}}}{power}", right, [f"{a + 1} \\text{{ {unit}}}{power}", f"{a}0"]


def money(draw: random.Random) -> Answer:
    a = draw.randint(100, 99_999) / 100
    return f"\\${a:.2f}", [f"{a:.2f}", f"{a:.2f} \\text{{ dollars}}"], [f"\\${a + 1:.2f}", f"{a * 100:.0f}"]


def percent(draw: random.Random) -> Answer:
    a = draw.randint(2, 98)
    return f"{a}\\%", [str(a), f"{a / 100}", f"{a}%"], [f"{a + 1}\\%", f"{a}00\\%"]


def words(draw: random.Random) -> Answer:
    word = draw.choice(["Evelyn", "Monday", "even", "hyperbola", "No", "Tuesday", "ellipse"])
    return f"\\text{{{word}}}", [word, f"\\textbf{{{word}}}"], ["\\text{other}", "\\text{odd}"]


def letter(draw: random.Random) -> Answer:
    a, b = draw.sample("ABCDE", 2)
    return f"\\text{{({a})}}", [f"({a})", f"\\textbf{{({a})}}"], [f"\\text{{({b})}}", f"({b})"]


def base(draw: random.Random) -> Answer:
    n, b = draw.randint(1_000, 4_444), draw.choice([5, 6, 7, 8])
    return f"{n}_{b}", [f"{n}_{{{b}}}"], [f"{n + 1}_{b}", str(b), f"{n}_{b + 1}"]


def scientific(draw: random.Random) -> Answer:
    a, b = draw.randint(11, 99) / 10, draw.choice([-12, -5, 5, 12, 33])
    right = [f"{a} \\times 10^{{{b}}}", f"{a} \\cdot 10^{{{b}}}", f"{a}e{b}"]
    return f"{a}e{b}", right, [f"{a} \\times 10^{{{b + 1}}}", f"{a + 0.1:.1f}e{b}", str(b), str(a)]


def scientific_latex(draw: random.Random) -> Answer:
    a, b = draw.randint(11, 99) / 10, draw.choice([4, 5, 6, 7])
    right = [f"{a}\\times 10^{b}", str(round(a * 10**b)), grouped(round(a * 10**b), ",")]
    return f"{a} \\times 10^{{{b}}}", right, [f"{a} \\times 10^{{{b - 1}}}", str(b), str(a)]


def physics(draw: random.Random) -> Answer:
    k = draw.randint(2, 9)
    right = [f"\\dfrac{{m v^2}}{{{k}}}", f"\\frac{{mv^{{2}}}}{{{k}}}"]
    return f"\\frac{{m v^{{2}}}}{{{k}}}", right, [f"\\frac{{m v^{{3}}}}{{{k}}}", f"\\frac{{m v^{{2}}}}{{{k + 1}}}", str(k)]


def exponential(draw: random.Random) -> Answer:
    k = draw.randint(2, 9)
    return f"e^{{-{k} t}}", [f"e^{{-{k}t}}"], [f"e^{{{k} t}}", f"e^{{-{k + 1} t}}", str(k)]


def arctangent(draw: random.Random) -> Answer:
    k = draw.randint(2, 9)
    return f"\\arctan{{{k}}}", [f"\\arctan {k}", f"\\arctan({k})"][: draw.choice([1, 1, 2])], [f"\\tan {k}", str(k), f"\\arctan{{{k + 1}}}"]


def plain_count(draw: random.Random) -> Answer:
    n = draw.choice([draw.randint(2, 999), draw.randint(1_000, 99_999)])
    return f"{n:,}" if draw.random() < 0.5 else str(n), [str(n), f"{n:,}", f"\\${n}"], [str(n + 1), str(n * 10), f"{n}.5"]


def price(draw: random.Random) -> Answer:
    n = draw.randint(101, 9_999)
    text = f"{n / 100:.2f}"
    return text, [text.rstrip("0") if "." in text.rstrip("0.") else text, f"\\${text}"], [f"{(n + 5) / 100:.2f}", str(n)]


STYLES: dict[str, list[Callable[[random.Random], Answer]]] = {
    "MATH-500": [
        integer, integer, integer, thousands, fraction, fraction, short_fraction, decimal, mixed, root, pi, pi_fraction, polar, pair,
        interval, half_line, union, roots, polynomial, line, complex_number, matrix, degrees, units, money, percent, words, letter,
        base,
    ],
    "OlympiadBench": [
        integer, fraction, root, pi, pair, interval, union, roots, finite_set, factorial, power, logarithm, choose, inequality,
    ],
    "Minerva": [integer, decimal, scientific, scientific_latex, physics, exponential, arctangent, fraction],
    "GSM8K": [plain_count, plain_count, price],
}  # fmt: skip
REFERENCES = {"MATH-500": 290, "OlympiadBench": 140, "Minerva": 80, "GSM8K": 60}


def said(draw: random.Random, style: str, answer: str) -> str:
    """What a model writes around its answer."""
    if style == "GSM8K" and draw.random() < 0.4:
        plain = answer.replace("\\$", "$")
        return f"First we add, then we multiply.\n#### {plain}"
    before = draw.choice(["Therefore the answer is ", "Step 1 gives 7 and step 2 gives 12. So we get ", "Hence\n"])
    return f"{before}$\\boxed{{{answer}}}$."


def cases(seed: int) -> Iterator[Case]:
    """All responses: for each reference answer itself, one in another notation, and two wrong ones."""
    draw = random.Random(seed)
    for style, makers in STYLES.items():
        seen: set[str] = set()
        for count in range(50 * REFERENCES[style]):
            if len(seen) == REFERENCES[style]:
                break
            reference, right, wrong = makers[count % len(makers)](draw)
            if reference in seen:
                continue
            seen.add(reference)
            solution = f"They have 3 each.\n#### {reference}" if style == "GSM8K" else reference
            yield Case(style, solution, f"So $\\boxed{{{reference}}}$.", right=True, verbatim=True)
            yield Case(style, solution, said(draw, style, draw.choice(right)), right=True)
            for answer in draw.sample(wrong, 2):
                yield Case(style, solution, said(draw, style, answer), right=False)
