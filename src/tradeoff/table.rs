//! A tradeoff as a table for people: one line per variant and way, over its seeds.

use serde_json::Value;

use super::row::Row;
use crate::{report::Listing, stats::mean};

/// One line per variant, layers and way: means over seeds, and the spread where there are several.
#[must_use]
pub fn table(rows: &[Row]) -> Listing {
    let mut listing = Listing::new(&[
        "variant",
        "cross",
        "layers",
        "way",
        "seeds",
        "perplexity",
        "spread",
        "accuracy",
        "bleu",
        "train_tokens",
        "total_tokens",
        "train_s",
        "seq_len",
        "tokens_per_s",
        "state_bytes",
    ]);
    let key = |row: &Row| (row.variant.clone(), row.cross_variant.clone(), row.layers.clone(), row.way.clone());
    let mut keys: Vec<_> = Vec::new();
    rows.iter().map(key).for_each(|key| {
        if !keys.contains(&key) {
            keys.push(key)
        }
    });
    for of in keys {
        let models: Vec<&Row> = rows.iter().filter(|row| key(row) == of).collect();
        let deepest = models.iter().map(|row| row.seq_len).max().unwrap_or(0);
        let one_each: Vec<&Row> = models.into_iter().filter(|row| row.seq_len == deepest).collect();
        let Some(first) = one_each.first() else { continue };
        let over = |value: fn(&Row) -> Option<f64>| {
            let values: Vec<f64> = one_each.iter().filter_map(|row| value(row)).collect();
            mean(&values)
        };
        let perplexities: Vec<f64> = one_each.iter().map(|row| row.perplexity).collect();
        let spread = perplexities.iter().copied().fold(f64::MIN, f64::max)
            - perplexities.iter().copied().fold(f64::MAX, f64::min);
        let round = |value: Option<f64>, digits: i32| -> Value {
            let scale = 10f64.powi(digits);
            value.map(|v| (v * scale).round() / scale).into()
        };
        listing.push(vec![
            of.0.into(),
            of.1.into(),
            of.2.into(),
            of.3.into(),
            one_each.len().into(),
            round(over(|row| Some(row.perplexity)), 3),
            round((one_each.len() > 1).then_some(spread), 3),
            round(over(|row| Some(row.accuracy)), 4),
            round(over(|row| row.bleu), 2),
            first.train_tokens.into(),
            first.total_tokens.into(),
            round(over(|row| Some(row.train_s)), 1),
            first.seq_len.into(),
            round(over(|row| row.tokens_per_s), 0),
            first.state_bytes.into(),
        ]);
    }
    listing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Format;

    #[test]
    fn seeds_are_one_line_and_the_deepest_depth_is_shown() {
        let row = |seed, seq_len, perplexity| Row {
            variant: "t2r:32".into(),
            layers: "all".into(),
            way: "finetuned".into(),
            seed,
            seq_len,
            perplexity,
            state_bytes: Some(64),
            ..Row::default()
        };
        let rows = [row(0, 16, 10.0), row(0, 64, 10.0), row(1, 16, 12.0), row(1, 64, 12.0)];
        let csv = table(&rows).render(Format::Csv).unwrap();
        assert_eq!(csv.lines().nth(1), Some("t2r:32,,all,finetuned,2,11.0,2.0,0.0,,0,,0.0,64,,64"));
        assert_eq!(csv.lines().count(), 2);
    }
}
