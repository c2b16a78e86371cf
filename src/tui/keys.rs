//! The one table of keys: what a key does where, and in which words, on screens and in what stands over them. Bindings, footer
//! and help are all made of it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The screens, in the order of their tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// What to run.
    Setup,
    /// Charts, and the cell in hand.
    Live,
    /// Ratios to softmax, and every cell.
    Grid,
    /// Against other files.
    Compare,
    /// Quality against speed.
    Tradeoff,
    /// The machine and its limits.
    Machine,
}

impl Screen {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Setup, Self::Live, Self::Grid, Self::Compare, Self::Tradeoff, Self::Machine];

    /// On its tab.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Setup => "Setup",
            Self::Live => "Live",
            Self::Grid => "Grid",
            Self::Compare => "Compare",
            Self::Tradeoff => "Tradeoff",
            Self::Machine => "Machine",
        }
    }
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Go(Screen),
    Help,
    Quit,
    Suspend,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    First,
    Last,
    Enter,
    Back,
    Start,
    Clear,
    Pause,
    Skip,
    Cancel,
    Rerun,
    MoreRounds,
    NextChart,
    NextBatch,
    PreviousBatch,
    NextSheet,
    PreviousSheet,
    LogLinear,
    Sort,
    Reverse,
    Filter,
    NextLine,
    Detail,
    OpenFile,
    CloseFile,
    Turn,
    Swap,
    MeasureLimits,
    WriteCsv,
    WriteScreen,
    Glyphs,
    Ground,
    Resume,
    Discard,
    Yes,
    No,
    Toggle,
    All,
    Type,
}

impl Action {
    /// Where it moves to in a list whose last line is `last`; `None` for what is no motion.
    pub(crate) fn moved(self, at: usize, last: usize) -> Option<usize> {
        Some(match self {
            Self::Up => at.saturating_sub(1),
            Self::Down => (at + 1).min(last),
            Self::PageUp => at.saturating_sub(PAGE),
            Self::PageDown => (at + PAGE).min(last),
            Self::First => 0,
            Self::Last => last,
            _ => return None,
        })
    }
}

/// Lines that a page is in every list.
const PAGE: usize = 10;

/// One line of the table.
pub(crate) struct Binding {
    /// Keys that do it.
    keys: &'static [(KeyCode, bool)],
    /// The keys as people write them.
    pub(crate) label: &'static str,
    pub(crate) action: Action,
    /// What it does, in a word or two for the footer.
    pub(crate) brief: &'static str,
    /// What it does, in the help.
    pub(crate) what: &'static str,
    /// Where; empty means everywhere.
    screens: &'static [Screen],
    /// Whether the footer names it.
    pub(crate) in_footer: bool,
}

const fn plain(c: char) -> (KeyCode, bool) {
    (KeyCode::Char(c), false)
}

const fn ctrl(c: char) -> (KeyCode, bool) {
    (KeyCode::Char(c), true)
}

const fn key(code: KeyCode) -> (KeyCode, bool) {
    (code, false)
}

