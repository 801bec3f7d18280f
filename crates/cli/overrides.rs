//! `--set table.key=value`, and the place of every value in the file or on the command line.
//!
//! Overrides are laid out beyond the end of the file's text. The parser's span of a value therefore tells whether it comes from
//! the file, and from which line, or from which override.

use std::{borrow::Cow, ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{alternatives::replaced_by, configuration_error::ConfigurationError, place::Place};

/// A `--set table.key=value`, split but not yet parsed.
#[derive(Clone, Debug)]
pub(crate) struct Override {
    given: String,
    path: Vec<String>,
    value: String,
}

impl Override {
    /// Splits `table.key=value`.
    ///
    /// # Errors
    ///
    /// If there is no `=`, or no table in front of it.
    pub(crate) fn parse(given: &str) -> Result<Self, ConfigurationError> {
        let malformed = || ConfigurationError::NotAnOverride {
            given: given.to_owned(),
        };
        let (path, value) = given.split_once('=').ok_or_else(malformed)?;
        let path: Vec<String> = path.trim().split('.').map(str::to_owned).collect();
        if path.len() < 2 || path.iter().any(String::is_empty) {
            return Err(malformed());
        }
        Ok(Self {
            given: given.to_owned(),
            path,
            value: value.trim().to_owned(),
        })
    }

    /// As it was written.
    pub(crate) fn given(&self) -> &str {
        &self.given
    }

    /// The key of an earlier layer whose place it takes.
    fn replaces(&self) -> Option<&'static str> {
        replaced_by(&self.path.join("."), &self.value)
    }

    /// Whether it sets the key, or an entry of its value.
    fn sets(&self, key: &str) -> bool {
        self.path
            .iter()
            .map(String::as_str)
            .zip(key.split('.'))
            .all(|(name, of_key)| name == of_key)
            && self.path.len() >= key.split('.').count()
    }
}

/// The overrides of two layers as one: those of `later` come last, and take the place of alternative keys in `earlier`.
pub(crate) fn layered(earlier: &[Override], later: &[Override]) -> Vec<Override> {
    let replaced: Vec<&str> = later.iter().filter_map(Override::replaces).collect();
    let stays = |setting: &&Override| !replaced.iter().any(|key| setting.sets(key));
    earlier.iter().filter(stays).chain(later).cloned().collect()
}

/// The text of a pipeline file and of the overrides, from which the parsed tables borrow.
pub(crate) struct Texts<'a> {
    file: &'a Path,
    text: &'a str,
    overrides: Vec<PlacedOverride<'a>>,
}

struct PlacedOverride<'a> {
    given: &'a Override,
    /// The span of its text.
    span: Range<usize>,
    /// `value = …`, moved to its span by leading white space.
    padded: String,
}

impl<'a> Texts<'a> {
    /// Lays the overrides' values out beyond the end of the file's text.
    pub(crate) fn new(file: &'a Path, text: &'a str, overrides: &'a [Override]) -> Self {
        let mut offset = text.len() + 1;
        let overrides = overrides
            .iter()
            .map(|given| {
                let padded = format!("{:offset$}value = {}", "", given.value);
                let span = offset..padded.len() + 1;
                offset = span.end;
                PlacedOverride { given, span, padded }
            })
            .collect();
        Self { file, text, overrides }
    }

    /// The pipeline file.
    pub(crate) fn file(&self) -> &Path {
        self.file
    }

    /// Its text.
    pub(crate) fn file_text(&self) -> &str {
        self.text
    }

    /// Where the text at `offset` was written.
    pub(crate) fn place(&self, offset: usize) -> Place {
        if let Some(placed) = self.overrides.iter().find(|placed| placed.span.contains(&offset)) {
            return Place::Override(placed.given.given.clone());
        }
        let before = self.text.get(..offset).unwrap_or(self.text);
        Place::line(self.file, before.matches('\n').count() + 1)
    }

