//! Numbers that are parts of something, and right answers in unusual sentences.

use super::*;

fn is_right(reference: &str, text: &str) -> bool {
    let expected = answer_of_reference(reference, "</think>", None);
    answer_of_text(text, "</think>", None).is_some_and(|found| same_answer(&expected, &found))
}

#[test]
fn a_part_of_an_expression_is_not_the_number_in_it() {
    let wrong: Vec<_> = [
        // A minus sign in prose.
        "The answer is 5 - x.",
        "x = 5 - y",
        "So z = 3 - i, no, 5 - i.",
        "The probability is 5 - p.",
        "Answer: 5 - k",
        "The answer is 5 – x",
        "The answer is 5 — x",
        "The answer is 5 - π",
        "The answer is 5 - e",
        "The answer is 5 - cos x",
        "The answer is 5 - f(x)",
        "The answer is $5$ - $x$",
        "\\boxed{5} - x",
        "\\boxed{5} — x",
        "$\\boxed{5}$ - x",
        "$\\boxed{5}$ + x",
        "k - \\boxed{5}",
        "$x$ - \\boxed{5}",
        "$x$ - $\\boxed{5}$",
        "k - $\\boxed{5}$",
        // Negated relations.
        "\\boxed{\\not= 5}",
        "x \\not= 5",
        "$x \\not= \\boxed{5}$",
        "x \\not\\approx \\boxed{5}",
        "$x\\not\\in\\boxed{5}$",
        "$x\\not\\equiv\\boxed{5}$",
        "$x ≮ \\boxed{5}$",
        "$x ≢ \\boxed{5}$",
        "$x =\u{338} \\boxed{5}$",
        "$\\boxed{5} ≢ x$",
        // Remarks.
        "The answer is 5 (million).",
        "The answer is 5 (in millions).",
        "The answer is 5 (thousand dollars).",
        "The answer is 5 (dozen).",
        "The answer is 5 (squared).",
        "The answer is 5 (negative).",
        "The answer is 5 (below zero).",
        "The answer is 5 (times x).",
        "The answer is 5 (at most).",
        "The answer is 5 (or six).",
        "So it is 5 (million).",
        "So it is 5 (in thousands of dollars).",
        "#### 5 (million)",
        "\\boxed{5} (million)",
        "\\boxed{5}(million)",
        "$\\boxed{5}$ (million)",
        "\\boxed{5}\\text{ (million)}",
        "\\boxed{5} (wrong)",
        "\\boxed{5} (if x > 0)",
        "\\boxed{5} (or six)",
        // Words behind it.
        "The answer is 5 less than x",
        "So it is 5 less than x.",
        "So it is 5% less than x.",
        "The answer is 5% off",
        "It is 5 under par.",
        "It is 5 short of x",
        "It is 5 per thousand",
        "It is 5 in thousands",
        "The answer is 5 of x",
        "The answer is 5 and x",
        "The answer is 5 of $x$",
        "\\boxed{5 milli}",
        "\\boxed{5 kilo}",
        "\\boxed{5 myriad}",
        "\\boxed{5 doubled}",
        "\\boxed{5 fold}",
        "\\boxed{5 owed}",
        "\\boxed{5 reciprocal}",
        "\\boxed{5 basis points}",
        "\\boxed{5 hexadecimal}",
        "\\boxed{5\\text{K}}",
        "So we get 5?",
        "Is it 5?",
        "So 5? No.",
        // A number in a remark, and items of a list.
        "x = 17 (so y = 5)",
        "x = 5 (rejecting x = 5), no, x = 17 (rejecting x = 5)",
        "They are\n- 12\n- 5",
        "x => 5",
        "minus 5",
        "The answer is minus 5",
        "$x$ minus \\boxed{5}",
        "It is 6, not 5.",
    ]
    .into_iter()
    .filter(|text| is_right("5", text))
    .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_no_number_is_compared_as_a_whole() {
    assert!(is_right("5 - x", "The answer is 5 - x."));
    assert!(is_right("The answer is 5 - x", "\\boxed{5 - x}"));
    assert!(!is_right("The answer is 5 - x", "\\boxed{5}"));
    assert!(!is_right("Answer: 5 (million)", "\\boxed{5}"));
    assert!(is_right("Answer: 5 (million)", "The answer is 5 (million)."));
    assert!(!is_right("-5", "$x$ minus \\boxed{5}"));
}

#[test]
fn a_number_of_multiples_or_with_a_prefix_alone_is_not_the_number() {
    let wrong: Vec<_> = [
        "The answer is 5, in millions",
        "The answer is 5, in millions of dollars.",
        "So it is 5, expressed in thousands.",
        "So it is 5 dollars, in the millions.",
        "\\boxed{5}, in millions",
        "$\\boxed{5}$ in millions",
        "$\\boxed{5}\\text{ in millions}$",
        "It is 5 micro.",
        "It is 5 nano",
        "The answer is 5 micro",
        "The answer is 5 mega",
        "\\boxed{5} micro",
        "\\boxed{5 myriads}",
        "It is 5 doubled.",
        "It is 5 basis points.",
    ]
    .into_iter()
    .filter(|text| is_right("5", text))
    .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn right_answers_are_found_in_unusual_sentences() {
    let wrong: Vec<_> = [
        ("18", "The answer is 18 - that is, eighteen dollars."),
        ("18", "It is 18 — which was asked."),
        ("18", "\\boxed{18} - as required"),
        ("18", "\\boxed{18} (which is 9 * 2)"),
        ("18", "$\\boxed{18}$ (as required)"),
        ("18 eggs", "\\boxed{18} (eggs)"),
        ("18", "The answer is 18 (rounded to the nearest tenth)."),
        ("18", "So she makes $18 (at the farmers' market)."),
        ("18", "So she makes $18 (9 eggs * $2 = $18)."),
        ("18", "$x \\equiv \\boxed{18}$ (mod 7)"),
        ("18", "18 of the eggs are left."),
        ("18", "She has 18 eggs and a friend."),
        ("18", "She walks 18 in two days."),
        ("18", "The answer is 18, in two days."),
        ("18", "She has 18, in all."),
        ("18", "\\boxed{18}, in that order"),
        ("18", "So she buys 18 kilos."),
        ("18 kg", "\\boxed{18\\text{ kilos}}"),
        ("-3", "The answer is negative 3"),
        ("-3", "The answer is minus 3."),
        ("-3", "\\boxed{(-3)}"),
        ("(-3)", "\\boxed{-3}"),
        ("(-3)", "\\boxed{(-3)}"),
        ("18", "**#### 18**"),
        ("12", "∴ 12"),
        ("12", "=> 12"),
        ("12", "→ 12"),
        ("17", "- 17"),
        ("18", "{\"answer\": 18}"),
        ("18", "{\"answer\": \"18\"}"),
        ("18", "It's 18, not 17."),
        ("18", "The answer is 18, not 17."),
        ("18", "18 US dollars"),
        ("18", "The answer is 18 US dollars."),
        ("3/4", "\\boxed{{3 \\over 4}}"),
        ("-3/4", "\\boxed{-{3 \\over 4}}"),
        ("17", "x = 17 (rejecting x = -3)"),
        ("17", "The answer is x = 17 (rejecting x = -3)."),
    ]
    .into_iter()
    .filter(|(reference, text)| !is_right(reference, text))
    .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
