//! Tests of contradictions.

use super::*;

#[test]
fn another_notation_of_the_answer_is_no_contradiction() {
    for (answer, text) in [
        ("1200", "It is 1,200."),
        ("1,200", "\\boxed{1200}"),
        ("1200", "It costs \\$1{,}200 in all."),
        ("1200", "$1\\,200$"),
        ("1200", "-> 1,\\!200.00 over 5 days"),
        ("\\dfrac12", "It is \\frac{1}{2}."),
        ("\\frac{1}{2}", "\\boxed{\\dfrac12}"),
        ("0.5", "\\boxed{\\frac{1}{2}}"),
        ("1/2", "So the share is 0.5."),
        ("$18", "She makes 18 dollars."),
        ("18", "She makes $18.00 each day."),
        (
            "She sells 9 eggs for $2 each, 9 * 2 = 18.\n#### 18",
            "She makes **$18** per day.",
        ),
        ("9 * 2 = 18, as was to be shown", "It is \\boxed{18}."),
        ("18", "#### Result\n9 * 2 makes 18 in 2 steps."),
        ("0.5", "It is 50%."),
        ("-5", "$x = −5$"),
        ("5", "$\\boxed{5}$ or $\\boxed{6}$"),
        ("5", "\\boxed{5\\text{ cm}}"),
        ("320000", "It takes 3.2 \\times 10^5 seconds."),
        ("120", "There are 5! ways."),
        (
            "72",
            "She sold seventy-two clips in 2 months, 3 times as many as in May.",
        ),
        ("42", "It follows."),
        ("B", "The answer is 5."),
        ("B", "\\boxed{5}"),
        ("B", "$\\boxed{\\textbf{(B)}}$"),
        ("(B)", "\\boxed{\\text{B}}"),
        ("B", "\\boxed{\\text{(B) } 12}"),
        ("Paris", "The answer is paris."),
        ("5 cm", "It is 6 cm."),
        ("", "It is 6."),
        ("-5", "$x = -\\boxed{5}$"),
        ("-5", "\\(\\boxed{-5}\\)"),
        ("0.5", "$\\boxed{50}\\%$"),
        ("\\frac{1}{2}", "$\\frac{\\boxed{1}}{2}$"),
        ("0.5", "$\\frac{\\boxed{1}}{2}$"),
        ("5", "so **\\boxed{5}** it is"),
        ("B", "The answer is (B), and (C) is too large."),
        ("B", "**Answer: (B) 12**"),
        ("B", "A dog has 4 legs."),
        ("B", "The answer is A-shaped; vitamin C. It follows."),
        ("B", "It is the second one."),
        ("-3", "The answer is negative 3."),
        ("-3", "The answer is minus 3."),
        ("36", "It takes 3 dozen eggs."),
        ("36", "The number of eggs is 3 dozen."),
        ("0.50", "It costs 50 cents."),
        ("0.50", "The price is 50 cents."),
        ("15", "They meet at 3 PM."),
        ("15", "The time is 3 p.m."),
        ("12", "The answer is twelve, by Theorem 2."),
        ("0.5", "The answer is one half (see step 2)."),
        ("5", "The year 2020 gives five"),
        ("9", "It is 3 squared."),
        ("120", "It is 5 factorial."),
    ] {
        assert!(!contradicts(text, answer), "{answer} and {text}");
    }
}

#[test]
fn another_number_is_a_contradiction() {
    for (answer, text) in [
        ("41", "So it is 42."),
        ("41", "**42**."),
        ("41", "5 + 37 = 42"),
        ("41", "She makes $42 every day."),
        ("#### 41", "\\boxed{42}"),
        ("thus \\boxed{1,200}", "thus \\boxed{1,300}"),
        ("5", "5 + 37 = \\boxed{42}"),
        ("5", "5 and so on\n#### 42"),
        ("1200", "It is 1.2."),
        ("1,200", "It is 200."),
        ("5", "It is -5."),
        ("5", "It is 5/6."),
        ("5", "It is 0.5."),
        ("5", "It is 5,000."),
        ("5", "\\boxed{10^5}"),
        ("5", "10^5"),
        ("18", "It is $19$."),
        ("42", "It is 4.2 so 42.5"),
        ("4", "\\frac{3}{4}"),
        ("B", "\\boxed{\\text{(C)}}"),
        ("B", "#### C"),
        ("B", "The answer is (C)."),
        ("B", "Answer: C"),
        ("(B)", "**Answer:** $\\text{(C)}$"),
        ("B", "C"),
        ("B", "(C) 12"),
        ("B", "So the correct option is C."),
        ("B", "It follows that Option (C) is right."),
        ("5", "$x = -\\boxed{5}$"),
    ] {
        assert!(contradicts(text, answer), "{answer} and {text}");
    }
}

#[test]
fn plain_numbers_are_decimals() {
    for (a, b) in [
        ("1,200", "1200.00"),
        ("-$5", "- 5"),
        (".5", "0.50"),
        ("007", "7"),
        ("-0", "0"),
        ("1 234 567", "1234567"),
    ] {
        assert!(
            Plain::parse(a).is_some() && Plain::parse(a) == Plain::parse(b),
            "{a} and {b}"
        );
    }
    for text in [
        "", ".", "-", "12,34", "1,2345", "5 6", "5/6", "10^5", "5%", "5 cm", "\\frac12", "1.2.3", "x",
    ] {
        assert_eq!(Plain::parse(text), None, "{text}");
    }
}
