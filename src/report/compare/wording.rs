//! What a variant is called within a comparison: with its parameters only where they tell it from another.

use std::collections::{HashMap, HashSet};

use crate::compare::{CellKey, Comparison};

/// Variants that occur with several parameters.
pub(super) struct Names(HashSet<String>);

impl Names {
    /// The names within that comparison.
    pub(super) fn of(c: &Comparison) -> Self {
        let mut params: HashMap<&str, HashSet<&str>> = HashMap::new();
        for cell in &c.cells {
            params.entry(cell.key.get("variant")).or_default().insert(cell.key.get("variant_params"));
        }
        Self(params.into_iter().filter(|(_, p)| p.len() > 1).map(|(variant, _)| variant.to_owned()).collect())
    }

    /// The variant of a key.
    pub(super) fn variant(&self, key: &CellKey) -> String {
        key.variant(self.0.contains(key.get("variant")))
    }
}
