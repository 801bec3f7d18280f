//! Keys of which one takes the place of another.
//!
//! A configuration has layers: the pipeline file, the `--set` of the command, and what a sweep sets for a run. At most one key of a
//! pair may be set in a layer. A key that a later layer sets takes the place of the other one in an earlier layer.

/// Two keys that say the same thing in two ways.
pub(crate) struct Alternatives {
    /// The key that takes the place of `second`.
    pub(crate) first: &'static str,
    /// The key that has a default.
    pub(crate) second: &'static str,
    /// The value of `first` that leaves it to `second`, if there is one.
    pub(crate) leaves_it: Option<&'static str>,
    /// Why both cannot be set.
    pub(crate) because: &'static str,
}

/// All such pairs.
pub(crate) const ALTERNATIVES: [Alternatives; 2] = [
    Alternatives {
        first: "train.lead_span",
        second: "train.lead_span_proportion",
        leaves_it: Some("constant"),
        because: "each of them says how much of a sample is learnt; `lead_span = \"constant\"` leaves it to the proportion",
    },
    Alternatives {
        first: "train.steps",
        second: "train.epochs",
        leaves_it: None,
        because: "each of them says how long a run is",
    },
];

/// The key whose place `key` takes with this value, which is TOML or plain text; `None` if it takes none.
pub(crate) fn replaced_by(key: &str, value: &str) -> Option<&'static str> {
    // A key may be that of an entry, such as `train.lead_span.growing`.
    let is = |whole: &str| {
        key.strip_prefix(whole)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let leaves_it = |pair: &Alternatives| pair.leaves_it == Some(value.trim_matches(['"', '\'']));
    ALTERNATIVES.iter().find_map(|pair| match pair {
        pair if is(pair.second) => Some(pair.first),
        pair if is(pair.first) && !leaves_it(pair) => Some(pair.second),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_takes_the_place_of_the_other_one_unless_its_value_leaves_it() {
        for (key, value, expected) in [
            ("train.steps", "7", Some("train.epochs")),
            ("train.epochs", "2", Some("train.steps")),
            ("train.lead_span_proportion", "0.5", Some("train.lead_span")),
            (
                "train.lead_span",
                "{ column = \"keep\" }",
                Some("train.lead_span_proportion"),
            ),
            (
                "train.lead_span.growing",
                "[0.1, 0.5]",
                Some("train.lead_span_proportion"),
            ),
            ("train.lead_span", "\"constant\"", None),
            ("train.lead_span", "'constant'", None),
            ("train.lead_span", "constant", None),
            ("train.seed", "1", None),
            ("sweep.steps", "[7]", None),
        ] {
            assert_eq!(replaced_by(key, value), expected, "{key}={value}");
        }
    }
}
