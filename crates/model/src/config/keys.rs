//! The keys of a JSON configuration, read one by one. Every error names the file, the key and its value.

use std::path::Path;

use serde_json::{Map, Value};

use super::limits::MOST_LAYERS;
use crate::error::ModelError;

/// What is said of a key that changes what a model computes, and that is not computed here.
pub(crate) const UNSUPPORTED: &str =
    "that is not supported; a teacher can also run on vLLM or SGLang (`teacher.server`)";

/// The keys of `config.json`, or of an object inside it.
#[derive(Clone, Copy)]
pub(crate) struct Keys<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
    /// The whole numbers that keys stand for if they are missing.
    numbers: &'a [(&'static str, usize)],
}

impl<'a> Keys<'a> {
    /// The keys of `map`, which is read from the file `path`.
    pub(crate) fn new(path: &'a Path, map: &'a Map<String, Value>) -> Self {
        Self {
            path,
            map,
            numbers: &[],
        }
    }

    /// The same keys, of which those in `numbers` stand for these numbers if they are missing.
    pub(super) fn or_numbers(self, numbers: &'a [(&'static str, usize)]) -> Self {
        Self { numbers, ..self }
    }

    /// The file.
    pub(super) fn path(self) -> &'a Path {
        self.path
    }

    /// The value of `key`; `None` if the key is missing or null.
    pub(crate) fn get(self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The value of `key`, which may be null; `None` if the key is missing.
    pub(crate) fn raw(self, key: &str) -> Option<&'a Value> {
        self.map.get(key)
    }

    /// The names of all keys, in the order of their names.
    pub(super) fn names(self) -> impl Iterator<Item = &'a str> {
        self.map.keys().map(String::as_str)
    }

    /// Whether there are no keys.
    pub(super) fn is_empty(self) -> bool {
        self.map.is_empty()
    }

    /// The keys of the object `key`; `None` if the value is no object.
    pub(super) fn object(self, key: &str) -> Option<Self> {
        let map = self.get(key)?.as_object()?;
        Some(Self { map, ..self })
    }

    /// The keys of the object `key`, if it is set.
    ///
    /// # Errors
    ///
    /// If the value is no object.
    pub(super) fn optional_object(self, key: &str) -> Result<Option<Self>, ModelError> {
        match (self.get(key), self.object(key)) {
            (Some(_), None) => Err(self.refuse(key, "it must be an object")),
            (_, object) => Ok(object),
        }
    }

    /// The text of `key`; `None` if the value is no text.
    pub(super) fn text(self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    /// Whether the switch `key` is on; it is off if it is not set.
    ///
    /// # Errors
    ///
    /// If the value is neither `true` nor `false`.
    pub(crate) fn is_on(self, key: &str) -> Result<bool, ModelError> {
        let Some(value) = self.get(key) else { return Ok(false) };
        let refused = || self.refuse(key, "it must be `true` or `false`");
        value.as_bool().ok_or_else(refused)
    }

    /// The token ids of `key`, which is one id or a list of them. Negative ids, which some configurations have for no token,
    /// are left out.
    ///
    /// # Errors
    ///
    /// If the value is anything else.
    pub(super) fn token_ids(self, key: &str) -> Result<Vec<u32>, ModelError> {
        let refused = || self.refuse(key, "it must be a token id or a list of token ids");
        let id = |value: &Value| match value.as_i64() {
            Some(number) if number < 0 => Ok(None),
            Some(number) => u32::try_from(number).map(Some).map_err(|_| refused()),
            None => Err(refused()),
        };
        let values = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        values.iter().filter_map(|value| id(value).transpose()).collect()
    }

    /// The whole number of `key`, if it is set or has a default.
    ///
    /// # Errors
    ///
    /// If the value is no whole number.
    pub(crate) fn optional_number(self, key: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(key) else {
            let mut defaults = self.numbers.iter().filter(|_| self.raw(key).is_none());
            return Ok(defaults.find(|(name, _)| *name == key).map(|(_, number)| *number));
        };
        match value.as_u64() {
            Some(number) => Ok(Some(number as usize)),
            None => Err(self.refuse(key, "it must be a whole number")),
        }
    }

    /// The whole number of `key`.
    ///
    /// # Errors
    ///
    /// If it is not set or no whole number.
    pub(crate) fn number(self, key: &str) -> Result<usize, ModelError> {
        self.optional_number(key)?
            .ok_or_else(|| self.refuse(key, "it must be given"))
    }

    /// The number of layers, for families that describe each one.
    ///
    /// # Errors
    ///
    /// If it is not set, no whole number, or too large for a list.
    pub(crate) fn layer_count(self) -> Result<usize, ModelError> {
        const KEY: &str = "num_hidden_layers";
        let count = self.number(KEY)?;
        if (1..=MOST_LAYERS).contains(&count) {
            Ok(count)
        } else {
            Err(self.refuse(KEY, "it must be a positive number of a sensible size"))
        }
    }

    /// The number of `key`, if it is set.
    ///
    /// # Errors
    ///
    /// If the value is no number.
    pub(crate) fn float(self, key: &str) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let refused = || self.refuse(key, "it must be a number");
        value.as_f64().map(Some).ok_or_else(refused)
    }

    /// The error for the value of `key`, which describes quantised weights that are not as `expected`.
    pub(super) fn refuse_quantization(self, key: &str, expected: &'static str) -> ModelError {
        ModelError::Quantization {
            path: self.path.to_owned(),
            key: key.into(),
            found: self.map.get(key).map_or_else(|| "missing".to_owned(), display),
            expected,
        }
    }

    /// The error for the value of `key`, which is not as `expected`.
    pub(crate) fn refuse(self, key: &str, expected: impl Into<String>) -> ModelError {
        ModelError::Config {
            path: self.path.to_owned(),
            key: key.into(),
            found: self.map.get(key).map_or_else(|| "missing".to_owned(), display),
            expected: expected.into(),
        }
    }
}

/// A JSON value as messages quote it.
fn display(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
