//! The fixed positions by whose answers a server is known again. Pure.

use leadspan_cache::ServerAnswers;
use leadspan_distribution::Distributions;

use crate::server_error::ServerError;

/// How many positions are asked about.
const POSITIONS: usize = 64;

/// The mean difference, in nats, of answers that counts as rounding however well the first answers agreed: other weights, also
/// such of fewer bits, differ by hundredths and more.
const FLOOR: f64 = 1e-3;

/// The mean difference, in nats, of answers to the same question that no rounding explains.
///
/// Logits of 16 to 32 are 1/8 apart in bfloat16, so each is off by 1/16 at most, also if a batch of another size rounds all of them anew,
/// and two answers differ by less than 1/8 on average. Twice that is left for rounding within the layers. Other models differ by nats.
pub(super) const MOST_SPREAD: f64 = 0.25;

/// A text with words, numbers, code and other scripts, of more tokens than positions in every usual tokenizer.
pub(super) const TEXT: &str = "Question: A train leaves at 9:40 and travels 135 km at 90 km/h. When does it arrive?\n\
    Let me think step by step. 135 / 90 = 1.5 hours, so it takes 90 minutes. 9:40 plus 1:30 is 11:10.\n\
    def area(width, height):\n    return width * height  # in square metres\n\
    Größe, naïve, français, Привет, 你好, こんにちは. The sum of the first n odd numbers is n^2; \
    therefore, by induction, the claim holds for every n >= 1. Answer: 11:10.";

/// The tokens that are sent: the first of the text's.
pub(super) fn prompt(tokens: &[u32]) -> Vec<u32> {
    tokens[..tokens.len().min(POSITIONS + 1)].to_vec()
}

/// What is remembered of answers: the best and the target's log-probability of each position.
pub(super) fn remembered(prompt: &[u32], answers: &Distributions) -> ServerAnswers {
    ServerAnswers {
        tokens: prompt.to_vec(),
        best: answers.iter().map(|position| position.logprobs[0]).collect(),
        targets: answers.target_logprobs().to_vec(),
        spread: 0.0,
    }
}

/// The mean difference, in nats, of the log-probabilities of two answers to the same questions.
pub(super) fn difference(one: &ServerAnswers, other: &ServerAnswers) -> f64 {
    let pairs = one
        .best
        .iter()
        .zip(&other.best)
        .chain(one.targets.iter().zip(&other.targets));
    let differences: Vec<f64> = pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs()).collect();
    let is_whole = one.tokens == other.tokens && differences.len() == 2 * one.targets.len();
    if differences.is_empty() || !is_whole {
        return f64::INFINITY;
    }
    differences.iter().sum::<f64>() / differences.len() as f64
}

/// The largest mean difference that repeated questions explain; never more than [`MOST_SPREAD`].
pub(super) fn allowed(answers: &ServerAnswers) -> f64 {
    (FLOOR + 2.0 * f64::from(answers.spread)).min(MOST_SPREAD)
}

/// Refuses answers to the same questions that differ by more than rounding.
///
/// # Errors
///
/// [`ServerError::Unsteady`].
pub(super) fn require_steady(answers: &ServerAnswers) -> Result<(), ServerError> {
    let spread = f64::from(answers.spread);
    if spread <= MOST_SPREAD {
        return Ok(());
    }
    Err(ServerError::Unsteady {
        positions: answers.targets.len(),
        spread,
        most: MOST_SPREAD,
    })
}

/// Refuses answers to the fixed positions that differ from earlier ones by more than repeated questions explain.
///
/// # Errors
///
/// [`ServerError::OtherAnswers`].
pub(super) fn require_same_answers(before: &ServerAnswers, now: &ServerAnswers) -> Result<(), ServerError> {
    let (difference, allowed) = (difference(before, now), allowed(before));
    if difference <= allowed {
        return Ok(());
    }
    Err(ServerError::OtherAnswers {
        positions: before.targets.len(),
        difference,
        allowed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_differ_by_the_mean_of_their_differences() {
        let answers = |best: f32, target: f32| ServerAnswers {
            tokens: vec![1, 2, 3],
            best: vec![-0.5, best],
            targets: vec![-0.5, target],
            spread: 0.01,
        };
        let one = answers(-1.0, -2.0);
        assert_eq!(difference(&one, &one), 0.0);
        assert!((difference(&one, &answers(-1.5, -3.0)) - 0.375).abs() < 1e-9);
        assert!((allowed(&one) - 0.021).abs() < 1e-9);
        let spread = |spread| ServerAnswers { spread, ..one.clone() };
        for (steady, most) in [(0.12, 0.241), (0.25, MOST_SPREAD)] {
            require_steady(&spread(steady)).unwrap();
            assert!((allowed(&spread(steady)) - most).abs() < 1e-7);
        }
        // Two models that answer in turn, and what a cache of before may have recorded.
        let error = require_steady(&spread(2.28)).unwrap_err().to_string();
        assert!(
            error.contains("at 2 fixed positions differ by 2.28 nats on average, where rounding explains 0.25"),
            "{error}"
        );
        assert!((allowed(&spread(2.28)) - MOST_SPREAD).abs() < 1e-12);
        let other_questions = ServerAnswers {
            tokens: vec![1, 2],
            ..one.clone()
        };
        assert_eq!(difference(&one, &other_questions), f64::INFINITY);
    }
}
