//! Quality beside speed: points of a CSV that has a column of quality, and which of them no other beats. Knows columns, not
//! what trained the models.

use std::{fs, path::Path};

use csv::ReaderBuilder;

/// A measure of quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quality {
    /// Lower is better.
    Perplexity,
    /// Higher is better.
    Bleu,
}

impl Quality {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Perplexity => "perplexity (lower is better)",
            Self::Bleu => "BLEU (higher is better)",
        }
    }

    fn is_better(self, a: f64, b: f64) -> bool {
        if self == Self::Perplexity { a < b } else { a > b }
    }
}

/// A model, or a variant of one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QualityPoint {
    pub(crate) name: String,
    pub(crate) variant: String,
    pub(crate) quality: f64,
    pub(crate) tokens_per_s: f64,
    pub(crate) state_bytes: Option<f64>,
    /// Whether no other point is at least as good and as fast, and better in one of them.
    pub(crate) is_front: bool,
}

/// The points of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QualityFile {
    pub(crate) name: String,
    pub(crate) quality: Quality,
    pub(crate) points: Vec<QualityPoint>,
}

/// Reads a CSV with `tokens_per_s` and `perplexity` or `bleu`; `None` where it has no column of quality.
///
/// # Errors
/// For a file that cannot be read, or that has quality and no speed, for people.
pub(crate) fn read_quality(path: &Path) -> Result<Option<QualityFile>, String> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|e| format!("cannot read {name}: {e}"))?;
    parse_quality(&name, &bytes)
}

/// Like [`read_quality`], from bytes. Rows without a number in either column are left out.
pub(crate) fn parse_quality(name: &str, bytes: &[u8]) -> Result<Option<QualityFile>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(bytes);
    let header = reader.headers().map_err(|e| format!("{name}: {e}"))?.clone();
    let column = |wanted: &str| header.iter().position(|h| h == wanted);
    let known = [(Quality::Perplexity, "perplexity"), (Quality::Bleu, "bleu")];
    let Some((quality, at)) = known.into_iter().find_map(|(q, word)| Some((q, column(word)?))) else { return Ok(None) };
    let Some(speed) = column("tokens_per_s") else {
        return Err(format!("{name}: it has quality but no column tokens_per_s to set beside it"));
    };
    let state = ["state_bytes_measured", "state_bytes_pred", "state_bytes"].into_iter().find_map(column);
    let names: Vec<usize> = ["label", "checkpoint", "variant", "seq_len"].into_iter().filter_map(column).collect();
    let variant = column("variant");
    let mut points = Vec::new();
    for record in reader.records() {
        // A line that is no text ends nothing: the others may be read.
        let Ok(record) = record else { continue };
        let number = |i: usize| record.get(i)?.trim().parse::<f64>().ok().filter(|v| v.is_finite());
        let (Some(q), Some(s)) = (number(at), number(speed).filter(|s| *s > 0.0)) else { continue };
        let words: Vec<&str> = names.iter().filter_map(|i| record.get(*i)).filter(|w| !w.is_empty()).collect();
        points.push(QualityPoint {
            name: words.join(" "),
            variant: variant.and_then(|i| record.get(i)).unwrap_or_default().to_owned(),
            quality: q,
            tokens_per_s: s,
            state_bytes: state.and_then(number),
            is_front: false,
        });
    }
    mark_front(quality, &mut points);
    Ok(Some(QualityFile { name: name.to_owned(), quality, points }))
}

fn mark_front(quality: Quality, points: &mut [QualityPoint]) {
    let values: Vec<(f64, f64)> = points.iter().map(|p| (p.quality, p.tokens_per_s)).collect();
    for (i, point) in points.iter_mut().enumerate() {
        let beats = |(q, s): &(f64, f64)| {
            let (no_worse, better) = (!quality.is_better(point.quality, *q), quality.is_better(*q, point.quality));
            no_worse && *s >= point.tokens_per_s && (better || *s > point.tokens_per_s)
        };
        point.is_front = !values.iter().enumerate().any(|(j, other)| j != i && beats(other));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "variant,perplexity,tokens_per_s,state_bytes_pred\nsoftmax,18.0,100,1000\nt2r,19.0,400,10\n\
                        elu,21.0,300,20\nnone,,900,0\n";

    #[test]
    fn the_front_is_what_nothing_beats() {
        let file = parse_quality("q.csv", FILE.as_bytes()).expect("readable").expect("has quality");
        let front: Vec<(&str, bool)> = file.points.iter().map(|p| (p.variant.as_str(), p.is_front)).collect();
        assert_eq!(front, [("softmax", true), ("t2r", true), ("elu", false)]);
        let bleu = FILE.replace("perplexity", "bleu");
        let file = parse_quality("q.csv", bleu.as_bytes()).expect("readable").expect("has quality");
        assert_eq!(
            file.points.iter().filter(|p| p.is_front).map(|p| p.variant.as_str()).collect::<Vec<_>>(),
            ["t2r", "elu"]
        );
    }

    #[test]
    fn files_without_quality_or_without_speed_say_so() {
        assert_eq!(parse_quality("a", b"variant,tokens_per_s\nt2r,1\n"), Ok(None));
        assert!(parse_quality("a", b"variant,bleu\nt2r,1\n").is_err_and(|e| e.contains("tokens_per_s")));
        assert_eq!(parse_quality("a", b""), Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in 0usize..100, bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let mut file = FILE.as_bytes().to_vec();
            let at = at.min(file.len());
            file.splice(at..at, bytes);
            let _ = parse_quality("x", &file);
        }
    }
}
