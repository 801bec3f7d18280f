//! One table for all notations: a right answer, what a model answers in a box, and whether that is right.

use super::*;

const RIGHT: bool = true;
const WRONG: bool = false;

const ANSWERS: &[(&str, &str, bool)] = &[
    // Integers, signs and separators.
    ("42", "42", RIGHT),
    ("42", "42.0", RIGHT),
    ("42", "42.", RIGHT),
    ("42", "+42", RIGHT),
    ("42", "43", WRONG),
    ("42", "-42", WRONG),
    ("42", "420", WRONG),
    ("-42", "−42", RIGHT),
    ("-42", "–42", RIGHT),
    ("-42", "- 42", RIGHT),
    ("7", "007", RIGHT),
    ("28080", "28,080", RIGHT),
    ("28080", "28{,}080", RIGHT),
    ("28080", "28\\,080", RIGHT),
    ("28080", "28 080", RIGHT),
    ("28080", "28\u{202f}080", RIGHT),
    ("28080", "28\u{2009}080", RIGHT),
    ("28080", "28\u{a0}080", RIGHT),
    ("28080", "28~080", RIGHT),
    ("28080", "28'080", RIGHT),
    ("10,\\!080", "10080", RIGHT),
    ("10080", "10,\\!080", RIGHT),
    ("10080", "10{,}\\!080", RIGHT),
    ("1234567", "1 234 567", RIGHT),
    ("1234567", "1,234,567", RIGHT),
    ("1234567", "1,234 567", WRONG),
    ("1234", "1,2,3,4", WRONG),
    ("1234", "12,34", WRONG),
    ("9500", "$9{,}500", RIGHT),
    ("9500", "500", WRONG),
    ("1,200", "200, 1", WRONG),
    ("5^\\circ\\text{C}", "5^\\circ\\text{F}", WRONG),
    ("5 degrees Celsius", "5^\\circ\\text{C}", RIGHT),
    ("4", "4\\mathbf{i}", WRONG),
    ("3", "3\\mathrm{i}", WRONG),
    ("5", "5\\text{ eighths}", WRONG),
    ("5", "5 \\text{ lakh}", WRONG),
    ("$9{,}500", "500", WRONG),
    ("$9{,}500", "9500", RIGHT),
    (
        "10000000000000000000000000000000000000000001",
        "10000000000000000000000000000000000000000001",
        RIGHT,
    ),
    (
        "10000000000000000000000000000000000000000001",
        "10000000000000000000000000000000000000000002",
        WRONG,
    ),
    // Decimals.
    ("0.5", ".5", RIGHT),
    ("0.5", "0.50", RIGHT),
    ("0.5", "0,5", WRONG),
    ("3.141592", "3.141\\,592", RIGHT),
    ("1/3", "0.333", WRONG),
    ("0.1", "0.10000000000000000000000000001", WRONG),
    // Fractions and mixed numbers.
    ("0.5", "\\frac{1}{2}", RIGHT),
    ("1/2", "$\\frac{1}{2}$", RIGHT),
    ("\\frac{1}{2}", "\\dfrac{1}{2}", RIGHT),
    ("\\frac{1}{2}", "\\tfrac12", RIGHT),
    ("\\frac{1}{2}", "\\frac{2}{4}", RIGHT),
    ("\\frac{1}{2}", "\\frac 1 2", RIGHT),
    ("\\frac{1}{72}", "\\frac1{72}", RIGHT),
    ("\\frac{3}{4}", "4", WRONG),
    ("\\frac{3}{4}", "3", WRONG),
    ("4", "\\frac{3}{4}", WRONG),
    ("-\\frac{1}{2}", "\\frac{-1}{2}", RIGHT),
    ("-\\frac{1}{2}", "\\frac{1}{-2}", RIGHT),
    ("-\\frac{1}{2}", "\\frac{1}{2}", WRONG),
    ("\\frac{1{,}000}{3}", "1000/3", RIGHT),
    ("3/2", "1 1/2", RIGHT),
    ("11 5/6", "71/6", RIGHT),
    ("71/6", "11 5/6", RIGHT),
    ("11 5/6", "11\\frac{5}{6}", RIGHT),
    ("11\\frac56", "11 \\frac{5}{6}", RIGHT),
    ("-3\\frac{1}{2}", "-3.5", RIGHT),
    ("3\\frac{1}{2}", "3/2", WRONG),
    ("3\\frac{1}{2}", "1.5", WRONG),
    ("7", "2\\frac{10}{2}", WRONG),
    ("1", "1/0", WRONG),
    ("0", "\\frac{0}{0}", WRONG),
    // Powers of ten.
    ("3.2 \\times 10^5", "320000", RIGHT),
    ("320000", "3.2 \\times 10^{5}", RIGHT),
    ("3.2 \\times 10^5", "320,000", RIGHT),
    ("3.2 \\times 10^5", "3.2 \\cdot 10^5", RIGHT),
    ("3.2 \\times 10^5", "3.2 × 10⁵", RIGHT),
    ("3.2 \\times 10^5", "3.2 x 10^5", RIGHT),
    ("3.2 \\times 10^5", "3.2e5", RIGHT),
    ("3.2 \\times 10^5", "5", WRONG),
    ("5", "3.2 \\times 10^5", WRONG),
    ("3.2 \\times 10^5", "3.2 \\times 10^4", WRONG),
    ("4.5e33", "4.5 \\times 10^{33}", RIGHT),
    ("4.5 \\times 10^{33}", "4.5e33", RIGHT),
    ("4.5e33", "4.5E+33", RIGHT),
    ("4.5e33", "4.5e32", WRONG),
    ("2.5 \\times 10^{-3}", "0.0025", RIGHT),
    ("2.5 \\times 10^{-3}", "2.5e-3", RIGHT),
    ("10^{6}", "1000000", RIGHT),
    ("10^6", "10", WRONG),
    ("2^{10}", "2", WRONG),
    ("2^{10}", "2^{10}", RIGHT),
    // Percent.
    ("10%", "0.1", RIGHT),
    ("0.1", "10%", RIGHT),
    ("10\\%", "10", RIGHT),
    ("50", "50 \\%", RIGHT),
    ("50\\%", "50 percent", RIGHT),
    ("0.5", "50%", RIGHT),
    ("50%", "50%", RIGHT),
    ("50%", "0.5%", WRONG),
    ("50%", "5000%", WRONG),
    ("5000", "50%", WRONG),
    ("\\frac{1}{8}", "12.5\\%", RIGHT),
    // Currencies and units.
    ("28080", "$28,080", RIGHT),
    ("28080", "\\$28,080", RIGHT),
    ("28080", "28,080 dollars.", RIGHT),
    ("$5", "5 dollars", RIGHT),
    ("-5", "-$5", RIGHT),
    ("-5", "$-5", RIGHT),
    ("$5", "€5", WRONG),
    ("$5", "5 cents", WRONG),
    ("£195.00", "195", RIGHT),
    ("12", "12 apples", RIGHT),
    ("12 apples", "12", RIGHT),
    ("12 apples", "13 apples", WRONG),
    ("5 cm", "5", RIGHT),
    ("5", "5\\text{ cm}", RIGHT),
    ("5\\,\\text{cm}", "5 centimeters", RIGHT),
    ("5 \\text{ cm}", "5 \\text{ m}", WRONG),
    ("5 \\text{ cm}^2", "5 square centimeters", RIGHT),
    ("5 \\text{ cm}^2", "5 \\text{ cm}", WRONG),
    ("5", "5 \\mathrm{~kg}", RIGHT),
    ("60 \\mathrm{~km} / \\mathrm{h}", "60 km/h", RIGHT),
    ("60 \\mathrm{~km} / \\mathrm{h}", "60 kilometers per hour", RIGHT),
    ("6 hours", "6 minutes", WRONG),
    ("6 hours", "6 hrs", RIGHT),
    ("90^\\circ", "90", RIGHT),
    ("90", "90^{\\circ}", RIGHT),
    ("90°", "90 degrees", RIGHT),
    ("90^\\circ", "90 radians", WRONG),
    ("12", "12 x", WRONG),
    ("12 x", "12", WRONG),
    ("12x", "12", WRONG),
    ("12", "12x", WRONG),
    ("12", "12\\pi", WRONG),
    ("12\\pi", "12", WRONG),
    ("12", "12 million", WRONG),
    ("12", "12 \\text{ million}", WRONG),
    ("3", "3 dozen", WRONG),
    ("2", "2 \\text{ or } 5", WRONG),
    ("2", "2, 5", WRONG),
    ("2", "2 and 5", WRONG),
    ("2", "2\\sqrt{3}", WRONG),
    ("5", "5!", WRONG),
    ("5!", "5", WRONG),
    ("n!", "n", WRONG),
    ("n", "n!", WRONG),
    ("n!", "n!", RIGHT),
    // Names.
    ("5", "x = 5", RIGHT),
    ("x = 5", "5", RIGHT),
    ("x=5", "x = 5.0", RIGHT),
    ("x=5", "y=5", WRONG),
    ("a_{10} = 5", "5", RIGHT),
    ("y = 2x + 3", "2x+3", RIGHT),
    ("f(x) = 2x + 3", "2x+3", RIGHT),
    ("y = 2x + 3", "3", WRONG),
    ("2x = 10", "10", WRONG),
    // Texts.
    ("Paris", " paris. ", RIGHT),
    ("Paris", "Rome", WRONG),
    ("yes", "**Yes**", RIGHT),
    ("No", "\\text{no}", RIGHT),
    ("B", "\\text{B}", RIGHT),
    ("B", "(B)", RIGHT),
    ("\\text{(B)}", "B", RIGHT),
    ("B", "b", WRONG),
    ("B", "C", WRONG),
    ("N", "n", WRONG),
    ("x^2+1", "x^2 + 1", RIGHT),
    ("x^{2}+1", "x^2+1", RIGHT),
    ("x^2+1", "x^2-1", WRONG),
    ("\\frac{x}{2}", "\\dfrac{x}{2}", RIGHT),
    ("\\frac{x}{2}", "\\frac{2}{x}", WRONG),
    ("2\\sqrt{3}", "$2\\sqrt{3}$", RIGHT),
    ("2\\sqrt{3}", "2\\sqrt3", RIGHT),
    ("2\\sqrt{3}", "2√3", RIGHT),
    ("2\\sqrt{3}", "2", WRONG),
    ("2\\sqrt{3}", "2\\sqrt{5}", WRONG),
    ("\\frac{\\pi}{2}", "\\frac{π}{2}", RIGHT),
    ("\\leftarrow", "\\rightarrow", WRONG),
    ("\\leftarrow", "←", RIGHT),
    ("\\Rightarrow", "\\rightarrow", WRONG),
    ("x \\le 3", "x ≤ 3", RIGHT),
    ("x \\le 3", "x < 3", WRONG),
    ("x \\le 3", "3", WRONG),
    ("\\sin 30^\\circ", "\\sin 30", WRONG),
    ("12 3", "123", WRONG),
    ("1, 2, \\ldots", "1, 2", WRONG),
    // Tuples, intervals, sets and lists.
    ("(1, 2)", "\\left( 1,2 \\right)", RIGHT),
    ("(1, 2)", "(2, 1)", WRONG),
    ("(1, 2)", "[1, 2]", WRONG),
    ("(1, 2)", "(1, 2]", WRONG),
    ("(1, 2)", "1, 2", WRONG),
    ("(1, 2)", "(1, 2, 3)", WRONG),
    ("(1, 2)", "2", WRONG),
    ("\\left( 3, \\frac{\\pi}{2} \\right)", "2", WRONG),
    (
        "\\left( 3, \\frac{\\pi}{2} \\right)",
        "\\left(3,\\dfrac{\\pi}{2}\\right)",
        RIGHT,
    ),
    ("(\\frac{1}{2}, 3)", "(0.5, 3.0)", RIGHT),
    ("(0,+\\infty)", "(0, \\infty)", RIGHT),
    ("(-\\infty, 0]", "(-∞, 0]", RIGHT),
    ("\\{1, 2, 3\\}", "\\{3, 1, 2\\}", RIGHT),
    ("\\{1, 2, 3\\}", "\\left\\{3, 1, 1\\right\\}", WRONG),
    ("1, -2", "-2, 1", RIGHT),
    ("1, -2", "1, 2", WRONG),
    ("\\frac{1}{2}, 3", "3, 0.5", RIGHT),
    ("(1, 2), (3, 4)", "(3, 4), (1, 2)", RIGHT),
    ("(1, 2), (3, 4)", "(4, 3), (1, 2)", WRONG),
    (
        "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}",
        "\\begin{pmatrix}1\\\\2\\end{pmatrix}",
        RIGHT,
    ),
    (
        "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}",
        "\\begin{pmatrix}2\\\\1\\end{pmatrix}",
        WRONG,
    ),
    ("", "", WRONG),
    ("42", "", WRONG),
    (".", ".", WRONG),
];

