//! Tests of the steps of a run.

use super::*;

/// Three epochs in steps of 4 of 11 samples, of 10 tokens each, of which the first 4 are prompt.
fn steps(policy: &str, supervised_sections: SectionSet) -> TrainingSteps {
    let settings = TrainSettings {
        lead_span: serde_json::from_str(policy).unwrap(),
        lead_span_proportion: LeadSpanProportion::WHOLE,
        supervised_sections,
        ..TrainSettings::default()
    };
    let lengths = Lengths {
        bounds: SectionBounds::new(4, 8, 10).unwrap(),
        stored: None,
    };
    let mut steps = TrainingSteps {
        samples: (0..11).map(|sample| 3 * sample).collect(),
        samples_left_out: 0,
        positions: 0,
        lengths: vec![lengths; 11],
        lead_spans: LeadSpans::of(&settings),
        batch_samples: 4,
        seed: 5,
        epoch_starts: Vec::new(),
        steps: 0,
    };
    steps.count_epochs(3);
    steps
}

/// The chain of thought and the answer.
fn after_the_prompt() -> SectionSet {
    serde_json::from_str(r#"["chain_of_thought", "answer"]"#).unwrap()
}

#[test]
fn what_is_left_after_any_step_is_the_rest_of_the_whole_order() {
    let steps = steps(r#""constant""#, SectionSet::ALL);
    let whole: Vec<Vec<KeptSample>> = steps.batches(0).collect();
    assert_eq!((whole.len(), steps.count(), steps.positions), (9, 9, 11 * 9));
    assert_eq!(
        whole.iter().map(Vec::len).collect::<Vec<_>>(),
        [4, 4, 3, 4, 4, 3, 4, 4, 3]
    );
    assert_ne!(whole[..3], whole[3..6]);
    assert!(whole.iter().flatten().all(|kept| kept.tokens == 10));
    for done in 0..=9 {
        assert_eq!(
            steps.batches(done).collect::<Vec<_>>(),
            whole[done..],
            "after {done} steps"
        );
        assert_eq!(steps.is_between_epochs(done), done % 3 == 0);
    }
    assert_eq!([1, 3, 4, 9].map(|step| steps.epoch_of(step)), [1, 1, 2, 3]);
    let shorter = TrainingSteps { steps: 5, ..steps };
    for done in 0..=5 {
        assert_eq!(shorter.batches(done).collect::<Vec<_>>(), whole[done..5]);
    }
    // The end of a run is measured even in the middle of an epoch.
    assert_eq!(
        [0, 3, 4, 5].map(|done| shorter.is_between_epochs(done)),
        [true, true, false, true]
    );
}

#[test]
fn a_sample_without_a_position_this_time_is_passed_over_and_steps_stay_full() {
    // 1 to 10 tokens over 33 places; the first target is token 4, so 5 tokens are needed, which place 15 has:
    // 0.1 + 0.9 · 15 / 32 = 0.52.
    let steps = steps(r#"{ "growing": [0.1, 1.0] }"#, after_the_prompt());
    let whole: Vec<Vec<KeptSample>> = steps.batches(0).collect();
    assert_eq!(steps.epoch_starts, [0, 0, 2, 5]);
    assert_eq!(whole.iter().map(Vec::len).collect::<Vec<_>>(), [4, 3, 4, 4, 3]);
    let kept: Vec<usize> = whole.iter().flatten().map(|kept| kept.tokens).collect();
    assert!(kept.is_sorted());
    assert_eq!((kept[0], kept.len(), kept[17]), (5, 18, 10));
    assert_eq!(
        steps.positions,
        kept.iter().map(|kept| kept - 4).sum::<usize>() as u64 / 3
    );
    for done in 0..=5 {
        assert_eq!(
            steps.batches(done).collect::<Vec<_>>(),
            whole[done..],
            "after {done} steps"
        );
    }
    assert_eq!([1, 2, 3, 5].map(|step| steps.epoch_of(step)), [2, 2, 3, 3]);
    assert_eq!(
        [0, 1, 2, 3, 5].map(|done| steps.is_between_epochs(done)),
        [true, false, true, false, true]
    );
}

#[test]
fn a_mixture_is_another_one_in_each_epoch_and_the_same_after_a_stop() {
    let steps = steps(r#"{ "mixture": [[0.5, 0.5], [1.0, 0.5]] }"#, SectionSet::ALL);
    let kept = |epoch: usize| {
        let mut kept: Vec<(u32, usize)> = steps
            .order(epoch)
            .iter()
            .map(|kept| (kept.sample, kept.tokens))
            .collect();
        kept.sort_unstable();
        kept
    };
    assert_ne!(kept(0), kept(1));
    assert!(kept(0).iter().all(|(_, tokens)| [5, 10].contains(tokens)));
    let whole: Vec<Vec<KeptSample>> = steps.batches(0).collect();
    for done in 0..=9 {
        assert_eq!(steps.batches(done).collect::<Vec<_>>(), whole[done..]);
    }
}

#[test]
fn no_step_begins_once_the_count_has_reached_the_allowance() {
    for (max_flops, steps) in [
        (0.0, 0),
        (0.5, 1),
        (10.0, 1),
        (10.5, 2),
        (30.0, 2),
        (31.0, 3),
        (60.0, 3),
        (61.0, 3),
    ] {
        assert_eq!(steps_within(max_flops, &[10, 20, 30]), steps, "{max_flops}");
    }
}
