//! Reads the tables beside the cells: training logs, and files that set quality beside speed. Knows their columns by
//! name, not what wrote them.

use csv::{ReaderBuilder, StringRecord};

use super::{
    json_lines::are_json_lines,
    read::{ReadError, separator_hint, table_text},
};

/// What a file holds, by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// Cells of a run.
    Cells,
    /// A row per update of a training.
    Training,
    /// A row per trained model: quality, and where it was measured speed.
    Quality,
}

/// A training log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainingTable {
    /// In the order of the file.
    pub rows: Vec<TrainingRow>,
    /// Whether the last line was cut off, and left out.
    pub is_truncated: bool,
}

/// One update, or one look at what is held out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TrainingRow {
    /// Number of the update.
    pub step: f64,
    /// Tokens seen so far.
    pub tokens: Option<f64>,
    /// Training loss of this update.
    pub loss: Option<f64>,
    /// Learning rate.
    pub lr: Option<f64>,
    /// Norm of the gradient before clipping.
    pub grad_norm: Option<f64>,
    /// Tokens per second.
    pub tokens_per_s: Option<f64>,
    /// Loss on what is held out.
    pub validation_loss: Option<f64>,
    /// Accuracy on what is held out.
    pub validation_accuracy: Option<f64>,
}

/// Quality beside speed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QualityTable {
    /// In the order of the file.
    pub rows: Vec<QualityRow>,
    /// Whether the last line was cut off, and left out.
    pub is_truncated: bool,
}

/// One trained model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QualityRow {
    /// Variant.
    pub variant: String,
    /// What tells it from others of that variant: the texts of its other columns that are words.
    pub detail: String,
    /// Perplexity, lower is better.
    pub perplexity: Option<f64>,
    /// BLEU, higher is better.
    pub bleu: Option<f64>,
    /// Accuracy, higher is better.
    pub accuracy: Option<f64>,
    /// Tokens per second of decoding.
    pub tokens_per_s: Option<f64>,
    /// Bytes of cache or state.
    pub state_bytes: Option<f64>,
    /// Tokens of context at which these two hold.
    pub seq_len: Option<f64>,
}

/// Measures of quality.
const QUALITY_COLUMNS: [&str; 3] = ["perplexity", "bleu", "accuracy"];

/// Columns that say which of several models of a variant a row is about, where they vary. Seeds are repetitions.
const DETAIL_COLUMNS: [&str; 8] =
    ["variant_params", "cross_variant", "layers", "way", "arm", "start", "recipe", "feature_dim"];

/// Says what a file is. JSON lines hold cells and nothing else.
///
/// # Errors
/// [`ReadError::Invalid`] where it is none of them.
pub fn kind_of(path: &str, bytes: &[u8]) -> Result<TableKind, ReadError> {
    if are_json_lines(bytes) {
        return Ok(TableKind::Cells);
    }
    let (header, _) = opened(path, bytes)?;
    let has = |column: &str| header.iter().any(|h| h == column);
    if has("cell_id") {
        Ok(TableKind::Cells)
    } else if has("step") && has("loss") {
        Ok(TableKind::Training)
    } else if has("variant") && QUALITY_COLUMNS.iter().any(|c| has(c)) {
        Ok(TableKind::Quality)
    } else {
        let columns: String = header.iter().take(8).collect::<Vec<_>>().join(", ").chars().take(120).collect();
        Err(ReadError::Invalid {
            path: path.to_owned(),
            line: 1,
            column: None,
            message: format!(
                "columns {columns}: neither cells (cell_id), nor a training log (step, loss), nor qualities (variant, and \
                 one of {}){}",
                QUALITY_COLUMNS.join(", "),
                separator_hint(&header.iter().collect::<Vec<_>>())
            ),
        })
    }
}

/// Reads a training log. Columns that are not known are left out; a last line that was cut off too.
///
/// # Errors
/// [`ReadError::Invalid`].
pub fn parse_training(path: &str, bytes: &[u8]) -> Result<TrainingTable, ReadError> {
    let reading = Reading::of(path, bytes)?;
    let number = |line: &Line, column: &str| reading.number(line, column);
    let row = |line: &Line| {
        let step = number(line, "step")?.ok_or_else(|| reading.wrong(line, "step", "empty".to_owned()))?;
        Ok(TrainingRow {
            step,
            tokens: number(line, "tokens")?,
            loss: number(line, "loss")?,
            lr: number(line, "lr")?,
            grad_norm: number(line, "grad_norm")?,
            tokens_per_s: number(line, "tokens_per_s")?,
            validation_loss: number(line, "validation_loss")?,
            validation_accuracy: number(line, "validation_accuracy")?,
        })
    };
    let rows = reading.lines.iter().map(row).collect::<Result<_, ReadError>>()?;
    Ok(TrainingTable { rows, is_truncated: reading.is_truncated })
}

