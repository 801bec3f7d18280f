//! Sentences as models write them: the right answer, the text, and whether it is right.

use super::*;

fn is_right(reference: &str, text: &str) -> bool {
    let expected = answer_of_reference(reference, "</think>", None);
    answer_of_text(text, "</think>", None).is_some_and(|found| same_answer(&expected, &found))
}

#[test]
fn numbers_are_found_in_the_sentences_of_models() {
    let wrong: Vec<_> = [
        "The answer is **18** dollars.",
        "The answer is **$18** per day.",
        "The answer is 9 * 2 = 18.",
        "**Answer**: 9 * 2 = **18**",
        "Answer: She makes $18",
        "Answer: There are 18.",
        "So she makes $18. Let me check the answer: 9 * 2 = 18.",
        "The answer is in dollars. She makes $18.",
        "The answer is approximately 18",
        "The answer is only 18",
        "The answer is exactly 18",
        "The final answer is 18 (dollars).",
        "The final answer is 18!",
        "The answer is **18**!",
        "The answer is (18)",
        "The answer is _18_",
        "The answer is \"18\".",
        "The answer is 18 dollars a year",
        "The answer is 18 eggs!",
        "The answer is \\boxed{18}!",
        "<answer>18</answer>",
        "<b>18</b>",
        "The answer is <answer>18</answer>",
        "9*2=<<9*2=18>>18",
        "It's 18!",
        "He made a profit of $18.",
        "He earns $18 a year.",
        "She works 18 days a week.",
        "#### 18 (dollars)",
        "#### 18 a year",
        "#### 18!",
        "\\begin{align}\\boxed{18}\\end{align}",
        "\\begin{equation}\\boxed{18}\\end{equation}",
        "\\begin{center}\\boxed{18}\\end{center}",
        "\\begin{align*} x &= \\boxed{18} \\end{align*}",
        "\\boxed{18\\,}",
        "\\boxed{18\\ }",
        "\\boxed{{18}}",
        "$\\color{red}\\boxed{18}$",
        "$\\boldsymbol{\\boxed{18}}$",
        "> \\boxed{18}",
        "$x \\equiv \\boxed{18} \\pmod{7}$",
        "$x = \\boxed{18} \\equiv 4 \\pmod{7}$",
        "$\\boxed{18} \\equiv 4$ (mod 7)",
        // A rounded number is the number that is given, and a unit behind a box is one in it.
        "$x \\approx \\boxed{18}$",
        "The answer is about 18",
        "$\\boxed{18}\\text{ N}$",
        "$\\boxed{18\\text{ N}}$",
        "He is 18 years older than Jim.",
        "#### 18 years older",
        "The answer is 18 years older.",
        "\\boxed{18}\\text{ years older}",
        "He earns $18 in a year.",
        "The answer is $18 in total.",
    ]
    .into_iter()
    .filter(|text| !is_right("#### 18", text))
    .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_denied_or_a_part_is_no_answer() {
    let wrong: Vec<_> = [
        "\\boxed{5}\\left(2\\right)",
        "\\boxed{5}\\mathrm{i}",
        "\\boxed{5}|x|",
        "\\boxed{5}\\text{ and a half}",
        "\\boxed{5}\\text{ squared}",
        "\\boxed{5}\\mod 3",
        "\\boxed{5}.\\overline{3}",
        "\\boxed{5}_{8}",
        "\\boxed{5}^\\circ\\text{ N}",
        "$x \\neq \\boxed{5}$",
        "x \\neq \\boxed{5}",
        "$\\boxed{5} \\equiv 6$",
        "There are 5 fewer.",
        "The answer is nearly 5",
        "$x > \\boxed{5}$",
        "x =/= \\boxed{5}",
        "$(\\boxed{5}, 6)$",
        "$(6, \\boxed{5})$",
        "(\\boxed{5}, 6)",
        "$\\{\\boxed{5}, 6\\}$",
        "$\\boxed{5}, 6$",
        "$\\begin{pmatrix} 6 & \\boxed{5} \\end{pmatrix}$",
        "not \\boxed{5}",
        "The answer is not \\boxed{5}",
        "The answer is not $\\boxed{5}$",
        "$\\text{half of } \\boxed{5}$",
        "~~\\boxed{5}~~",
        "\\boxed{5\\text{th}}",
        "\\boxed{5\\text{ per mille}}",
        "\\boxed{5\\text{ ppm}}",
        "<think>It is \\boxed{5}</think>The answer is not 5.",
        "<think>It is \\boxed{5}</think> x = 6 or 7",
        "<think>It is \\boxed{5}</think> So it is 7 miles north.",
        "The answer is 5, which is wrong",
        "The answer is 5 (wrong)",
        "The answer is wrong: 5",
        "The answer is 5!",
        "twice 5",
        "The answer is twice 5",
        "The answer is 5 when x = 1, otherwise 6",
        "The answer is 5? No, it is 6.",
        "The answer is $2x = 5$.",
        "x =/= 5",
    ]
    .into_iter()
    .filter(|text| is_right("5", text))
    .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pairs_names_and_pounds_are_compared() {
    for (expected, found, right) in [
        ("(x,y)=(1,2)", "(1,2)", true),
        ("(x,y)=(1,2)", "(y,x)=(1,2)", false),
        ("x \\in [-2,7]", "[-2,7]", true),
        ("x \\in [-2,7]", "[-2,8]", false),
        ("-2 and 1", "-2,1", true),
        ("-2 and 1", "-2 or 1", false),
        ("\\{1,000\\}", "\\{1000\\}", true),
        ("p - q", "p-q", true),
        ("triangle BAC", "Triangle BAC", true),
        ("triangle BAC", "triangle bac", false),
        ("ABC, DEF", "DEF, ABC", true),
        ("ABC, DEF", "abc, def", false),
        ("P - Q", "p-q", false),
        ("5 lb", "£5", false),
        ("5 pounds", "£5", true),
        ("5 pounds", "5 lb", true),
    ] {
        assert_eq!(same_answer(expected, found), right, "{expected} and {found}");
    }
}

#[test]
fn comparisons_rates_and_rounded_numbers_are_compared() {
    for (expected, found, right) in [
        // A comparison says which of two is ahead, and the unit or the number stays.
        ("5", "5 years older", true),
        ("5 years", "5\\text{ years older}", true),
        ("5 years older", "5 years", true),
        ("5 years older", "5 years younger", false),
        ("5 years older", "5 months older", false),
        ("5", "5 more eggs", true),
        ("5 more eggs", "5 less eggs", false),
        ("5", "5 more than 3", false),
        ("5", "5 or more", false),
        // Rates and totals.
        ("70000", "$70,000 in a year", true),
        ("$5 a day", "5\\text{ dollars in one day}", true),
        ("$5 a day", "$5 every day", true),
        ("$5 a day", "$5 in a week", false),
        ("$5", "$5 in all", true),
        ("5", "5 eggs in total", true),
        ("5 in", "5 inches", true),
        // A rounded number is the number that is given.
        ("5", "x \\approx 5", true),
        ("5", "\\approx 5", true),
        ("5.33", "≈5.33", true),
        ("16/3", "\\approx 5.33", false),
        ("x = 5", "y \\approx 5", false),
    ] {
        assert_eq!(same_answer(expected, found), right, "{expected} and {found}");
    }
}
