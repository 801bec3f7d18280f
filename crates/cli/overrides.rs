//! `--set table.key=value`, and the place of every value in the file or on the command line.
//!
//! Overrides are laid out beyond the end of the file's text. The parser's span of a value therefore tells whether it comes from
//! the file, and from which line, or from which override.

use std::{borrow::Cow, ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{configuration_error::ConfigurationError, place::Place};

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

    /// Applies the overrides. The last one for a key counts.
    ///
    /// # Errors
    ///
    /// If an override needs a table where there is a value.
    pub(crate) fn lay_over<'t>(&'t self, tables: &mut DeTable<'t>) -> Result<(), ConfigurationError> {
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
}
