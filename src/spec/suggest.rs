//! "Did you mean": the nearest known word to one that was not found.

/// `", did you mean 'x'?"` for the most similar candidate, or nothing where none is close.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(text, c), c))
        .filter(|(score, _)| *score > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| format!(", did you mean '{c}'?"))
        .unwrap_or_default()
}