/// Reads qualities. Columns that are not known are left out; a last line that was cut off too.
///
/// # Errors
/// [`ReadError::Invalid`].
pub fn parse_quality(path: &str, bytes: &[u8]) -> Result<QualityTable, ReadError> {
    let reading = Reading::of(path, bytes)?;
    let varies = |column: &&&str| {
        let mut values = reading.lines.iter().map(|line| reading.text(line, column));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let detail_columns: Vec<&str> = DETAIL_COLUMNS.iter().filter(varies).copied().collect();
    let row = |line: &Line| {
        let first_of = |columns: &[&str]| -> Result<Option<f64>, ReadError> {
            for column in columns {
                if let Some(value) = reading.number(line, column)? {
                    return Ok(Some(value));
                }
            }
            Ok(None)
        };
        let details = detail_columns.iter().filter_map(|c| Some((*c, reading.text(line, c)?)));
        let named = details.filter(|(column, text)| !text.is_empty() && (*column, *text) != ("layers", "all")).map(
            |(column, text)| match column {
                "feature_dim" => format!("m={text}"),
                "cross_variant" => format!("{text} across"),
                "layers" => format!("layers {text}"),
                _ => text.to_owned(),
            },
        );
        Ok(QualityRow {
            variant: reading.text(line, "variant").unwrap_or_default().to_owned(),
            detail: named.collect::<Vec<_>>().join(" "),
            perplexity: reading.number(line, "perplexity")?,
            bleu: reading.number(line, "bleu")?,
            accuracy: reading.number(line, "accuracy")?,
            tokens_per_s: first_of(&["decode_tokens_per_s", "tokens_per_s"])?,
            state_bytes: first_of(&["state_bytes_measured", "state_bytes", "state_bytes_pred"])?,
            seq_len: reading.number(line, "seq_len")?,
        })
    };
    let rows = reading.lines.iter().map(row).collect::<Result<_, ReadError>>()?;
    Ok(QualityTable { rows, is_truncated: reading.is_truncated })
}

/// A file of named columns, as text.
struct Reading {
    path: String,
    header: StringRecord,
    lines: Vec<Line>,
    /// Whether the last line was cut off, and left out.
    is_truncated: bool,
}

struct Line {
    number: u64,
    fields: StringRecord,
}

/// The header of a table, and the reader behind it.
fn opened<'a>(path: &str, bytes: &'a [u8]) -> Result<(StringRecord, csv::Reader<&'a [u8]>), ReadError> {
    let here = |message| ReadError::Invalid { path: path.to_owned(), line: 1, column: None, message };
    let text = table_text(bytes).map_err(here)?;
    if text.is_empty() {
        return Err(here("the file is empty; expected a header".to_owned()));
    }
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(text);
    let header = reader.headers().map_err(|e| here(format!("the header is not text: {e}")))?.clone();
    Ok((header, reader))
}

impl Reading {
    fn of(path: &str, bytes: &[u8]) -> Result<Self, ReadError> {
        let (header, reader) = opened(path, bytes)?;
        let here = |line, column, message| ReadError::Invalid { path: path.to_owned(), line, column, message };
        let is_cut = bytes.last() != Some(&b'\n');
        let (mut lines, mut is_truncated) = (Vec::new(), false);
        let mut records = reader.into_records().peekable();
        while let Some(record) = records.next() {
            let fields = record.map_err(|e| {
                let line = e.position().map_or(0, csv::Position::line);
                match e.kind() {
                    csv::ErrorKind::Utf8 { err, .. } => {
                        here(line, header.get(err.field()).map(str::to_owned), "not UTF-8".to_owned())
                    }
                    _ => here(line, None, e.to_string()),
                }
            })?;
            let number = fields.position().map_or(0, csv::Position::line);
            if fields.len() == header.len() {
                lines.push(Line { number, fields });
            } else if is_cut && records.peek().is_none() {
                is_truncated = true;
            } else {
                return Err(here(number, None, format!("{} fields; the header has {}", fields.len(), header.len())));
            }
        }
        Ok(Self { path: path.to_owned(), header, lines, is_truncated })
    }

