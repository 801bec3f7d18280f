//! Tests of the steps of a run.

use super::*;

/// Three epochs in steps of 4 of 11 samples, of 10 tokens each, of which the first 4 are prompt.
fn steps(policy: &str, supervised_sections: SectionSet) -> TrainingSteps {
    steps_of(policy, supervised_sections, 11, Length::Epochs(3))
}

/// A run of this length over so many such samples.
fn steps_of(policy: &str, supervised_sections: SectionSet, samples: u32, length: Length) -> TrainingSteps {
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
        samples: (0..samples).map(|sample| 3 * sample).collect(),
        samples_left_out: 0,
        positions: 0,
        lengths: vec![lengths; samples as usize],
        lead_spans: LeadSpans::of(&settings),
        batch_samples: 4,
        seed: 5,
        places: 0,
        epoch_starts: Vec::new(),
        steps: 0,
    };
    steps.draw_epochs(length);
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
fn so_many_steps_are_the_first_of_as_many_epochs_as_they_take() {
    let of = |length| steps_of(r#""constant""#, SectionSet::ALL, 11, length);
    let whole: Vec<Vec<KeptSample>> = of(Length::Epochs(4)).batches(0).collect();
    // An epoch has three steps. The last epoch is drawn, and its remaining steps are not done.
    for (count, starts) in [
        (1, vec![0, 3]),
        (3, vec![0, 3]),
        (4, vec![0, 3, 6]),
        (7, vec![0, 3, 6, 9]),
        (9, vec![0, 3, 6, 9]),
    ] {
        let steps = of(Length::Steps(count));
        assert_eq!((steps.count(), &steps.epoch_starts), (count, &starts));
        for done in 0..=count {
            let left: Vec<_> = steps.batches(done).collect();
            assert_eq!(left, whole[done..count], "{count} steps, after {done}");
            assert_eq!(steps.is_between_epochs(done), done % 3 == 0 || done == count);
        }
        assert_eq!((steps.epoch_of(count), steps.positions), (starts.len() - 1, 99));
    }
    // Nothing fills a step.
    assert_eq!(
        steps_of(r#""constant""#, SectionSet::ALL, 0, Length::Steps(3)).count(),
        0
    );
    assert_eq!(
        steps_of(r#""constant""#, SectionSet::ALL, 0, Length::Epochs(2000)).count(),
        0
    );
}

#[test]
fn a_lead_span_grows_over_the_places_that_so_many_steps_take() {
    let of = |sections: SectionSet, length| {
        let growing = if sections == SectionSet::ALL {
            r#"{ "growing": [0.2, 1.0] }"#
        } else {
            r#"{ "growing": [0.1, 1.0] }"#
        };
        steps_of(growing, sections, 11, length)
    };
    let kept = |steps: &TrainingSteps| -> Vec<usize> { steps.batches(0).flatten().map(|kept| kept.tokens).collect() };
    // Nine steps are three epochs.
    let (steps, epochs) = (
        of(SectionSet::ALL, Length::Steps(9)),
        of(SectionSet::ALL, Length::Epochs(3)),
    );
    assert_eq!(steps.places, 33);
    assert!(steps.batches(0).eq(epochs.batches(0)));
    // Seven are two epochs and one step: 26 places, of which the first has 2 tokens and the last all 10.
    let steps = of(SectionSet::ALL, Length::Steps(7));
    let found = kept(&steps);
    assert_eq!((steps.places, found.len(), found[0], found[25]), (26, 26, 2, 10));
    assert_eq!(found[12], 5, "0.2 + 0.8 · 12 / 25 = 0.584");
    // Where samples are passed over, the run takes places beyond: 5 of 10 tokens are needed, which place 8 of 0 to 18 has.
    let steps = of(after_the_prompt(), Length::Steps(5));
    assert_eq!((steps.places, &steps.epoch_starts), (19, &vec![0, 1, 4, 7]));
    let lengths: Vec<usize> = steps.batches(0).map(|step| step.len()).collect();
    assert_eq!(lengths, [3, 4, 4, 3, 4]);
    let found = kept(&steps);
    assert!(found.is_sorted());
    assert_eq!((found[0], found[9], found[10], found[17]), (5, 9, 10, 10));
    for done in 0..=5 {
        let left: Vec<_> = steps.batches(done).collect();
        assert!(left.into_iter().eq(steps.batches(0).skip(done)), "after {done} steps");
    }
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
