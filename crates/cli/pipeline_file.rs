//! The tables of a pipeline file with the overrides applied. Only known keys are accepted, and a wrong value is reported at the
//! place where it was written.

use std::{borrow::Cow, ops::Range};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use crate::{
    configuration_error::ConfigurationError,
    keys,
    overrides::Texts,
    place::Place,
    plain_words::in_plain_words,
    sweep_reading::{check_swept, swept_keys},
    sweep_table::{OwnSettings, SweepSettings},
    written_order::in_written_order,
};

/// The tables of a pipeline file with the overrides applied. All keys are known.
pub(crate) struct PipelineFile<'a> {
    texts: &'a Texts<'a>,
    tables: DeTable<'a>,
}

impl<'a> PipelineFile<'a> {
    /// Parses the file and the overrides, and checks that every table and key is known.
    ///
    /// # Errors
    ///
    /// If the text is not TOML, or a table or key is unknown.
    pub(crate) fn parse(texts: &'a Texts<'a>) -> Result<Self, ConfigurationError> {
        let mut tables = DeTable::parse(texts.file_text())
            .map_err(|error| ConfigurationError::Syntax {
                place: texts.place(error.span().map_or(0, |span| span.start)),
                problem: error.message().to_owned(),
            })?
            .into_inner();
        texts.lay_over(&mut tables)?;
        let file = Self { texts, tables };
        file.check_names()?;
        Ok(file)
    }

