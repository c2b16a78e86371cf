//! An object of a JSON file, read key by key with what was expected of each. A null is as good as nothing.

use std::{fs, path::Path};

use serde_json::{Map, Value};

use super::error::{CheckpointError, Result};

/// Sizes beyond this are damage, and arithmetic on sizes stays far from overflow.
pub(super) const MAX_SIZE: usize = 1 << 28;

/// Reads a file that is one JSON object.
pub(super) fn read_object(file: &Path) -> Result<Map<String, Value>> {
    let bytes = fs::read(file).map_err(|e| CheckpointError::unreadable(file, e))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(CheckpointError::invalid(file, format!("expected a JSON object, found {}", kind(&other)))),
        Err(e) => Err(CheckpointError::invalid(file, format!("not JSON: {e}"))),
    }
}

/// The keys of a value that is written as an object.
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Keys of an object and the file they stand in.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) file: &'a Path,
    pub(super) map: &'a Map<String, Value>,
}

impl<'a> Keys<'a> {
    fn wrong(&self, key: &str, expected: &str, found: &Value) -> CheckpointError {
        CheckpointError::invalid(self.file, format!("'{key}' is {}, expected {expected}", shown(found)))
    }

    /// Whatever is there.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A size that may be left out.
    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let size = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=MAX_SIZE).contains(n));
        size.map(Some).ok_or_else(|| self.wrong(key, &format!("a whole number from 1 to {MAX_SIZE}"), value))
    }

    /// A size that must be there.
    pub(super) fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| self.missing(key, "a whole number"))
    }

    /// A positive number, or what holds where it is left out.
    pub(super) fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_f64().filter(|x| x.is_finite() && *x > 0.0).ok_or_else(|| self.wrong(key, "a positive number", value))
    }

    /// True or false, or what holds where it is left out.
    pub(super) fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(key, "true or false", value))
    }

    /// A text that may be left out.
    pub(super) fn optional_text(&self, key: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(key, "a text", value))
    }

    /// A text that must be there.
    pub(super) fn text(&self, key: &str) -> Result<&'a str> {
        self.optional_text(key)?.ok_or_else(|| self.missing(key, "a text"))
    }

    /// A word of a closed vocabulary.
    pub(super) fn word<T: std::str::FromStr<Err = String>>(&self, key: &str) -> Result<T> {
        let text = self.text(key)?;
        text.parse().map_err(|e| CheckpointError::invalid(self.file, format!("'{key}': {e}")))
    }

    /// An object that may be left out.
    pub(super) fn optional_object(&self, key: &str) -> Result<Option<Keys<'a>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let object = |map| Some(Keys { file: self.file, map });
        value.as_object().map(object).ok_or_else(|| self.wrong(key, "an object", value))
    }

    /// A list that must be there.
    pub(super) fn list(&self, key: &str) -> Result<&'a [Value]> {
        match self.get(key) {
            None => Err(self.missing(key, "a list")),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(self.wrong(key, "a list", other)),
        }
    }

    /// One id, a list of them, or none.
    pub(super) fn ids(&self, key: &str) -> Result<Vec<u32>> {
        let id = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let ids = match value {
            Value::Array(items) => items.iter().map(id).collect(),
            one => id(one).map(|id| vec![id]),
        };
        ids.ok_or_else(|| self.wrong(key, "a token id or a list of them", value))
    }

    fn missing(&self, key: &str, expected: &str) -> CheckpointError {
        CheckpointError::invalid(self.file, format!("'{key}' is missing, expected {expected}"))
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value as an error shows it: long ones by their kind.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 40 { text } else { kind(value).to_owned() }
}
