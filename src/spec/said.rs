//! What an error of another library says to people.

/// The text of an error of the tensor library without the backtrace that is part of it where `RUST_BACKTRACE` is set.
pub(crate) fn without_backtrace(text: &str) -> &str {
    text.split_once("\n   0: ").map_or(text, |(said, _)| said).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_ends_where_a_backtrace_begins() {
        assert_eq!(without_backtrace("no such tensor"), "no such tensor");
        assert_eq!(without_backtrace("two\nlines\n"), "two\nlines");
        assert_eq!(without_backtrace("shape mismatch\n   0: candle_core::bt\n   1: main"), "shape mismatch");
    }
}
