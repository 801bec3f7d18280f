//! Reads what `[sweep]` says of keys of other tables: a list of values for each, and the cases, which have one value of each of
//! their keys.

use std::ops::Range;

use serde::Deserialize as _;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use crate::{
    configuration_error::ConfigurationError,
    keys,
    overrides::Texts,
    plain_words::in_plain_words,
    sweep_table::{CaseSetting, SweptCase, SweptKey, SweptValue},
    swept_name::SweptName,
    written_order::in_written_order,
};

/// The key that holds the cases.
const CASES: &str = "cases";
/// The key of a case that names its runs.
const NAME: &str = "name";

/// Checks that every name in `[sweep]` and in its cases is a key that can be there.
///
/// # Errors
///
/// If a name is no key, or a sweep cannot be over it.
pub(crate) fn check_swept(texts: &Texts<'_>, entries: &DeTable<'_>) -> Result<(), ConfigurationError> {
    for (written, name, value) in flattened("", entries) {
        check_name(texts, &written, &name)?;
        if written != CASES {
            continue;
        }
        for case in tables(value) {
            for (inner, name, _) in flattened("", case) {
                if inner == NAME {
                    continue;
                }
                if SweptName::of(&inner) == SweptName::Own {
                    return Err(ConfigurationError::NotSwept {
                        place: texts.place(name.start),
                        key: inner,
                        because: "it belongs to the whole sweep, not to a case",
                    });
                }
                check_name(texts, &inner, &name)?;
            }
        }
    }
    Ok(())
}

fn check_name(texts: &Texts<'_>, written: &str, name: &Range<usize>) -> Result<(), ConfigurationError> {
    match SweptName::of(written) {
        SweptName::Own | SweptName::Swept(_) => Ok(()),
        SweptName::NotSwept(because) => Err(ConfigurationError::NotSwept {
            place: texts.place(name.start),
            key: written.to_owned(),
            because,
        }),
        SweptName::Unknown(nearest) => Err(ConfigurationError::UnknownKey {
            place: texts.place(name.start),
            key: format!("sweep.{written}"),
            nearest,
        }),
    }
}

/// The settings of each case, and the keys with their values, of a table that [`check_swept`] has accepted.
///
/// # Errors
///
/// If a key has no list of values.
pub(crate) fn swept_keys(
    texts: &Texts<'_>,
    entries: &DeTable<'_>,
) -> Result<(Vec<SweptCase>, Vec<SweptKey>), ConfigurationError> {
    let (mut cases, mut swept) = (Vec::new(), Vec::new());
    for (written, _, value) in flattened("", entries) {
        if written == CASES {
            for case in tables(value) {
                cases.push(read_case(texts, case)?);
            }
        }
        if let SweptName::Swept(key) = SweptName::of(&written) {
            let values = values(texts, &written, value)?;
            swept.push(SweptKey { written, key, values });
        }
    }
    Ok((cases, swept))
}

fn read_case(texts: &Texts<'_>, case: &DeTable<'_>) -> Result<SweptCase, ConfigurationError> {
    let (mut name, mut settings) = (None, Vec::new());
    for (written, _, found) in flattened("", case) {
        if written == NAME {
            let problem = "a text is expected, such as `name = \"few-whole\"`";
            let text = found.get_ref().as_str();
            name = Some(
                text.ok_or_else(|| wrong(texts, "cases.name", found.span(), problem.to_owned()))?
                    .to_owned(),
            );
        }
        if let SweptName::Swept(key) = SweptName::of(&written) {
            let value = value(texts, &written, found)?;
            settings.push(CaseSetting { written, key, value });
        }
    }
    Ok(SweptCase { name, settings })
}

/// The tables in a list; whatever else it is or has, its type is checked when it is read.
fn tables<'t, 'i>(list: &'t Spanned<DeValue<'i>>) -> impl Iterator<Item = &'t DeTable<'i>> {
    let values = list.get_ref().as_array();
    values
        .into_iter()
        .flatten()
        .filter_map(|value| value.get_ref().as_table())
}

fn values(
    texts: &Texts<'_>,
    written: &str,
    list: &Spanned<DeValue<'_>>,
) -> Result<Vec<SweptValue>, ConfigurationError> {
    let DeValue::Array(values) = list.get_ref() else {
        let problem = "a list of values is expected, such as `seed = [0, 1, 2]`";
        return Err(wrong(texts, written, list.span(), problem.to_owned()));
    };
    values.iter().map(|found| value(texts, written, found)).collect()
}

