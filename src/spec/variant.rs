//! A variant as the user writes it: `softmax`, `window:64`, `t2r:merged=false`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Name and parameters of an attention variant, as written; what they mean is the registry's business.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VariantSpec {
    /// Registry name, e.g. `t2r`.
    pub name: String,
    /// Parameters in the order written; a bare value has an empty key (the variant's main parameter).
    pub params: Vec<(String, String)>,
}

/// In place of a variant: every layer of a checkpoint with the attention that it has.
pub const AS_IS: &str = "as-is";

impl VariantSpec {
    /// Whether it stands for what a checkpoint has.
    #[must_use]
    pub fn is_as_is(&self) -> bool {
        self.name == AS_IS
    }

    /// A variant without parameters.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), params: Vec::new() }
    }

    /// The value of a parameter by its name.
    #[must_use]
    pub fn param(&self, key: &str) -> Option<&str> {
        self.params.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// The parameters alone, as the `variant_params` column holds them: `merged=false`, empty where there are none.
    #[must_use]
    pub fn params_text(&self) -> String {
        let one = |(k, v): &(String, String)| if k.is_empty() { v.clone() } else { format!("{k}={v}") };
        self.params.iter().map(one).collect::<Vec<_>>().join(":")
    }
}

impl fmt::Display for VariantSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.params.is_empty() {
            return f.pad(&self.name);
        }
        f.pad(&format!("{}:{}", self.name, self.params_text()))
    }
}

impl FromStr for VariantSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default().trim();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-_".contains(c)) {
            return Err(format!(
                "'{text}' is not a variant: expected a name such as t2r, window:64 or t2r:merged=false"
            ));
        }
        let mut params = Vec::new();
        for part in parts {
            let (key, value) = part.split_once('=').map_or(("", part), |(k, v)| (k.trim(), v));
            let value = value.trim();
            if value.is_empty() || (key.is_empty() && part.contains('=')) {
                return Err(format!("'{text}': empty parameter; expected e.g. window:64 or t2r:merged=false"));
            }
            if params.iter().any(|(k, _)| k == key) {
                return Err(format!("'{text}': parameter '{key}' is given twice"));
            }
            params.push((key.to_owned(), value.to_owned()));
        }
        Ok(Self { name: name.to_owned(), params })
    }
}

impl TryFrom<String> for VariantSpec {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<VariantSpec> for String {
    fn from(v: VariantSpec) -> Self {
        v.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same_and_nothing_panics(text in "[a-z0-9+:=_-]{0,24}|\\PC{0,16}") {
            if let Ok(spec) = text.parse::<VariantSpec>() {
                prop_assert_eq!(spec.to_string().parse(), Ok(spec));
            }
        }
    }
}