    /// Applies the overrides. The last one for a key counts, and each takes the place of an alternative key in the file.
    ///
    /// # Errors
    ///
    /// If an override needs a table where there is a value.
    pub(crate) fn lay_over<'t>(&'t self, tables: &mut DeTable<'t>) -> Result<(), ConfigurationError> {
        for key in self.overrides.iter().filter_map(|placed| placed.given.replaces()) {
            remove(tables, key);
        }
        for placed in &self.overrides {
            let name = |name: &'t String| Spanned::new(placed.span.clone(), Cow::from(name.as_str()));
            let names: Vec<_> = placed.given.path.iter().map(name).collect();
            self.insert("", tables, &names, placed.value())?;
        }
        Ok(())
    }

    /// `above` is the name of the table, with a dot behind it.
    fn insert<'t>(
        &self,
        above: &str,
        tables: &mut DeTable<'t>,
        names: &[Spanned<Cow<'t, str>>],
        value: Spanned<DeValue<'t>>,
    ) -> Result<(), ConfigurationError> {
        let (name, deeper) = names.split_first().expect("an override names a table and a key");
        if deeper.is_empty() {
            // The old name is removed too, so that a wrong name is reported where it was last written.
            tables.remove(name.get_ref().as_ref());
            tables.insert(name.clone(), value);
            return Ok(());
        }
        let empty = || Spanned::new(name.span(), DeValue::Table(DeTable::new()));
        let inner = tables.entry(name.clone()).or_insert_with(empty);
        let span = inner.span();
        match inner.get_mut() {
            DeValue::Table(table) => self.insert(&format!("{above}{}.", name.get_ref()), table, deeper, value),
            // `--set train.dir.a=x`: what is wrong is the override, not the value of `train.dir`.
            _ if !above.is_empty() => Err(ConfigurationError::InsideAValue {
                place: self.place(name.span().start),
                key: format!("{above}{}", name.get_ref()),
                inner: deeper
                    .iter()
                    .map(|name| name.get_ref().as_ref())
                    .collect::<Vec<_>>()
                    .join("."),
            }),
            _ => Err(ConfigurationError::NotATable {
                place: self.place(span.start),
                table: name.get_ref().clone().into_owned(),
            }),
        }
    }
}

/// Removes `table.key`, if it is there.
fn remove(tables: &mut DeTable<'_>, key: &str) {
    if let Some((table, name)) = key.split_once('.')
        && let Some(DeValue::Table(entries)) = tables.get_mut(table).map(Spanned::get_mut)
    {
        entries.remove(name);
    }
}

impl PlacedOverride<'_> {
    /// The value as TOML or, if it is not TOML, as text (`train.dir=runs/half`).
    fn value(&self) -> Spanned<DeValue<'_>> {
        DeTable::parse(&self.padded)
            .ok()
            .filter(|parsed| parsed.get_ref().len() == 1)
            .and_then(|parsed| parsed.into_inner().remove("value"))
            .unwrap_or_else(|| Spanned::new(self.span.clone(), DeValue::String(self.given.value.as_str().into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_need_a_table_a_key_and_a_value() {
        for given in ["dir=x", "cache.dir", ".dir=x", "cache.=x", ""] {
            assert!(Override::parse(given).is_err(), "{given}");
        }
    }

    #[test]
    fn a_later_layer_takes_the_place_of_alternative_keys_in_an_earlier_one() {
        let parsed =
            |given: &[&str]| -> Vec<Override> { given.iter().map(|given| Override::parse(given).unwrap()).collect() };
        let layers = |earlier: &[&str], later: &[&str]| -> Vec<String> {
            let all = layered(&parsed(earlier), &parsed(later));
            all.iter().map(|setting| setting.given().to_owned()).collect()
        };
        let command = ["train.epochs=3", "train.lead_span.growing=[0.1, 0.5]", "train.seed=1"];
        assert_eq!(
            layers(&command, &["train.steps=7", "train.lead_span_proportion=0.5"]),
            ["train.seed=1", "train.steps=7", "train.lead_span_proportion=0.5"]
        );
        // What is set twice in one layer stays, for the check that refuses it.
        let both = ["train.steps=7", "train.epochs=2"];
        assert_eq!(layers(&[], &both), both);
        assert_eq!(
            layers(&["train.lead_span_proportion=0.5"], &["train.lead_span=\"constant\""]).len(),
            2
        );
    }
}
