//! BLEU of a corpus (Papineni et al. 2002), as sacrebleu computes it (Post 2018): 13a tokenisation, one reference, orders 1
//! to 4, counts of 0 smoothed exponentially.

use std::collections::HashMap;

use super::{TextError, tokenize_13a};

/// How the score was made, in sacrebleu's words.
pub const SIGNATURE: &str =
    concat!("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:t2r-", env!("CARGO_PKG_VERSION"));

/// Longest n-gram.
const ORDERS: usize = 4;

/// A score and what it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Bleu {
    /// 0 to 100.
    pub score: f64,
    /// Precision of each order, in percent.
    pub precisions: [f64; ORDERS],
    /// 1, or less where the hypotheses are shorter than the references.
    pub brevity_penalty: f64,
    /// Words of all hypotheses.
    pub hypothesis_len: usize,
    /// Words of all references.
    pub reference_len: usize,
}

/// Scores hypotheses against one reference each.
///
/// # Errors
/// Where there are not as many of one as of the other, or none.
pub fn bleu<H: AsRef<str>, R: AsRef<str>>(hypotheses: &[H], references: &[R]) -> Result<Bleu, TextError> {
    if hypotheses.len() != references.len() {
        return Err(TextError::Misaligned {
            first: "the hypotheses".to_owned(),
            first_lines: hypotheses.len(),
            second: "the references".to_owned(),
            second_lines: references.len(),
        });
    }
    if hypotheses.is_empty() {
        return Err(TextError::Empty("a corpus without a sentence".to_owned()));
    }
    let (mut correct, mut total) = ([0usize; ORDERS], [0usize; ORDERS]);
    let (mut hypothesis_len, mut reference_len) = (0, 0);
    for (hypothesis, reference) in hypotheses.iter().zip(references) {
        let (hypothesis, reference) = (tokenize_13a(hypothesis.as_ref()), tokenize_13a(reference.as_ref()));
        hypothesis_len += hypothesis.len();
        reference_len += reference.len();
        for n in 1..=ORDERS {
            let (ours, theirs) = (counts(&hypothesis, n), counts(&reference, n));
            total[n - 1] += hypothesis.len().saturating_sub(n - 1);
            correct[n - 1] += ours.iter().map(|(gram, count)| count.min(theirs.get(gram).unwrap_or(&0))).sum::<usize>();
        }
    }
    Ok(score(correct, total, hypothesis_len, reference_len))
}

fn counts(words: &[String], n: usize) -> HashMap<&[String], usize> {
    let mut counts = HashMap::new();
    words.windows(n).for_each(|gram| *counts.entry(gram).or_insert(0) += 1);
    counts
}

/// `BP · exp(Σ ln p_n / 4)`; the k-th precision without a match is 1 / (2ᵏ · its total).
fn score(correct: [usize; ORDERS], total: [usize; ORDERS], hypothesis_len: usize, reference_len: usize) -> Bleu {
    let brevity_penalty = match hypothesis_len {
        0 => 0.0,
        len if len < reference_len => (1.0 - reference_len as f64 / len as f64).exp(),
        _ => 1.0,
    };
    let (mut precisions, mut smooth) = ([0.0; ORDERS], 1.0);
    if correct.iter().any(|n| *n > 0) {
        for ((precision, correct), total) in precisions.iter_mut().zip(correct).zip(total).take_while(|(_, t)| *t > 0) {
            *precision = match correct {
                0 => {
                    smooth *= 2.0;
                    100.0 / (smooth * total as f64)
                }
                n => 100.0 * n as f64 / total as f64,
            };
        }
    }
    // ln 0 makes the mean −∞ and the score 0.
    let mean = precisions.iter().map(|p: &f64| p.ln()).sum::<f64>() / ORDERS as f64;
    Bleu { score: brevity_penalty * mean.exp(), precisions, brevity_penalty, hypothesis_len, reference_len }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made with sacrebleu 2.6.0 from PyPI: `BLEU().corpus_score(hypotheses, [references]).score`.
    #[test]
    fn as_sacrebleu_scores_it() {
        let cases: [(&[&str], &[&str], f64); 6] = [
            (
                &["The cat sat on the mat.", "It is 3.14, isn't it?"],
                &["The cat is sitting on the mat.", "It's 3.14, isn't it?"],
                55.98138844866252,
            ),
            (
                &[
                    "Öffnen Sie die Datei \"Größe\" (5,5 cm).",
                    "Klicken Sie auf OK.",
                    "Wählen Sie Extras - Optionen - Allgemein.",
                ],
                &[
                    "Öffnen Sie die Datei „Größe“ (5,5 cm).",
                    "Klicken Sie auf OK.",
                    "Wählen Sie Extras – Optionen – Allgemein.",
                ],
                52.394242760860756,
            ),
            // No 4-gram at all, and words that come oftener than in the reference.
            (&["a b c", "x"], &["a b d", "x y z w v"], 0.0),
            (&["", "the the the the the the the"], &["nothing", "the cat is on the mat"], 7.809849842300637),
            (&["completely different words here now"], &["nothing shared at all whatsoever"], 0.0),
            (&["one two three four five six"], &["one two three four five six"], 100.0),
        ];
        for (hypotheses, references, want) in cases {
            let got = bleu(hypotheses, references).unwrap();
            assert!((got.score - want).abs() < 1e-9, "{hypotheses:?}: {got:?}, expected {want}");
        }
        let short = bleu(&["a b c", "x"], &["a b d", "x y z w v"]).unwrap();
        assert_eq!((short.hypothesis_len, short.reference_len), (4, 8));
        assert!((short.brevity_penalty - 0.36787944117144233).abs() < 1e-12);
    }

    #[test]
    fn a_corpus_has_as_many_references_as_hypotheses() {
        assert!(bleu(&["a"], &["a", "b"]).unwrap_err().to_string().contains("has 1 lines"));
        assert!(bleu::<&str, &str>(&[], &[]).is_err());
    }

    proptest! {
        #[test]
        fn scores_lie_between_0_and_100(lines in prop::collection::vec(("[ab .]{0,12}", "[ab .]{0,12}"), 1..5)) {
            let (hypotheses, references): (Vec<String>, Vec<String>) = lines.into_iter().unzip();
            let score = bleu(&hypotheses, &references).unwrap().score;
            prop_assert!((0.0..=100.0 + 1e-9).contains(&score), "{}", score);
            prop_assert!((bleu(&references, &references).unwrap().score - 100.0).abs() < 1e-9
                || bleu(&references, &references).unwrap().score == 0.0);
        }
    }
}
