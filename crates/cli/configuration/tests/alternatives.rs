//! Keys of which one takes the place of another.

use super::*;

#[test]
fn a_run_is_as_long_as_one_key_says() {
    let error = parse(WHOLE, &["train.steps=100", "train.epochs=2"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`train.steps` and `train.epochs` are both set, but each of them says how long a run is"
    );
    assert_eq!(error.hint().as_deref(), Some("remove `train.epochs`"));
    let train = |overrides: &[&str]| parse(WHOLE, overrides).unwrap().stage_two().unwrap().train;
    assert_eq!(train(&["train.steps=100"]).steps, Some(100));
    assert_eq!((train(&[]).steps, train(&[]).epochs), (None, 2));
}

#[test]
fn what_is_set_takes_the_place_of_the_alternative_key_in_the_file() {
    let train = |file: &str, overrides: &[&str]| {
        let text = WHOLE.replace("dir = \"runs/half\"", &format!("dir = \"runs/half\"\n{file}"));
        parse(&text, overrides)
            .and_then(Configuration::stage_two)
            .map(|stage| stage.train)
    };
    let length = |file: &str, set: &str| {
        let train = train(file, &[set]).unwrap();
        (train.steps, train.epochs)
    };
    assert_eq!(length("epochs = 5", "train.steps=7"), (Some(7), 2));
    assert_eq!(length("steps = 7", "train.epochs=5"), (None, 5));
    let span = |file: &str, set: &str| {
        let train = train(file, &[set]).unwrap();
        (
            train.lead_span.to_string().replace('"', ""),
            train.lead_span_proportion.to_string(),
        )
    };
    let growing = "{ growing = [0.1, 0.5] }";
    let of_file = format!("lead_span = {growing}");
    assert_eq!(
        span(&of_file, "train.lead_span_proportion=0.25"),
        ("constant".to_owned(), "0.25".to_owned())
    );
    let grows = |(span, proportion): (String, String)| span.contains("growing") && proportion == "0.5";
    assert!(grows(span(
        "lead_span_proportion = 0.25",
        &format!("train.lead_span={growing}")
    )));
    assert!(grows(span(
        "lead_span_proportion = 0.25",
        "train.lead_span.growing=[0.1, 0.5]"
    )));
    // The constant lead span is that of the file's proportion.
    assert_eq!(
        span("lead_span_proportion = 0.25", "train.lead_span=constant"),
        ("constant".to_owned(), "0.25".to_owned())
    );
    // Two in the file are refused unless one of them is replaced, and then the other one is, too.
    for (file, set) in [
        ("epochs = 2\nsteps = 7", "train.seed=1"),
        (
            "lead_span_proportion = 0.25\nlead_span = { growing = [0.1, 0.5] }",
            "train.seed=1",
        ),
    ] {
        let message = train(file, &[set]).unwrap_err().to_string();
        assert!(message.contains("are both set, but each of them says how"), "{message}");
    }
    assert_eq!(length("epochs = 3\nsteps = 7", "train.steps=8"), (Some(8), 2));
}
