//! Texts of files made fit to be shown: short, on one line, without characters that cannot be seen.

/// Longest text of a file that is shown whole.
const LONGEST: usize = 160;

/// Marks of direction, and what XML does not know.
const INVISIBLE: [std::ops::RangeInclusive<char>; 4] =
    ['\u{200e}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}', '\u{fffe}'..='\u{ffff}'];

/// The text as it is shown. Escaping is the templates' business.
pub(super) fn clean(text: &str) -> String {
    shortened(text, LONGEST)
}

/// The text with at most so many characters.
pub(super) fn shortened(text: &str, longest: usize) -> String {
    // Controls have no place in HTML or XML, and marks of direction would turn the text around them.
    let is_odd = |c: char| c.is_control() || INVISIBLE.iter().any(|range| range.contains(&c));
    let mut chars = text.chars().map(|c| if is_odd(c) { '\u{fffd}' } else { c });
    let mut shown: String = chars.by_ref().take(longest).collect();
    if chars.next().is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// `1 cell`, `2 cells`.
pub(crate) fn plural(n: usize, what: &str) -> String {
    let number = super::numbers::thousands(&n.to_string());
    format!("{number} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_shown_is_replaced_and_what_is_long_is_cut() {
        assert_eq!(clean("a\u{0}b\nc\u{202e}d"), "a\u{fffd}b\u{fffd}c\u{fffd}d");
        assert_eq!(clean(&"x".repeat(10_000)).chars().count(), LONGEST);
        assert_eq!(shortened("abcd", 4), "abcd");
        assert_eq!(shortened("abcde", 4), "abc…");
        assert_eq!(plural(1, "cell"), "1 cell");
        assert_eq!(plural(1200, "cell"), "1,200 cells");
    }
}
