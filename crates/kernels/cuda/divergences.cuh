// The divergences of the objective: the term of one outcome, and its derivative with respect to log q. The formulas are those
// of `crates/train/src/objective/losses`, in double precision like there.
#pragma once
#include "warp.cuh"

// What is minimised. The numbers are those that launchers pass.
enum Loss {
    FORWARD_KL = 0,
    REVERSE_KL = 1,
    JENSEN_SHANNON = 2,
    SKEW_KL = 3,
    SKEW_REVERSE_KL = 4,
    TOTAL_VARIATION = 5,
    SOFT_CROSS_ENTROPY = 6,
};

// log p of an outcome to which the teacher gives nothing, in `reverse_kl`: the floor of stored tails.
constexpr double LOG_OF_NOTHING = -30.0;

DEVICE double log_of_zero() { return -(double)infinity(); }

// A probability and its logarithm.
struct Probability {
    double value, log;
};

DEVICE Probability probability_of(double logarithm) {
    Probability p;
    p.value = exp(logarithm), p.log = logarithm;
    return p;
}

// The share of a score in the softmax whose log-sum-exp is given. Both may be −∞.
DEVICE Probability probability_of_score(double score, double log_sum_exp) {
    return probability_of(score == log_of_zero() ? score : score - log_sum_exp);
}

// x · (log a − log b), and 0 if x is 0, whatever the logarithms are.
DEVICE double times_log_ratio(double x, double log_a, double log_b) { return x > 0.0 ? x * (log_a - log_b) : 0.0; }

// A loss's parameter, β or λ, with the logarithms of it and of what it leaves of 1.
struct Share {
    double value, log, log_of_rest;
};

// log(w·eᵃ + (1 − w)·eᵇ); −∞ if both a and b are.
DEVICE double log_mixture(const Share& weight, double a, double b) {
    a += weight.log, b += weight.log_of_rest;
    const double high = fmax(a, b), low = fmin(a, b);
    return high == log_of_zero() ? high : high + log1p(exp(low - high));
}

struct Term {
    double value, derivative;
};

// The term in D of an outcome with the teacher's probability `p` and the student's `q`.
DEVICE Term term_of(int loss, const Share& parameter, Probability p, Probability q) {
    Term term;
    switch (loss) {
        case REVERSE_KL: {
            term.value = times_log_ratio(q.value, q.log, p.log == log_of_zero() ? LOG_OF_NOTHING : p.log);
            term.derivative = term.value;
            break;
        }
        case JENSEN_SHANNON: {
            const double log_m = log_mixture(parameter, p.log, q.log);
            term.derivative = (1.0 - parameter.value) * times_log_ratio(q.value, q.log, log_m);
            term.value = parameter.value * times_log_ratio(p.value, p.log, log_m) + term.derivative;
            break;
        }
        case SKEW_KL: {
            const double log_m = log_mixture(parameter, p.log, q.log);
            term.value = times_log_ratio(p.value, p.log, log_m);
            term.derivative = p.value > 0.0 ? -(1.0 - parameter.value) * p.value * exp(q.log - log_m) : 0.0;
            break;
        }
        case SKEW_REVERSE_KL: {
            const double log_m = log_mixture(parameter, q.log, p.log);
            term.value = times_log_ratio(q.value, q.log, log_m);
            const double through_m = q.value > 0.0 ? q.value * parameter.value * (1.0 - exp(q.log - log_m)) : 0.0;
            term.derivative = term.value + through_m;
            break;
        }
        case TOTAL_VARIATION: {
            const double difference = q.value - p.value;
            term.value = 0.5 * fabs(difference);
            term.derivative = difference > 0.0 ? 0.5 * q.value : difference < 0.0 ? -0.5 * q.value : 0.0;
            break;
        }
        case SOFT_CROSS_ENTROPY: {
            term.value = times_log_ratio(p.value, 0.0, q.log);
            term.derivative = -p.value;
            break;
        }
        default: {  // FORWARD_KL
            term.value = times_log_ratio(p.value, p.log, q.log);
            term.derivative = -p.value;
        }
    }
    return term;
}
