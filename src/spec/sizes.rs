//! Lists and ranges of sizes: `1,2,4`, `128-8192*2`, `1-8+1`, suffix `k` (1024).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// At most this many values come out of one list; more is a slip of the pen, not a sweep.
const MAX_VALUES: usize = 4096;

/// A list of positive sizes, as a flag or a profile field holds it; duplicates are dropped, order is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizeList(pub Vec<usize>);

/// Reads a list of sizes and ranges.
///
/// # Errors
/// A message that names the part which is not a size, is zero, or gives too many values.
pub fn parse_sizes(text: &str) -> Result<Vec<usize>, String> {
    let mut out = Vec::new();
    for part in text.split(',') {
        for value in parse_part(part.trim())? {
            if !out.contains(&value) {
                out.push(value);
            }
            if out.len() > MAX_VALUES {
                return Err(format!("'{text}' gives more than {MAX_VALUES} values"));
            }
        }
    }
    Ok(out)
}

fn parse_part(part: &str) -> Result<Vec<usize>, String> {
    let Some((first, rest)) = part.split_once('-') else {
        return Ok(vec![parse_size(part)?]);
    };
    let (last, op, step) = match rest.find(['*', '+']) {
        Some(i) => (&rest[..i], &rest[i..=i], parse_size(&rest[i + 1..])?),
        None => (rest, "+", 1),
    };
    let (first, last) = (parse_size(first)?, parse_size(last)?);
    if first > last {
        return Err(format!("'{part}' counts down; expected e.g. 128-8192*2"));
    }
    if op == "*" && step < 2 {
        return Err(format!("'{part}' never ends: the factor must be at least 2"));
    }
    let next = |v: &usize| if op == "*" { v.checked_mul(step) } else { v.checked_add(step) };
    let values: Vec<usize> =
        std::iter::successors(Some(first), next).take_while(|v| *v <= last).take(MAX_VALUES + 1).collect();
    if values.len() > MAX_VALUES {
        return Err(format!("'{part}' gives more than {MAX_VALUES} values"));
    }
    Ok(values)
}

fn parse_size(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(d) => (d, 1024),
        None => (text, 1),
    };
    let expected = "expected a positive whole number, e.g. 64, 4k, 1,2,4 or 128-8192*2";
    let value: usize = digits.parse().map_err(|_e| format!("'{text}' is not a size; {expected}"))?;
    match value.checked_mul(unit) {
        Some(0) => Err(format!("a size of 0 makes no cell; {expected}")),
        Some(v) => Ok(v),
        None => Err(format!("'{text}' is too large")),
    }
}

impl FromStr for SizeList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_sizes(text).map(Self)
    }
}

/// As a list: what was written as a range is written out.
impl fmt::Display for SizeList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }
}

/// A profile may write a number, a string as on the command line, or an array of either.
impl<'de> Deserialize<'de> for SizeList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Item {
            Number(u64),
            Text(String),
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            One(Item),
            Many(Vec<Item>),
        }
        let items = match Written::deserialize(deserializer)? {
            Written::One(item) => vec![item],
            Written::Many(items) => items,
        };
        let words: Vec<String> = items
            .into_iter()
            .map(|item| match item {
                Item::Number(n) => n.to_string(),
                Item::Text(t) => t,
            })
            .collect();
        parse_sizes(&words.join(",")).map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_ranges_and_suffixes() {
        assert_eq!(parse_sizes("1,2,4"), Ok(vec![1, 2, 4]));
        assert_eq!(parse_sizes("64-4096*4"), Ok(vec![64, 256, 1024, 4096]));
        assert_eq!(parse_sizes("1-8+3"), Ok(vec![1, 4, 7]));
        assert_eq!(parse_sizes("1-3"), Ok(vec![1, 2, 3]));
        assert_eq!(parse_sizes("4k, 64,64"), Ok(vec![4096, 64]));
        for bad in
            ["", "0", "a", "8-4", "1-8*1", "1-8*0", "-", "1-", "99999999999999999999", "1-100000+1", "0-4", "1,,2"]
        {
            assert!(parse_sizes(bad).is_err(), "{bad} was accepted");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_never_gives_zero(text in "[0-9k,*+ -]{0,24}|\\PC{0,16}") {
            if let Ok(values) = parse_sizes(&text) {
                prop_assert!(!values.is_empty() && values.len() <= MAX_VALUES && values.iter().all(|v| *v > 0));
            }
        }

        #[test]
        fn a_written_list_reads_back(values in prop::collection::hash_set(1usize..1_000_000, 1..40)) {
            let values: Vec<usize> = values.into_iter().collect();
            prop_assert_eq!(parse_sizes(&SizeList(values.clone()).to_string()), Ok(values));
        }
    }
}
