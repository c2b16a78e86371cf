//! Reads JSON lines by the names of their fields: the same rows as a cells file, one object a line.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

use super::{
    read::{ReadError, Reading, Take, Wrong, check_columns, check_value, shortened},
    row::{Row, SCHEMA_VERSION},
};

/// Whether a file is JSON lines rather than a table: whether it begins with a brace.
pub(super) fn are_json_lines(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    text.trim_ascii_start().first() == Some(&b'{')
}

/// The field of a line that no row has.
const SAMPLES: &str = "samples";

/// Hands the rows of a JSON lines file to `take`, one by one. Samples are passed over; a byte-order mark, CR LF and empty
/// lines are accepted.
///
/// # Errors
/// [`ReadError::Invalid`], also with what `take` answers.
pub(super) fn each_json_line(path: &str, bytes: &[u8], take: &mut Take<'_>) -> Result<Reading, ReadError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reading = Reading::default();
    let mut found = false;
    for (i, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        let here = |column, message| ReadError::Invalid { path: path.to_owned(), line: i as u64 + 1, column, message };
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        found = true;
        match row(text) {
            Ok((row, unknown)) => {
                for column in unknown {
                    if !reading.unknown_columns.contains(&column) {
                        reading.unknown_columns.push(column);
                    }
                }
                take(row).map_err(|message| here(None, message))?;
            }
            // What was cut off is no JSON, and what is JSON was not cut off.
            Err(_) if !line.ends_with(b"\n") && i > 0 && !is_json(text) => reading.is_truncated = true,
            Err((column, message)) => return Err(here(column, message)),
        }
    }
    if found {
        Ok(reading)
    } else {
        let message = "the file is empty; expected JSON lines as --jsonl writes them".to_owned();
        Err(ReadError::Invalid { path: path.to_owned(), line: 1, column: None, message })
    }
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// The row of a line, and the fields of it that are not known.
fn row(text: &[u8]) -> Result<(Row, Vec<String>), Wrong> {
    let Names(names) = serde_json::from_slice(text).map_err(|e| (None, format!("no JSON object: {e}")))?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut unknown = check_columns(&names)?;
    unknown.retain(|name| name != SAMPLES);
    let row: Row = serde_json::from_slice(text).map_err(|e| blame(text).unwrap_or_else(|| (None, e.to_string())))?;
    if row.schema_version > SCHEMA_VERSION {
        let message =
            format!("version {} is newer than {SCHEMA_VERSION}; read it with a newer t2r", row.schema_version);
        return Err((Some("schema_version".to_owned()), message));
    }
    check_value("round_values", &row.round_values).map_err(|m| (Some("round_values".to_owned()), m))?;
    Ok((row, unknown))
}

/// The field that is not of its column's type, and its value.
fn blame(text: &[u8]) -> Option<Wrong> {
    let fields: serde_json::Map<String, Value> = serde_json::from_slice(text).ok()?;
    fields.into_iter().find_map(|(name, value)| {
        let written = shortened(&value.to_string());
        let alone = Value::Object([(name.clone(), value)].into_iter().collect());
        let error = serde_json::from_value::<Row>(alone).err()?;
        Some((Some(name), format!("{written}: {error}")))
    })
}

/// The names of an object's fields, in their order.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a field per column")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Of)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::KEY_COLUMNS;

    fn a_line() -> String {
        let row = Row {
            schema_version: 1,
            run_id: "r".to_owned(),
            variant: "t2r".to_owned(),
            p50_ns: Some(1.5),
            round_values: "[1.0,2.0]".to_owned(),
            ..Row::default()
        };
        let text = serde_json::to_string(&row).expect("written");
        format!("{},\"samples\":[{{\"ns\":[1.0]}}]}}\n", &text[..text.len() - 1])
    }

    fn read(text: &str) -> Result<(Vec<Row>, Reading), String> {
        let mut rows = Vec::new();
        let reading = each_json_line("my.jsonl", text.as_bytes(), &mut |row| {
            rows.push(row);
            Ok(())
        });
        reading.map(|reading| (rows, reading)).map_err(|e| e.to_string())
    }

    #[test]
    fn lines_read_back_with_marks_of_other_systems_and_without_their_samples() {
        let windows = format!("\u{feff}{}\r\n{}", a_line().trim_end(), a_line());
        for text in [format!("{}\n{}", a_line(), a_line()), windows] {
            let (rows, reading) = read(&text).expect("reads");
            assert_eq!((rows.len(), reading), (2, Reading::default()));
            assert_eq!((rows[0].p50_ns, rows[0].figures()), (Some(1.5), vec![1.0, 2.0]));
        }
    }

    #[test]
    fn errors_name_file_line_and_column() {
        let wrong = |text: String| read(&(a_line() + &text)).expect_err("refused");
        let cases = [
            (a_line().replace("\"p50_ns\":1.5", "\"p50_ns\":\"fast\""), "line 2, column p50_ns: \"fast\""),
            (a_line().replace("\"batch_size\":0", "\"batch_size\":-1"), "line 2, column batch_size: -1"),
            (a_line().replace("\"schema_version\":1", "\"schema_version\":9"), "column schema_version: version 9"),
            (a_line().replace("[1.0,2.0]", "[1.0,-2.0]"), "line 2, column round_values"),
            (a_line().replace("\"seed\":0,", "\"sed\":0,\"seed\":0,"), "column sed: unknown key column"),
            (a_line().replace("\"seed\":0,", ""), "column seed: missing"),
            ("[1,2]\n".to_owned(), "line 2: no JSON object"),
            ("{\"a\":NaN}\n".to_owned(), "line 2: no JSON object"),
        ];
        for (text, part) in cases {
            let message = wrong(text);
            assert!(message.starts_with("my.jsonl, line 2") && message.contains(part), "{part}: {message}");
        }
        assert!(read("\n \n").expect_err("empty").contains("empty"));
        assert!(KEY_COLUMNS.iter().all(|c| a_line().contains(&format!("\"{c}\":"))));
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_left_out() {
        let line = a_line();
        for end in 1..line.len() - 1 {
            let text = a_line() + &line[..end];
            let (rows, reading) = read(&text).unwrap_or_else(|e| panic!("{end}: {e}"));
            assert_eq!((rows.len(), reading.is_truncated), (1, true), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn no_change_makes_it_panic(at in any::<prop::sample::Index>(), with in "\\PC{0,6}", cut in any::<prop::sample::Index>()) {
            let mut bytes = (a_line() + &a_line()).into_bytes();
            let i = at.index(bytes.len());
            bytes.splice(i..=i, with.bytes());
            let end = cut.index(bytes.len() + 1);
            let _ = each_json_line("x", &bytes[..end], &mut |_| Ok(()));
        }
    }
}
