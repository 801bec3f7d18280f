//! How many tokens of a sample its row asks to keep: the column that `data.lead_span_column` names.

use leadspan_sequence::LeadSpanProportion;
use serde_json::Value;

use crate::{RowProblem, layout::Row, row_problem::kind_of};

/// The value of the column, before the number of tokens is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LeadSpanCell {
    column: String,
    /// The number as it is written.
    written: String,
}

impl LeadSpanCell {
    /// The cell of a row.
    ///
    /// # Errors
    ///
    /// If the row has no number there.
    pub(crate) fn of(row: &Row, column: &str) -> Result<Self, RowProblem> {
        match row.get(column) {
            None | Some(Value::Null) => Err(RowProblem::MissingField {
                field: column.to_owned(),
            }),
            Some(Value::Number(number)) => Ok(Self {
                column: column.to_owned(),
                written: row.written(column, number).into_owned(),
            }),
            Some(other) => Err(RowProblem::WrongType {
                field: column.to_owned(),
                expected: "a proportion or a number of tokens",
                found: kind_of(other),
            }),
        }
    }

    /// How many of `tokens` tokens are kept.
    ///
    /// # Errors
    ///
    /// If the number is neither a proportion nor a number of tokens.
    pub(crate) fn kept(&self, tokens: usize) -> Result<u32, RowProblem> {
        kept(&self.written, tokens).ok_or_else(|| RowProblem::LeadSpan {
            field: self.column.clone(),
            found: self.written.chars().take(40).collect(),
        })
    }
}

/// A number above 0 and at most 1 that is written with a fraction is a proportion, of which twelve decimals count; a whole number
/// of at least 2 is a number of tokens. A bare `1` could be either.
fn kept(written: &str, tokens: usize) -> Option<u32> {
    let number: f64 = written.parse().ok()?;
    let is_bare = written.bytes().all(|byte| byte.is_ascii_digit());
    let kept = if number > 0.0 && number <= 1.0 && !is_bare {
        let proportion: LeadSpanProportion = format!("{number:.12}").parse().ok()?;
        proportion.kept(tokens)
    } else if number >= 2.0 && number.fract() == 0.0 {
        // Larger numbers than a sample has tokens keep all of them.
        tokens.min(number as usize)
    } else {
        return None;
    };
    u32::try_from(kept).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proportion_and_a_number_of_tokens_keep_what_they_say() {
        for (written, expected) in [
            ("0.29", 29),
            ("0.5", 50),
            ("5e-1", 50),
            ("0.3333333333333333", 33),
            ("0.001", 1),
            ("1.0", 100),
            ("2", 2),
            ("40", 40),
            ("40.0", 40),
            ("100", 100),
            ("1000000000000000000000", 100),
        ] {
            assert_eq!(kept(written, 100), Some(expected), "{written}");
        }
        for written in [
            "0", "0.0", "1", "-0.5", "-3", "1.5", "2.5", "1e-13", "NaN", "inf", "half",
        ] {
            assert_eq!(kept(written, 100), None, "{written}");
        }
    }
}
