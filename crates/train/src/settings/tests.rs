//! Settings out of range are refused by key.

use super::*;

#[test]
fn losses_and_policies_are_shown_as_they_are_written() {
    let shown = |value: &dyn ToString, written: serde_json::Value| assert_eq!(written, value.to_string());
    for loss in Loss::ALL {
        shown(&loss, serde_json::to_value(loss).unwrap());
    }
    for policy in TailPolicy::ALL {
        shown(&policy, serde_json::to_value(policy).unwrap());
    }
}

#[test]
fn a_pass_has_the_tokens_that_suit_the_device_unless_they_are_set() {
    let tokens = |micro_batch_tokens| {
        let settings = TrainSettings {
            micro_batch_tokens,
            ..TrainSettings::default()
        };
        [false, true].map(|has_kernels| settings.micro_batch_tokens(has_kernels))
    };
    assert_eq!((tokens(None), tokens(Some(7))), ([2048, 16_384], [7, 7]));
}

#[test]
fn a_choice_by_the_teacher_needs_its_distributions() {
    let half = "0.5".parse().unwrap();
    let with = |positions, distillation_weight| TrainSettings {
        positions,
        distillation_weight,
        ..TrainSettings::default()
    };
    for positions in [Positions::TeacherEntropy(half), Positions::Disagreement(half)] {
        let error = with(positions, 0.0).check().unwrap_err();
        assert!(
            matches!(&error, TrainError::Policy(PolicyError::ChoiceWithoutTeacher { positions: told }) if *told == positions.to_string()),
            "{error}"
        );
        assert!(with(positions, 0.5).check().is_ok());
    }
    assert!(with(Positions::StudentEntropy(half), 0.0).check().is_ok());
}

type Change = dyn Fn(&mut TrainSettings);

#[test]
fn values_out_of_range_are_refused_by_key() {
    let with = |change: &dyn Fn(&mut TrainSettings)| {
        let mut settings = TrainSettings::default();
        change(&mut settings);
        settings.check()
    };
    assert!(with(&|_| {}).is_ok());
    assert!(with(&|s| s.gradient_clipping = f64::INFINITY).is_ok());
    for operations in [0.0, 1.0, 1e18] {
        assert!(with(&|s| s.max_flops = Some(operations)).is_ok());
    }
    let cases: [(&str, &Change); 24] = [
        ("distillation_weight", &|s| s.distillation_weight = 1.5),
        ("learning_rate", &|s| s.learning_rate = f64::NAN),
        ("weight_decay", &|s| s.weight_decay = -0.1),
        ("warmup_share", &|s| s.warmup_share = 2.0),
        ("gradient_clipping", &|s| s.gradient_clipping = 0.0),
        ("epochs", &|s| s.epochs = 0),
        ("epochs", &|s| s.epochs = usize::MAX),
        ("steps", &|s| s.steps = Some(0)),
        ("steps", &|s| s.steps = Some(10_000_001)),
        ("batch_samples", &|s| s.batch_samples = 0),
        ("micro_batch_tokens", &|s| s.micro_batch_tokens = Some(0)),
        ("keep_checkpoints", &|s| s.keep_checkpoints = 0),
        ("temperature", &|s| s.temperature = 0.0),
        ("jensen_shannon_beta", &|s| s.jensen_shannon_beta = 0.0),
        ("jensen_shannon_beta", &|s| s.jensen_shannon_beta = 1.0),
        ("skew", &|s| s.skew = 1.0),
        ("skew", &|s| s.skew = f64::NAN),
        ("max_flops", &|s| s.max_flops = Some(-1.0)),
        ("max_flops", &|s| s.max_flops = Some(f64::NAN)),
        ("max_flops", &|s| s.max_flops = Some(f64::INFINITY)),
        ("max_flops", &|s| s.max_flops = Some(1e20)),
        ("lead_span", &|s| s.lead_span = LeadSpan::Mixture(Vec::new())),
        ("position_weights", &|s| {
            s.position_weights = PositionWeights::Linear(0.0, 0.0);
        }),
        ("position_weights", &|s| {
            s.position_weights = PositionWeights::Exponential(f64::NAN);
        }),
    ];
    for (expected, change) in cases {
        let error = with(change).unwrap_err();
        assert!(
            matches!(error, TrainError::Setting { key, .. } if key == expected),
            "{error}"
        );
    }
}
