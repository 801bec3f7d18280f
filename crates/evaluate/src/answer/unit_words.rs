//! Words behind a number: units of measurement, and words that are no unit because they change the value.

/// Units of measurement: the name first, then other names. A plural in `s` is known as well.
const UNITS: [&[&str]; 41] = [
    &["mm", "millimeter", "millimetre"],
    &["cm", "centimeter", "centimetre"],
    &["m", "meter", "metre"],
    &["km", "kilometer", "kilometre"],
    &["in", "inch", "inches"],
    &["ft", "foot", "feet"],
    &["yd", "yard"],
    &["mi", "mile"],
    &["mg", "milligram"],
    &["g", "gram"],
    &["kg", "kilogram", "kilo"],
    &["lb"],
    // Of weight or of money.
    &["pound"],
    &["sterling", "£", "gbp"],
    &["oz", "ounce"],
    &["ms", "millisecond"],
    &["s", "sec", "second"],
    &["min", "minute"],
    &["h", "hr", "hour"],
    &["day"],
    &["week"],
    &["month"],
    &["yr", "year"],
    &["ml", "milliliter", "millilitre"],
    &["l", "liter", "litre"],
    &["gal", "gallon"],
    &["dollar", "usd", "$"],
    &["cent", "¢"],
    &["euro", "eur", "€"],
    &["yen", "¥"],
    &["degree", "deg", "°"],
    &["radian", "rad"],
    &["celsius", "centigrade"],
    &["fahrenheit"],
    &["k", "kelvin"],
    &["v", "volt"],
    &["a", "amp", "ampere"],
    &["w", "watt"],
    &["j", "joule"],
    &["n", "newton"],
    &["hz", "hertz"],
];

/// Words after a number that make it a multiple or a part. A plural in `s` is known as well.
const SCALES: [&str; 4] = [
    "hundred thousand million billion trillion quadrillion quintillion zillion googol milliard mio mrd mil bn lakh crore myriad score gross dozen pair couple hundredweight",
    "one two three four five six seven eight nine ten eleven twelve twenty",
    "half halve third quarter fourth fifth sixth seventh eighth ninth tenth twelfth sixteenth twentieth",
    "hundredth thousandth millionth billionth",
];

/// Words after a number that turn it around: one direction, or one side of two.
const TURNS: [&str; 7] = [
    "increase increased decrease decreased rise fall drop decline growth reduction discount",
    "profit loss losse gain deficit surplus debt debit credit win",
    "north south east west northeast northwest southeast southwest ne nw se sw",
    "northward southward eastward westward clockwise counterclockwise anticlockwise",
    "am pm bc bce ad ce early late earlier later ago ahead behind",
    "above below up down upward downward uphill downhill upstream downstream forward backward inward outward",
    "inside outside true false wrong incorrect not never maximum minimum",
];

/// Words after a number that say which of two is ahead. Beside a unit they are words as others: `5 years older` is 5 years.
const COMPARISONS: [&str; 1] = [
    "higher lower faster slower older younger taller shorter longer heavier lighter larger smaller bigger greater fewer less",
];

/// Other words after a number that are no unit. Some are common in prose, where they say nothing about the number.
const NO_UNITS: [&str; 5] = [
    "and or to plus minus times over of choose mod modulo remainder than if where base root power",
    "negative owed owing infinity infinite zero approximately approx roughly nearly almost least most",
    SYMBOLS,
    "under beyond past until since short off",
    "left right before after",
];

/// Names of constants, variables and functions.
const SYMBOLS: &str = "pi tau alpha beta gamma theta lambda sigma omega sqrt sin cos tan log ln";

/// Words after a number that change its value in any text. A `kilo` alone may be a prefix, and `kilos` are kilograms.
const CHANGES: [&str; 4] = [
    "factorial squared cubed doubled tripled quadrupled halved fold twofold threefold reciprocal",
    "th st nd rd ppm ppb ppt mille permille promille basis bps percentile binary octal hex hexadecimal",
    "repeating recurring extraneous",
    "nano micro milli centi deci kilo mega giga tera",
];

/// Whether a word in lower case makes the number before it a multiple or a part.
pub(super) fn is_scale(word: &str) -> bool {
    is_among(&SCALES, word)
}

/// Whether a word in lower case is a power of ten or a number of things: `million`, `dozen`, `thousandth`.
fn is_multiple(word: &str) -> bool {
    is_among(&[SCALES[0], SCALES[3]], word)
}

/// Whether a word in lower case changes the number before it, whatever text it is in: an operation, another base, a prefix alone.
pub(super) fn is_change(word: &str) -> bool {
    CHANGES.iter().any(|list| list.split(' ').any(|listed| listed == word))
}