    /// Whether a table is set in the file or by an override.
    pub(crate) fn has(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    /// Reads one table into its settings. A missing table counts as empty.
    ///
    /// # Errors
    ///
    /// If a required key is missing, or a value does not have the type of its key.
    pub(crate) fn settings<T: DeserializeOwned>(&self, table: &str) -> Result<T, ConfigurationError> {
        let empty = Spanned::new(0..0, DeValue::Table(DeTable::new()));
        let value = self.tables.get(table).unwrap_or(&empty);
        let entries = value
            .get_ref()
            .as_table()
            .expect("`check_names` refused tables that are values");
        for key in keys::keys_of(table).filter(|key| key.default == keys::Unset::Required) {
            if !entries.contains_key(key.name.as_str()) {
                return Err(ConfigurationError::MissingKey {
                    file: self.texts.file().to_owned(),
                    key: format!("{table}.{}", key.name),
                    about: &key.about,
                });
            }
        }
        T::deserialize(ValueDeserializer::from(value.clone())).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            ConfigurationError::Value {
                place: self.texts.place(offset),
                key: key_at(table, entries, offset).unwrap_or_else(|| table.to_owned()),
                problem: in_plain_words(error.message()),
            }
        })
    }

    /// Where each key was given, by its full name.
    pub(crate) fn places(&self) -> Vec<(String, Place)> {
        let mut found = Vec::new();
        self.add_places("", &self.tables, &mut found);
        found
    }

    fn add_places(&self, above: &str, entries: &DeTable<'_>, found: &mut Vec<(String, Place)>) {
        for (name, value) in entries {
            let full = format!("{above}{}", name.get_ref());
            if let Some(inner) = value.get_ref().as_table() {
                self.add_places(&format!("{full}."), inner, found);
            }
            // A table is no setting.
            if !above.is_empty() {
                found.push((full, self.texts.place(value.span().start)));
            }
        }
    }

    /// Reads `[sweep]`; `None` if it is missing.
    ///
    /// # Errors
    ///
    /// If a key of the table itself has a wrong value, or another key has no list of values.
    pub(crate) fn sweep(&self) -> Result<Option<SweepSettings>, ConfigurationError> {
        let Some(entries) = self.tables.get("sweep").and_then(|table| table.get_ref().as_table()) else {
            return Ok(None);
        };
        let own: OwnSettings = self.settings("sweep")?;
        let (cases, swept) = swept_keys(self.texts, entries)?;
        Ok(Some(SweepSettings { own, cases, swept }))
    }

    fn check_names(&self) -> Result<(), ConfigurationError> {
        for (name, value) in in_written_order(&self.tables) {
            let table = name.get_ref().as_ref();
            let place = || self.texts.place(name.span().start);
            if !keys::tables().contains(&table) {
                let nearest = keys::nearest_table(table);
                return Err(ConfigurationError::UnknownTable {
                    place: place(),
                    table: table.to_owned(),
                    nearest,
                });
            }
            match value.get_ref().as_table() {
                Some(entries) if table == "sweep" => check_swept(self.texts, entries)?,
                Some(entries) => self.check_keys(table, "", entries)?,
                None => {
                    return Err(ConfigurationError::NotATable {
                        place: place(),
                        table: table.to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    fn check_keys(&self, table: &str, prefix: &str, entries: &DeTable<'_>) -> Result<(), ConfigurationError> {
        for (name, value) in in_written_order(entries) {
            let key = format!("{prefix}{}", name.get_ref());
            if keys::is_nested_table(table, &key) {
                if let Some(entries) = value.get_ref().as_table() {
                    self.check_keys(table, &format!("{key}."), entries)?;
                }
            } else if !keys::is_key(table, &key) {
                return Err(ConfigurationError::UnknownKey {
                    place: self.texts.place(name.span().start),
                    nearest: keys::nearest_key(table, &key),
                    key: format!("{table}.{key}"),
                });
            }
        }
        Ok(())
    }
}

/// The full name of the key whose value covers `offset`; `None` if no value does.
///
/// Keys that are set by different overrides can be in one table, whose own place is that of the first override. So a table is
/// searched even if its place does not cover `offset`, and is itself the key only if nothing in it is.
fn key_at(prefix: &str, entries: &DeTable<'_>, offset: usize) -> Option<String> {
    let full = |name: &Spanned<Cow<'_, str>>| format!("{prefix}.{}", name.get_ref());
    let covers = |span: Range<usize>| span.start <= offset && offset < span.end.max(span.start + 1);
    let values = entries
        .iter()
        .find_map(|(name, value)| match value.get_ref().as_table() {
            Some(inner) => key_at(&full(name), inner, offset),
            None => covers(value.span()).then(|| full(name)),
        });
    let itself = || entries.iter().find(|(_, value)| covers(value.span()));
    values.or_else(|| itself().map(|(name, _)| full(name)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::overrides::Override;

    #[derive(serde::Deserialize, Debug)]
    struct Settings {
        dir: String,
        top_k: Option<u32>,
        #[serde(rename = "supervised_sections")]
        _supervised_sections: Option<Vec<u8>>,
    }

    fn read(text: &str, overrides: &[&str]) -> Result<Settings, ConfigurationError> {
        let overrides: Vec<_> = overrides.iter().map(|given| Override::parse(given).unwrap()).collect();
        let texts = Texts::new(Path::new("pipeline.toml"), text, &overrides);
        PipelineFile::parse(&texts)?.settings("cache")
    }

    fn message(text: &str, overrides: &[&str]) -> String {
        read(text, overrides).unwrap_err().to_string()
    }

    #[test]
    fn an_override_replaces_adds_and_is_text_where_it_is_not_toml() {
        let settings = read(
            "[cache]\ndir = 'a'\ntop_k = 3\n",
            &["cache.dir=runs/x", "cache.top_k=5"],
        )
        .unwrap();
        assert_eq!((settings.dir.as_str(), settings.top_k), ("runs/x", Some(5)));
        let settings = read("", &["cache.dir = \"quoted\""]).unwrap();
        assert_eq!((settings.dir.as_str(), settings.top_k), ("quoted", None));
        assert_eq!(read("", &["cache.dir=x", "cache.dir=y"]).unwrap().dir, "y");
        assert_eq!(read("", &["cache.dir=1\nb=2"]).unwrap().dir, "1\nb=2");
    }

    #[test]
    fn what_is_wrong_is_reported_at_its_line() {
        let cases = [
            (
                "[cache]\n\ndir = 'a'\ntopk = 3\n",
                "`pipeline.toml`, line 4: `cache.topk` is not a key of the pipeline file",
            ),
            (
                "\n[cahce]\n",
                "`pipeline.toml`, line 2: `[cahce]` is not a table of the pipeline file",
            ),
            (
                "cache = 3\n",
                "`pipeline.toml`, line 1: `cache` is a table, not a value",
            ),
            (
                "[data]\n[data.columns]\nanser = 'a'",
                "`pipeline.toml`, line 3: `data.columns.anser` is not a key of the pipeline file",
            ),
            ("[cache]\ntop_k = 3\n", "`pipeline.toml` does not set `cache.dir`"),
        ];
        for (text, expected) in cases {
            assert_eq!(message(text, &[]), expected);
        }
        let wrong = message("[cache]\ndir = 'a'\ntop_k = 'many'\n", &[]);
        assert!(
            wrong.starts_with("`pipeline.toml`, line 3: `cache.top_k` cannot be used: invalid type"),
            "{wrong}"
        );
        assert!(
            wrong.ends_with("string \"many\", expected a whole number, 0 or more"),
            "{wrong}"
        );
        let wrong = message("[cache]\ndir = 'a'\nsupervised_sections = [1,\n'b']\n", &[]);
        assert!(
            wrong.starts_with("`pipeline.toml`, line 4: `cache.supervised_sections` cannot be used"),
            "{wrong}"
        );
        let wrong = message("[cache]\ndir = \n", &[]);
        assert!(wrong.starts_with("`pipeline.toml`, line 2: "), "{wrong}");
    }

    #[test]
    fn what_is_wrong_with_an_override_is_reported_as_the_override() {
        let file = "[cache]\ndir = 'a'\n";
        assert_eq!(
            message(file, &["cache.top_k=2", "cache.topk=3"]),
            "`--set cache.topk=3`: `cache.topk` is not a key of the pipeline file"
        );
        assert_eq!(
            message(file, &["cash.dir=3"]),
            "`--set cash.dir=3`: `[cash]` is not a table of the pipeline file"
        );
        for wrong in ["many", "\"many\"", "-1", "[1]"] {
            let given = format!("cache.top_k={wrong}");
            let shown = message(file, &[&given]);
            assert!(
                shown.starts_with(&format!("`--set {given}`: `cache.top_k` cannot be used: invalid ")),
                "{shown}"
            );
        }
        for wrong in ["many", "\"many\"", "-1", "[1]", "99999999999999999999"] {
            let given = format!("cache.top_k={wrong}");
            for overrides in [["cache.dir=x", &given], [&given, "cache.dir=x"]] {
                let shown = message(file, &overrides);
                assert!(
                    shown.starts_with(&format!("`--set {given}`: `cache.top_k` cannot")),
                    "{shown}"
                );
            }
        }
        // Also where the file has no such table, and the first override makes it.
        assert_eq!(
            message("", &["cache.dir=x", "cache.top_k=99999999999999999999"]),
            "`--set cache.top_k=99999999999999999999`: `cache.top_k` cannot be used: invalid type: integer \
             `99999999999999999999`, expected a whole number from 0 to 4294967295"
        );
        assert!(
            message(file, &["cache.top_k=4294967296"])
                .ends_with("integer `4294967296`, expected a whole number from 0 to 4294967295")
        );
        assert_eq!(
            message(file, &["cache.top_k=1", "cache.dir.name=x"]),
            "`--set cache.dir.name=x`: `cache.dir` is a value, and `name` would be inside it"
        );
        let shown = message(file, &["cache.supervised_sections=[1, 'x']"]);
        assert!(
            shown.starts_with("`--set cache.supervised_sections=[1, 'x']`: `cache.supervised_sections`"),
            "{shown}"
        );
    }
}
