//! The tokenisation `13a` of machine-translation evaluation (NIST mteval-v13a), by which BLEU scores are comparable.

/// Entities of SGML that stand for one character each, in the order in which they are undone.
const ENTITIES: [(&str, &str); 4] = [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")];

/// Words and punctuation of a line. Punctuation stands alone, but for apostrophes and hyphens, and for full stops and
/// commas between digits; a hyphen after a digit stands alone.
#[must_use]
pub fn tokenize_13a(line: &str) -> Vec<String> {
    let mut line = line.trim_end().replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    if line.contains('&') {
        for (entity, character) in ENTITIES {
            line = line.replace(entity, character);
        }
    }
    let spaced: Vec<char> = format!(" {line} ").chars().flat_map(alone).collect();
    let spaced = around_pairs(&spaced, |a, b| !a.is_ascii_digit() && is_point(b), false);
    let spaced = around_pairs(&spaced, |a, b| is_point(a) && !b.is_ascii_digit(), true);
    let spaced = around_pairs(&spaced, |a, b| a.is_ascii_digit() && b == '-', false);
    let text: String = spaced.into_iter().collect();
    text.split(is_space).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn is_point(c: char) -> bool {
    c == '.' || c == ','
}

/// White space, and the four separators of ASCII that older standards count as such.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The character with spaces around it, if it is punctuation that always stands alone.
fn alone(c: char) -> impl Iterator<Item = char> {
    let stands_alone = matches!(c, ' '..='&' | '('..='+' | '/' | ':'..='@' | '['..='`' | '{'..='~');
    let around = stands_alone.then_some(' ');
    around.into_iter().chain([c]).chain(around)
}

/// Two neighbours that belong together as `is_pair` says are set apart: a space between, and one before or behind both.
/// Pairs are found from the left and do not overlap.
fn around_pairs(text: &[char], is_pair: impl Fn(char, char) -> bool, before: bool) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        match tail.first() {
            Some(&second) if is_pair(first, second) => {
                out.extend(if before { [' ', first, ' ', second] } else { [first, ' ', second, ' '] });
                rest = &tail[1..];
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made with sacrebleu 2.6.0 from PyPI: `' '.join(Tokenizer13a()(line).split())`.
    #[test]
    fn as_sacrebleu_has_it() {
        let cases = [
            ("Hello, world!", "Hello , world !"),
            ("It's 3.14, not 3,14 - or is it?", "It's 3.14 , not 3,14 - or is it ?"),
            ("a-b 5-3 x.y. ...", "a-b 5 - 3 x . y . . . ."),
            ("&quot;AT&amp;T&quot; &lt;b&gt;", "\" AT & T \" < b >"),
            ("1,000.50$ (50%) [x] {y}", "1,000.50 $ ( 50 % ) [ x ] { y }"),
            ("Größe: 10,5 cm; «ja»", "Größe : 10,5 cm ; «ja»"),
            ("..,,.", ". . , , ."),
            (".5 5. ,x x,", ". 5 5 . , x x ,"),
            ("", ""),
            ("  spaces\tand\u{a0}more  ", "spaces and more"),
            ("&amp;lt; <skipped>x-\ny", "< xy"),
        ];
        for (line, want) in cases {
            assert_eq!(tokenize_13a(line).join(" "), want, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_no_word_is_empty(line in "\\PC{0,40}|[a-z0-9.,&;<>-]{0,40}") {
            prop_assert!(tokenize_13a(&line).iter().all(|word| !word.is_empty() && !word.contains(' ')));
        }
    }
}