    /// The field of a column; `None` where there is no such column.
    fn text<'a>(&self, line: &'a Line, column: &str) -> Option<&'a str> {
        line.fields.get(self.header.iter().position(|h| h == column)?).map(str::trim)
    }

    /// A finite number; `None` where the field is empty or there is no such column.
    fn number(&self, line: &Line, column: &str) -> Result<Option<f64>, ReadError> {
        let Some(text) = self.text(line, column).filter(|t| !t.is_empty()) else { return Ok(None) };
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Some(value)),
            // A training that diverged says so; there is nothing to draw of it.
            Ok(_) => Ok(None),
            Err(e) => {
                let shown: String = text.chars().take(40).collect();
                Err(self.wrong(line, column, format!("'{shown}': {e}; expected a number")))
            }
        }
    }

    fn wrong(&self, line: &Line, column: &str, message: String) -> ReadError {
        ReadError::Invalid { path: self.path.clone(), line: line.number, column: Some(column.to_owned()), message }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOG: &str =
        "step,tokens,loss,lr,grad_norm,tokens_per_s,validation_loss\n1,64,4.2,0.1,1.5,900,\n2,128,4.0,0.1,,,3.9\n";

    #[test]
    fn a_log_reads_by_name_and_missing_is_none() {
        let rows = parse_training("log.csv", LOG.as_bytes()).expect("a log").rows;
        assert_eq!((rows[0].loss, rows[0].validation_loss), (Some(4.2), None));
        assert_eq!((rows[1].step, rows[1].grad_norm, rows[1].validation_loss), (2.0, None, Some(3.9)));
        let turned = "loss,more,step\r\n4.2,x,1\r\n";
        let rows = parse_training("log.csv", format!("\u{feff}{turned}").as_bytes()).expect("a log").rows;
        assert_eq!((rows[0].step, rows[0].loss, rows[0].tokens), (1.0, Some(4.2), None));
    }

    #[test]
    fn qualities_read_with_what_tells_them_apart() {
        let text = "variant,start,seed,perplexity,decode_tokens_per_s\nt2r,converted,1,30.5,1200\nelu,scratch,,nan,\n";
        let rows = parse_quality("q.csv", text.as_bytes()).expect("qualities").rows;
        assert_eq!((rows[0].variant.as_str(), rows[0].detail.as_str()), ("t2r", "converted"));
        assert_eq!((rows[0].perplexity, rows[0].tokens_per_s), (Some(30.5), Some(1200.0)));
        assert_eq!((rows[1].perplexity, rows[1].tokens_per_s), (None, None));
    }

    #[test]
    fn models_of_a_tradeoff_are_named_by_what_tells_them_apart() {
        let text = "label,variant,layers,way,seed,perplexity,seq_len,tokens_per_s\n\
                    a,softmax,all,pretrained,0,20.1,64,900\na,softmax,all,pretrained,0,20.1,512,300\n\
                    b,t2r:32,all,finetuned,0,21.5,64,1000\n";
        let rows = parse_quality("q.csv", text.as_bytes()).expect("qualities").rows;
        let names: Vec<String> = rows.iter().map(|r| format!("{} {}", r.variant, r.detail)).collect();
        assert_eq!(names, ["softmax pretrained", "softmax pretrained", "t2r:32 finetuned"]);
        let some = format!("{text}c,t2r:32,75%,finetuned,0,20.9,64,950\n");
        let some = parse_quality("q.csv", some.as_bytes()).expect("qualities").rows;
        // That all are swapped goes without saying.
        assert_eq!((some[2].detail.as_str(), some[3].detail.as_str()), ("finetuned", "layers 75% finetuned"));
        assert_eq!(rows.iter().map(|r| r.seq_len).collect::<Vec<_>>(), [Some(64.0), Some(512.0), Some(64.0)]);
    }

    #[test]
    fn kinds_are_told_by_their_headers() {
        let kind = |text: &str| kind_of("x.csv", text.as_bytes());
        assert!(matches!(kind(LOG), Ok(TableKind::Training)));
        assert!(matches!(kind("schema_version,cell_id\n"), Ok(TableKind::Cells)));
        assert!(matches!(kind("variant,bleu\n"), Ok(TableKind::Quality)));
        let error = kind("a,b\n1,2\n").expect_err("neither").to_string();
        assert!(error.starts_with("x.csv, line 1: columns a, b: neither cells"), "{error}");
        assert!(kind("").is_err());
    }

    #[test]
    fn errors_name_line_and_column() {
        let error = parse_training("log.csv", b"step,loss\n1,2\n2,much\n").expect_err("no number").to_string();
        assert!(error.starts_with("log.csv, line 3, column loss: 'much'"), "{error}");
        let error = parse_training("log.csv", b"step,loss\n1\n2,3\n").expect_err("short").to_string();
        assert!(error.contains("line 2: 1 fields"), "{error}");
        let cut = parse_training("log.csv", b"step,loss\n1,2\n2").expect("cut");
        assert_eq!((cut.rows.len(), cut.is_truncated), (1, true));
        assert!(!parse_training("log.csv", b"step,loss\n1,2").expect("whole").is_truncated);
        let error = parse_training("log.csv", b"step,loss\n1,\xff\n").expect_err("no text").to_string();
        assert_eq!(error, "log.csv, line 2, column loss: not UTF-8");
        let error = kind_of("x.csv", b"step;loss\n1;2\n").expect_err("semicolons").to_string();
        assert!(error.ends_with("separated by semicolons, and must be by commas"), "{error}");
        let error = kind_of("x.csv", b"\xff\xfes\0").expect_err("UTF-16").to_string();
        assert_eq!(error, "x.csv, line 1: the file is UTF-16; save it as UTF-8");
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..LOG.len()) {
            for read in [&bytes[..], &LOG.as_bytes()[..cut], &[LOG.as_bytes(), &bytes].concat()] {
                let _ = (kind_of("x", read), parse_training("x", read), parse_quality("x", read));
            }
        }
    }
}