#[test]
fn answers_are_the_same_in_any_notation_and_only_then() {
    let is_right = |expected: &str, found: &str| {
        let expected = answer_of_reference(expected, "</think>", None);
        let found = answer_of_text(&format!("Therefore $\\boxed{{{found}}}$."), "</think>", None);
        found.is_some_and(|found| same_answer(&expected, &found))
    };
    let wrong: Vec<_> = ANSWERS
        .iter()
        .filter(|(expected, found, right)| {
            is_right(expected, found) != *right || same_answer(expected, found) != *right
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_right_answer_in_a_box_is_right() {
    for (expected, ..) in ANSWERS
        .iter()
        .filter(|(expected, ..)| expected.chars().any(char::is_alphanumeric))
    {
        let found = answer_of_text(&format!("so \\boxed{{{expected}}}"), "</think>", None).unwrap();
        assert!(same_answer(expected, &found), "{expected}");
    }
}

#[test]
fn hostile_answers_are_compared_in_bounded_time() {
    for text in [
        "(".repeat(50_000),
        "\\frac{".repeat(20_000),
        "{".repeat(50_000),
        format!("({}1{}", "(1,".repeat(5_000), ")".repeat(5_001)),
        "1,".repeat(20_000) + "1",
        "\\text{".repeat(20_000) + &"}".repeat(20_000),
        "$".repeat(50_001),
        "9".repeat(100_000),
        format!("1e{}", "9".repeat(1_000)),
        "-".repeat(50_000),
        "1 ".repeat(50_000),
        "é\\".repeat(10_000),
    ] {
        let other = format!("{text}2");
        assert!(!same_answer(&text, &other));
        assert!(answer_of_text(&text, "</think>", None).is_none_or(|found| found.len() <= text.len() + 1));
    }
}
