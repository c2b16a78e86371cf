//! A list of like things in every form: columns and rows in, text out.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use super::Format;

/// Columns, and one value per column in every row; a value that does not apply is null.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
}

impl Listing {
    /// A list without rows.
    #[must_use]
    pub fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, row: Vec<Value>) {
        self.rows.push(row);
    }

    /// Whether it has no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The list in that form: JSON is an array of objects, CSV has a header, the others are for people.
    ///
    /// # Errors
    /// None in practice: it is written into memory.
    pub fn render(&self, format: Format) -> anyhow::Result<String> {
        match format {
            Format::Json => Ok(serde_json::to_string_pretty(self)? + "\n"),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(Vec::new());
                writer.write_record(&self.columns)?;
                for row in &self.rows {
                    writer.write_record(row.iter().map(text))?;
                }
                Ok(String::from_utf8(writer.into_inner()?)?)
            }
            Format::Md => Ok(self.markdown()),
            Format::Table => Ok(self.table()),
        }
    }

    fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let head = line(self.columns.iter().map(|c| (*c).to_owned()).collect());
        let rule = format!("|{}\n", "---|".repeat(self.columns.len()));
        let row = |row: &Vec<Value>| line(row.iter().map(|v| text(v).replace('|', "\\|")).collect());
        head + &rule + &self.rows.iter().map(row).collect::<String>()
    }

    /// Aligned, numbers to the right; columns that are empty throughout are left out.
    fn table(&self) -> String {
        let shown: Vec<usize> =
            (0..self.columns.len()).filter(|i| self.rows.iter().any(|row| !text(&row[*i]).is_empty())).collect();
        let width = |i: usize| {
            let cells = self.rows.iter().map(|row| text(&row[i]).chars().count());
            cells.chain([self.columns[i].len()]).max().unwrap_or(0)
        };
        let is_number = |i: usize| self.rows.iter().all(|row| row[i].is_number() || row[i].is_null());
        let line = |cell: &dyn Fn(usize) -> String| {
            let cells = shown.iter().map(|i| match (is_number(*i), width(*i)) {
                (true, w) => format!("{:>w$}", cell(*i)),
                (false, w) => format!("{:<w$}", cell(*i)),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        let head = line(&|i| self.columns[i].to_owned());
        let rows = self.rows.iter().map(|row| line(&|i| text(&row[i])));
        std::iter::once(head).chain(rows).collect()
    }
}

/// An array of objects.
impl Serialize for Listing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows.iter().map(|row| Object(&self.columns, row)))
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A row as an object whose keys keep the order of the columns.
struct Object<'a>(&'a [&'static str], &'a [Value]);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (column, value) in self.0.iter().zip(self.1) {
            map.serialize_entry(column, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let mut list = Listing::new(&["variant", "state_bytes", "note"]);
        list.push(vec!["softmax".into(), 1024.into(), Value::Null]);
        list.push(vec!["a|b".into(), Value::Null, Value::Null]);
        list
    }

    #[test]
    fn json_keeps_types_and_order() {
        let json = listing().render(Format::Json).unwrap();
        assert!(json.find("variant") < json.find("state_bytes") && json.find("state_bytes") < json.find("note"));
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json[0]["state_bytes"], 1024);
        assert!(json[1]["state_bytes"].is_null());
    }

    #[test]
    fn the_other_forms_as_by_hand() {
        assert_eq!(listing().render(Format::Csv).unwrap(), "variant,state_bytes,note\nsoftmax,1024,\na|b,,\n");
        assert_eq!(listing().render(Format::Table).unwrap(), "variant  state_bytes\nsoftmax         1024\na|b\n");
        let md = listing().render(Format::Md).unwrap();
        assert!(
            md.starts_with("| variant | state_bytes | note |\n|---|---|---|\n") && md.contains("| a\\|b |"),
            "{md}"
        );
    }
}