/// Whether words in lower case say that the number before them counts multiples: `in millions`, `measured in units of thousands`.
pub(super) fn are_in_multiples<'a>(words: impl IntoIterator<Item = &'a str>) -> bool {
    let is_participle = |word: &&str| {
        matches!(
            *word,
            "expressed" | "measured" | "given" | "counted" | "stated" | "written"
        )
    };
    let mut words = words.into_iter().skip_while(is_participle);
    matches!(words.next(), Some("in" | "per"))
        && words
            .find(|word| !matches!(*word, "the" | "units" | "of"))
            .is_some_and(is_multiple)
}

/// Whether a word in lower case turns the number before it around, whatever text it is in.
pub(super) fn is_turn(word: &str) -> bool {
    is_among(&TURNS, word) || is_comparison(word)
}

/// Whether a word in lower case is the name of a constant, a variable or a function.
pub(super) fn is_symbol(word: &str) -> bool {
    SYMBOLS.split(' ').any(|symbol| symbol == word)
}

/// Whether a word in lower case compares two quantities.
pub(super) fn is_comparison(word: &str) -> bool {
    is_among(&COMPARISONS, word)
}

/// Whether a word in lower case after a number is no unit: it changes the value, or joins it to something else.
pub(super) fn is_no_unit(word: &str) -> bool {
    is_scale(word) || is_among(&TURNS, word) || is_among(&NO_UNITS, word) || is_change(word)
}

/// The power that a word gives to the unit behind it.
pub(super) fn power_of(word: &str) -> Option<i32> {
    match word {
        "square" | "sq" => Some(2),
        "cubic" => Some(3),
        _ => None,
    }
}

/// The unit of time at the start of a text and what follows it, behind the words that make a rate of it: `a day`, `every day`,
/// `in one day`. In a text command, `a` alone may be an ampere.
pub(super) fn rate(text: &str, is_text: bool) -> Option<&str> {
    let (first, rest) = text.split_once(' ')?;
    let (article, rest) = match first {
        "in" => rest.trim_start().split_once(' ')?,
        _ => (first, rest),
    };
    let is_rate = match article {
        "each" | "every" => true,
        "a" | "an" => first == "in" || !is_text,
        "one" => first == "in",
        _ => false,
    };
    (is_rate && starts_with_time(rest)).then(|| rest.trim_start())
}

/// The text behind words that say nothing about the number before them: `in all`, `in total`, the `US` of `US dollars`.
pub(super) fn behind_total(text: &str) -> Option<&str> {
    let of_country = text.strip_prefix("US ").or_else(|| text.strip_prefix("U.S. "));
    if let Some(rest) = of_country.filter(|rest| rest.starts_with("dollar")) {
        return Some(rest);
    }
    let rest = text.strip_prefix("in all").or_else(|| text.strip_prefix("in total"))?;
    (!rest.starts_with(char::is_alphabetic)).then_some(rest)
}

/// Whether a text starts with a unit of time.
fn starts_with_time(text: &str) -> bool {
    let word = text.split_whitespace().next().unwrap_or_default();
    matches!(
        word.trim_end_matches(|c: char| !c.is_alphabetic()),
        "second" | "minute" | "hour" | "day" | "week" | "month" | "year"
    )
}

fn is_among(lists: &[&str], word: &str) -> bool {
    let is_listed = |word: &str| lists.iter().any(|list| list.split(' ').any(|listed| listed == word));
    is_listed(word) || word.strip_suffix('s').is_some_and(is_listed)
}

/// A word in lower case without the ending of a plural.
pub(super) fn singular(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ies").filter(|stem| stem.len() > 1) {
        return format!("{stem}y");
    }
    let sibilant =
        (word.strip_suffix("es")).filter(|stem| ["x", "s", "sh", "ch"].iter().any(|end| stem.ends_with(end)));
    sibilant
        .or_else(|| {
            word.strip_suffix('s')
                .filter(|stem| stem.len() > 1 && !stem.ends_with('s'))
        })
        .unwrap_or(word)
        .to_owned()
}

/// The name of a unit of measurement. A single letter has its case: `K` is a kelvin, `M` is no metre.
pub(super) fn known(word: &str) -> Option<&'static str> {
    if word.len() == 1 && word.as_bytes()[0].is_ascii_alphabetic() && !"mgshlLKVAWJN".contains(word) {
        return None;
    }
    let lower = word.to_lowercase();
    let of = |word: &str| UNITS.iter().find(|names| names.contains(&word)).map(|names| names[0]);
    of(&lower).or_else(|| lower.strip_suffix('s').filter(|word| word.len() > 1).and_then(of))
}
