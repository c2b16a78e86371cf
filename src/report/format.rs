//! The forms in which every command answers with numbers, and the plain ways to write a list of facts in each.

use crate::spec::words;

words! {
    /// What `--format` asks for.
    #[derive(Default)]
    Format("format") {
        /// Aligned text for a terminal.
        #[default]
        Table = "table",
        /// JSON whose keys are the column names.
        Json = "json",
        /// RFC 4180, missing values empty.
        Csv = "csv",
        /// A Markdown table.
        Md = "md",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(*format));
        }
    }

    #[test]
    fn an_unknown_word_is_answered_with_the_known_ones() {
        let error = "jsom".parse::<Format>().unwrap_err();
        assert!(error.contains("json") && error.contains("table, json, csv, md"), "{error}");
    }
}