fn value(texts: &Texts<'_>, written: &str, found: &Spanned<DeValue<'_>>) -> Result<SweptValue, ConfigurationError> {
    let read = toml::Value::deserialize(ValueDeserializer::from(found.clone()));
    let read = read.map_err(|error| wrong(texts, written, found.span(), in_plain_words(error.message())))?;
    Ok(SweptValue {
        toml: read.to_string(),
        place: texts.place(found.span().start),
    })
}

fn wrong(texts: &Texts<'_>, written: &str, span: Range<usize>, problem: String) -> ConfigurationError {
    ConfigurationError::Value {
        place: texts.place(span.start),
        key: format!("sweep.{written}"),
        problem,
    }
}

/// The entries of `[sweep]`, or of a case, in the order in which they were written, each with its name and the place of the name.
/// The nested table of `--set sweep.replay.share=…` is the same as a name with a dot.
fn flattened<'t, 'i>(prefix: &str, table: &'t DeTable<'i>) -> Vec<(String, Range<usize>, &'t Spanned<DeValue<'i>>)> {
    let mut all = Vec::new();
    for (name, value) in in_written_order(table) {
        let written = format!("{prefix}{}", name.get_ref());
        match value.get_ref().as_table() {
            Some(inner) if is_table(&written) => {
                all.extend(flattened(&format!("{written}."), inner));
            }
            _ => all.push((written, name.span(), value)),
        }
    }
    all
}

/// Whether `name` is a table of the pipeline file, or one that is nested in another.
fn is_table(name: &str) -> bool {
    let is_nested = |(table, inner)| keys::is_nested_table(table, inner);
    keys::tables().contains(&name) || name.split_once('.').is_some_and(is_nested)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::overrides::Override;

    fn read(text: &str, overrides: &[&str]) -> Result<Vec<Vec<String>>, ConfigurationError> {
        let overrides: Vec<_> = overrides.iter().map(|given| Override::parse(given).unwrap()).collect();
        let texts = Texts::new(Path::new("pipeline.toml"), text, &overrides);
        let mut tables = DeTable::parse(texts.file_text()).unwrap().into_inner();
        texts.lay_over(&mut tables)?;
        let sweep = tables["sweep"].get_ref().as_table().unwrap();
        check_swept(&texts, sweep)?;
        let shown = |setting: &CaseSetting| format!("{}={}", setting.key, setting.value.toml);
        let (cases, _) = swept_keys(&texts, sweep)?;
        let case = |case: &SweptCase| {
            let name = case.name.iter().map(|name| format!("name {name}"));
            name.chain(case.settings.iter().map(shown)).collect()
        };
        Ok(cases.iter().map(case).collect())
    }

    #[test]
    fn cases_are_read_in_the_order_in_which_they_were_written() {
        let text = "[sweep]\ndir = 'runs'\n[[sweep.cases]]\nseed = 1\n'replay.share' = 0.0\n\
                    [[sweep.cases]]\nlead_span = { growing = [0.1, 0.5] }\nevaluate.problems = 3\n";
        let expected = [
            vec!["train.seed=1", "replay.share=0.0"],
            vec!["train.lead_span={ growing = [0.1, 0.5] }", "evaluate.problems=3"],
        ];
        assert_eq!(read(text, &[]).unwrap(), expected);
        let set = "sweep.cases=[{ train.epochs = 2, name = 'two', loss = 'reverse_kl' }, {}]";
        assert_eq!(
            read(text, &[set]).unwrap(),
            [vec!["name two", "train.epochs=2", "train.loss=\"reverse_kl\""], vec![]]
        );
        assert!(read("[sweep]\ndir = 'runs'\n", &[]).unwrap().is_empty());
    }

    #[test]
    fn what_no_case_can_set_is_refused_at_its_line() {
        for (line, expected) in [
            ("seeed = 1", "`sweep.seeed` is not a key"),
            (
                "dir = 'x'",
                "a sweep cannot be over `dir`: it belongs to the whole sweep",
            ),
            (
                "cases = []",
                "a sweep cannot be over `cases`: it belongs to the whole sweep",
            ),
            ("name = 1", "`sweep.cases.name` cannot be used: a text is expected"),
            ("max_flops = 1e9", "a sweep cannot be over `max_flops`: it is what"),
            (
                "cache.top_k = 4",
                "a sweep cannot be over `cache.top_k`: it would need another cache",
            ),
        ] {
            let error = read(&format!("[sweep]\n[[sweep.cases]]\nseed = 1\n{line}\n"), &[]).unwrap_err();
            let said = error.to_string();
            assert!(
                said.starts_with("`pipeline.toml`, line 4: ") && said.contains(expected),
                "{said}"
            );
        }
    }
}
