//! A line of text that is being edited. Knows keys and characters, not what the text is for.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Text and where the next character goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TextLine {
    text: String,
    /// In characters.
    at: usize,
}

/// More than this is no value of anything here.
const MOST: usize = 1000;

impl TextLine {
    /// With the cursor at the end.
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), at: text.chars().count() }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What stands before the cursor, under it (a blank at the end) and behind it.
    pub(crate) fn parts(&self) -> (&str, &str, &str) {
        let (before, rest) = self.text.split_at(self.byte(self.at));
        match rest.chars().next() {
            Some(c) => (before, &rest[..c.len_utf8()], &rest[c.len_utf8()..]),
            None => (before, " ", ""),
        }
    }

    fn byte(&self, at: usize) -> usize {
        self.text.char_indices().nth(at).map_or(self.text.len(), |(i, _)| i)
    }

    /// Takes a key; says whether it was one for editing.
    pub(crate) fn key(&mut self, event: &KeyEvent) -> bool {
        let control = event.modifiers.contains(KeyModifiers::CONTROL);
        let len = self.text.chars().count();
        match event.code {
            KeyCode::Char('u') if control => *self = Self { text: self.text[self.byte(self.at)..].to_owned(), at: 0 },
            KeyCode::Char('a') if control => self.at = 0,
            KeyCode::Char('e') if control => self.at = len,
            KeyCode::Char('w') if control => {
                let before = &self.text[..self.byte(self.at)];
                let kept = before.trim_end_matches(|c: char| !c.is_alphanumeric());
                let kept = kept.trim_end_matches(char::is_alphanumeric);
                *self = Self { at: kept.chars().count(), text: format!("{kept}{}", &self.text[self.byte(self.at)..]) };
            }
            KeyCode::Char(_) if control => return false,
            KeyCode::Char(c) if !c.is_control() && len < MOST => {
                self.text.insert(self.byte(self.at), c);
                self.at += 1;
            }
            KeyCode::Backspace if self.at > 0 => {
                self.at -= 1;
                self.text.remove(self.byte(self.at));
            }
            KeyCode::Delete if self.at < len => {
                self.text.remove(self.byte(self.at));
            }
            KeyCode::Left => self.at = self.at.saturating_sub(1),
            KeyCode::Right => self.at = (self.at + 1).min(len),
            KeyCode::Home => self.at = 0,
            KeyCode::End => self.at = len,
            KeyCode::Backspace | KeyCode::Delete => {}
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn press(line: &mut TextLine, code: KeyCode, modifiers: KeyModifiers) {
        line.key(&KeyEvent::new(code, modifiers));
    }

    #[test]
    fn characters_go_where_the_cursor_is() {
        let mut line = TextLine::new("64,2é6");
        for code in [KeyCode::Left, KeyCode::Backspace, KeyCode::Char('5'), KeyCode::End, KeyCode::Char('!')] {
            press(&mut line, code, KeyModifiers::NONE);
        }
        assert_eq!(line.text(), "64,256!");
        press(&mut line, KeyCode::Home, KeyModifiers::NONE);
        press(&mut line, KeyCode::Delete, KeyModifiers::NONE);
        assert_eq!(line.parts(), ("", "4", ",256!"));
        press(&mut line, KeyCode::End, KeyModifiers::NONE);
        press(&mut line, KeyCode::Char('w'), KeyModifiers::CONTROL);
        assert_eq!(line.text(), "4,");
        press(&mut line, KeyCode::Char('u'), KeyModifiers::CONTROL);
        assert_eq!((line.text(), line.parts()), ("", ("", " ", "")));
    }

    proptest! {
        #[test]
        fn no_keys_break_it(keys in prop::collection::vec((0u8..9, any::<char>(), any::<bool>()), 0..60)) {
            let mut line = TextLine::new("añb");
            for (kind, c, control) in keys {
                let code = match kind {
                    0 => KeyCode::Backspace,
                    1 => KeyCode::Delete,
                    2 => KeyCode::Left,
                    3 => KeyCode::Right,
                    4 => KeyCode::Home,
                    5 => KeyCode::End,
                    _ => KeyCode::Char(c),
                };
                press(&mut line, code, if control { KeyModifiers::CONTROL } else { KeyModifiers::NONE });
                let (before, under, behind) = line.parts();
                let shown = format!("{before}{under}{behind}");
                prop_assert_eq!(shown.trim_end(), line.text().trim_end());
            }
        }
    }
}