macro_rules! table {
    ($(#[$doc:meta])+ $name:ident: $($keys:expr, $label:literal, $action:expr, $brief:literal, $what:literal, $screens:expr, $footer:literal;)+) => {
        $(#[$doc])+
        pub(crate) const $name: &[Binding] = &[$(Binding {
            keys: $keys, label: $label, action: $action, brief: $brief, what: $what, screens: $screens, in_footer: $footer,
        },)+];
    };
}

use Screen::{Compare, Grid, Live, Machine, Setup, Tradeoff};

const CHARTS: &[Screen] = &[Live, Grid, Compare];

table! {
    /// Every key of the screens, those of one screen first.
    TABLE:
    &[plain('s')], "s", Action::Start, "start", "start the run", &[Setup], true;
    &[key(KeyCode::Enter)], "enter", Action::Enter, "edit", "edit the field, or start on the last line", &[Setup], true;
    &[plain('x'), key(KeyCode::Delete), key(KeyCode::Backspace)], "x", Action::Clear, "as profile", "leave the field to the profile again", &[Setup], true;
    &[plain('n')], "n", Action::Skip, "skip", "go on without the cell in hand; in Grid the selected one", &[Live, Grid], true;
    &[plain('f'), key(KeyCode::Enter)], "f", Action::OpenFile, "open file", "open a CSV file and lay it over", &[Compare, Tradeoff], true;
    &[plain('d')], "d", Action::Detail, "differences", "what differs around the cells, and whether that matters", &[Compare], true;
    &[key(KeyCode::Tab)], "tab", Action::NextChart, "next chart", "turn to the next chart", &[Live, Compare, Tradeoff], true;
    &[plain('b')], "b", Action::NextBatch, "batch", "next batch size", CHARTS, true;
    &[plain('B')], "B", Action::PreviousBatch, "batch back", "previous batch size", CHARTS, false;
    &[plain('b')], "b", Action::NextBatch, "context", "next length of context", &[Tradeoff], true;
    &[plain('B')], "B", Action::PreviousBatch, "context back", "previous length of context", &[Tradeoff], false;
    &[plain(']')], "]", Action::NextSheet, "workload", "next workload or shape, or training", CHARTS, true;
    &[plain('[')], "[", Action::PreviousSheet, "workload back", "previous workload or shape, or training", CHARTS, false;
    &[plain('l')], "l", Action::LogLinear, "log/linear", "logarithmic or linear y axis", &[Live, Compare, Tradeoff], true;
    &[plain('t')], "t", Action::Turn, "training/cells", "turn from cells to trainings and back", &[Live], true;
    &[key(KeyCode::Enter), plain('d')], "enter", Action::Detail, "details", "everything the selected row knows", &[Grid], true;
    &[plain('v')], "v", Action::NextLine, "variant", "next variant of the map", &[Grid], true;
    &[plain('o')], "o", Action::Sort, "sort", "sort by the next column", &[Grid, Compare], true;
    &[plain('O')], "O", Action::Reverse, "reverse", "turn the order around", &[Grid, Compare], false;
    &[plain('/')], "/", Action::Filter, "filter", "show only rows that hold these words", &[Grid], true;
    &[plain('r')], "r", Action::Rerun, "rerun", "measure the selected cell and its softmax twin anew; its rows before are in Compare", &[Grid], true;
    &[plain('m')], "m", Action::MoreRounds, "more rounds", "the same with twice the rounds", &[Grid], false;
    &[plain('s')], "s", Action::Swap, "swap", "the other file is at hand then, which Live and Grid show", &[Compare], true;
    &[plain('x'), key(KeyCode::Delete)], "x", Action::CloseFile, "close file", "close the file that was laid over last", &[Compare], true;
    &[plain('m')], "m", Action::MeasureLimits, "measure", "measure what the machine can reach (some seconds, all cores)", &[Machine], true;
    &[plain('w')], "w", Action::WriteCsv, "write csv", "write the rows that are shown as CSV", &[Live, Grid, Compare], true;
    &[plain(' ')], "space", Action::Pause, "pause", "pause after the visit in hand, or go on", &[], true;
    &[plain('k')], "k", Action::Cancel, "cancel", "end the run; what it has done is kept", &[], true;
    &[plain('W')], "W", Action::WriteScreen, "screen to file", "write this screen as .svg or .txt", &[], false;
    &[plain('1')], "1", Action::Go(Setup), "setup", "Setup: what to run", &[], false;
    &[plain('2')], "2", Action::Go(Live), "live", "Live: charts and the cell in hand", &[], false;
    &[plain('3')], "3", Action::Go(Grid), "grid", "Grid: ratios to softmax, and every cell", &[], false;
    &[plain('4')], "4", Action::Go(Compare), "compare", "Compare: against other files", &[], false;
    &[plain('5')], "5", Action::Go(Tradeoff), "tradeoff", "Tradeoff: quality against speed and memory", &[], false;
    &[plain('6')], "6", Action::Go(Machine), "machine", "Machine: what it is and what it can reach", &[], false;
    &[key(KeyCode::Up)], "↑", Action::Up, "up", "up", &[], false;
    &[key(KeyCode::Down)], "↓", Action::Down, "down", "down", &[], false;
    &[key(KeyCode::Left)], "←", Action::Left, "left", "left; in Setup the previous choice", &[], false;
    &[key(KeyCode::Right)], "→", Action::Right, "right", "right; in Setup the next choice", &[], false;
    &[key(KeyCode::PageUp)], "pgup", Action::PageUp, "page up", "a page up", &[], false;
    &[key(KeyCode::PageDown)], "pgdn", Action::PageDown, "page down", "a page down", &[], false;
    &[key(KeyCode::Home), plain('g')], "home", Action::First, "first", "to the first line", &[], false;
    &[key(KeyCode::End), plain('G')], "end", Action::Last, "last", "to the last line", &[], false;
    &[key(KeyCode::Esc)], "esc", Action::Back, "back", "close what is open, drop the filter", &[], false;
    &[plain('%')], "%", Action::Glyphs, "glyphs", "lines of braille, of dots or of plain characters", &[], false;
    &[plain('$')], "$", Action::Ground, "ground", "colours for dark or for light background", &[], false;
    &[ctrl('z')], "ctrl-z", Action::Suspend, "suspend", "suspend; a run pauses first, fg comes back", &[], false;
    &[plain('?'), key(KeyCode::F(1))], "?", Action::Help, "help", "this help", &[], true;
    &[plain('q'), ctrl('c')], "q", Action::Quit, "quit", "leave; asks once while a run goes", &[], true;
}

const PRESSED_ENTER: (KeyCode, bool) = key(KeyCode::Enter);
const PRESSED_ESC: (KeyCode, bool) = key(KeyCode::Esc);

table! {
    /// Where runs that were not finished are offered.
    OFFER:
    &[plain('r'), PRESSED_ENTER], "r", Action::Resume, "resume", "go on with the selected run where it stopped", &[], true;
    &[plain('d'), key(KeyCode::Delete)], "d", Action::Discard, "discard", "never offer it again; its rows stay in their file", &[], true;
    &[plain('l'), plain('q'), PRESSED_ESC, ctrl('c')], "l", Action::No, "later", "offer it again when the dashboard opens the next time", &[], true;
}

table! {
    /// Where yes or no is asked.
    QUESTION:
    &[plain('y'), plain('Y'), PRESSED_ENTER, ctrl('c')], "y", Action::Yes, "yes", "do it", &[], true;
    &[plain('n'), plain('N'), plain('q'), PRESSED_ESC], "n", Action::No, "no", "go back, nothing done", &[], true;
}

table! {
    /// Where text is typed. All that is not here is [`super::text_line`]'s.
    TYPING:
    &[PRESSED_ENTER], "enter", Action::Yes, "take it", "take what was typed", &[], true;
    &[PRESSED_ESC, ctrl('c')], "esc", Action::No, "leave it", "leave it as it was", &[], true;
    &[ctrl('u')], "ctrl-u", Action::Clear, "delete", "delete to the left; ctrl-w the word, ctrl-a and ctrl-e to the ends", &[], true;
}

table! {
    /// Where some of a list's words are picked.
    WORDS:
    &[plain(' ')], "space", Action::Toggle, "on or off", "take the word under the cursor, or leave it out", &[], true;
    &[plain('a')], "a", Action::All, "all", "take all of them, or none", &[], true;
    &[plain('e')], "e", Action::Type, "type", "type them: parameters too, as in window:64", &[], true;
    &[PRESSED_ENTER], "enter", Action::Yes, "take them", "take the words that are marked", &[], true;
    &[PRESSED_ESC, plain('q'), ctrl('c')], "esc", Action::No, "leave it", "leave it as it was", &[], true;
}

table! {
    /// Where a file is picked.
    FILES:
    &[PRESSED_ENTER], "enter", Action::Yes, "open", "open the file or the folder under the cursor", &[], true;
    &[plain('/')], "/", Action::Type, "type a path", "type the path of a file", &[], true;
    &[PRESSED_ESC, plain('q'), ctrl('c')], "esc", Action::No, "back", "open nothing", &[], true;
}

/// What may stand over a screen and has the keys then, with the words of the help.
pub(crate) const OVER: [(&str, &[Binding]); 5] = [
    ("Where runs were not finished", OFFER),
    ("Where yes or no is asked", QUESTION),
    ("While typing", TYPING),
    ("In a list of words", WORDS),
    ("In a list of files", FILES),
];

impl Binding {
    /// Whether it holds on that screen.
    pub(crate) fn holds_on(&self, screen: Screen) -> bool {
        self.screens.is_empty() || self.screens.contains(&screen)
    }

    /// Whether it belongs to some screens only.
    pub(crate) fn is_particular(&self) -> bool {
        !self.screens.is_empty()
    }
}

/// What a key asks for on a screen.
pub(crate) fn action(screen: Screen, event: &KeyEvent) -> Option<Action> {
    find(TABLE.iter().filter(|b| b.holds_on(screen)), event)
}

/// What a key asks for in what stands over a screen.
pub(crate) fn action_over(table: &[Binding], event: &KeyEvent) -> Option<Action> {
    find(table.iter(), event)
}

fn find<'b>(mut bindings: impl Iterator<Item = &'b Binding>, event: &KeyEvent) -> Option<Action> {
    let pressed = (event.code, event.modifiers.contains(KeyModifiers::CONTROL));
    bindings.find(|b| b.keys.contains(&pressed)).map(|b| b.action)
}

/// Where a key moves to in a list that is open over a screen.
pub(crate) fn moved(event: &KeyEvent, at: usize, last: usize) -> Option<usize> {
    // Motions are the same on every screen.
    action(Screen::Machine, event)?.moved(at, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_on_one_screen() {
        for screen in Screen::ALL {
            let mut seen: Vec<(KeyCode, bool)> = Vec::new();
            for key in TABLE.iter().filter(|b| b.holds_on(screen)).flat_map(|b| b.keys) {
                assert!(!seen.contains(key), "{key:?} twice on {}", screen.title());
                seen.push(*key);
            }
        }
        for (title, table) in OVER {
            let keys: Vec<_> = table.iter().flat_map(|b| b.keys).collect();
            assert!((0..keys.len()).all(|i| !keys[..i].contains(&keys[i])), "twice: {title}");
            assert!(
                table.iter().all(|b| !b.label.is_empty() && !b.brief.is_empty() && !b.what.is_empty() && b.in_footer)
            );
            assert!(table.iter().any(|b| b.keys.contains(&PRESSED_ESC)), "esc leaves: {title}");
        }
    }

    #[test]
    fn every_binding_is_reached_by_each_of_its_keys_wherever_it_holds() {
        for binding in TABLE {
            assert!(!binding.label.is_empty() && !binding.brief.is_empty() && !binding.what.is_empty());
            for screen in Screen::ALL.into_iter().filter(|s| binding.holds_on(*s)) {
                for (code, control) in binding.keys {
                    let modifiers = if *control { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
                    assert_eq!(action(screen, &KeyEvent::new(*code, modifiers)), Some(binding.action));
                }
            }
        }
    }

    #[test]
    fn motions_stay_in_the_list() {
        let moves = [Action::Up, Action::Down, Action::PageUp, Action::PageDown, Action::First, Action::Last];
        assert_eq!(moves.map(|a| a.moved(3, 20)), [2, 4, 0, 13, 0, 20].map(Some));
        assert_eq!(moves.map(|a| a.moved(0, 0)), [Some(0); 6]);
        assert_eq!(Action::Enter.moved(3, 20), None);
    }

    #[test]
    fn each_screen_is_reached_by_its_number_from_everywhere() {
        for (i, target) in Screen::ALL.into_iter().enumerate() {
            let digit = char::from_digit(i as u32 + 1, 10).expect("a digit");
            for screen in Screen::ALL {
                let pressed = KeyEvent::new(KeyCode::Char(digit), KeyModifiers::NONE);
                assert_eq!(action(screen, &pressed), Some(Action::Go(target)));
            }
        }
    }
}
