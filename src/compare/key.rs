//! The key of a cell as texts: what two rows must share to be the same cell.

use crate::{spec::KEY_COLUMNS, store::Row};

/// One value per key column, as files hold it; empty where it does not apply.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellKey([String; KEY_COLUMNS.len()]);

impl CellKey {
    /// The key of a row.
    #[must_use]
    pub fn of(row: &Row) -> Self {
        Self(KEY_COLUMNS.map(|column| row.text(column)))
    }

    /// The value of a key column; empty where it does not apply or there is no such column.
    #[must_use]
    pub fn get(&self, column: &str) -> &str {
        KEY_COLUMNS.iter().position(|c| *c == column).map_or("", |i| &self.0[i])
    }

    /// The value of a key column as a number, where it is one.
    #[must_use]
    pub fn number(&self, column: &str) -> Option<u64> {
        self.get(column).parse().ok()
    }

    /// Every column with its value, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        KEY_COLUMNS.into_iter().zip(self.0.iter().map(String::as_str))
    }

    /// The columns in which another key differs, with its values.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<(&'static str, String)> {
        let pairs = self.iter().zip(other.iter());
        pairs.filter(|(own, other)| own.1 != other.1).map(|(_, (column, value))| (column, value.to_owned())).collect()
    }

    /// The key with all columns but these emptied.
    #[must_use]
    pub fn only(&self, columns: &[&str]) -> Self {
        let others: Vec<&str> = KEY_COLUMNS.into_iter().filter(|c| !columns.contains(c)).collect();
        self.without(&others)
    }

    /// The key with these columns emptied.
    #[must_use]
    pub fn without(&self, columns: &[impl AsRef<str>]) -> Self {
        let keeps = |column: &str| !columns.iter().any(|c| c.as_ref() == column);
        let mut key = self.clone();
        for (value, column) in key.0.iter_mut().zip(KEY_COLUMNS) {
            if !keeps(column) {
                value.clear();
            }
        }
        key
    }

    /// The variant with its sizes, and with its parameters where they are wanted: `t2r m=32`, `t2r:merged=false m=32`.
    #[must_use]
    pub fn variant(&self, with_params: bool) -> String {
        let mut name = self.get("variant").to_owned();
        let params = self.get("variant_params");
        if with_params && !params.is_empty() {
            name.push_str(&format!(":{params}"));
        }
        for (column, word) in [("feature_dim", "m"), ("cross_feature_dim", "cross")] {
            let value = self.get(column);
            if !value.is_empty() {
                name.push_str(&format!(" {word}={value}"));
            }
        }
        name
    }
}
