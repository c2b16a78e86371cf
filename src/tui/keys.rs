//! The one table of keys: what a key does where, and in which words. Bindings, footer and help are all made of it.

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
    MeasureLimits,
    WriteCsv,
    WriteScreen,
    Glyphs,
    Ground,
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
    ($($keys:expr, $label:literal, $action:expr, $brief:literal, $what:literal, $screens:expr, $footer:literal;)+) => {
        /// Every key, those of one screen first.
        pub(crate) const TABLE: &[Binding] = &[$(Binding {
            keys: $keys, label: $label, action: $action, brief: $brief, what: $what, screens: $screens, in_footer: $footer,
        },)+];
    };
}

use Screen::{Compare, Grid, Live, Machine, Setup, Tradeoff};

const CHARTS: &[Screen] = &[Live, Grid, Compare];

table! {
    &[plain('s')], "s", Action::Start, "start", "start the run", &[Setup], true;
    &[key(KeyCode::Enter)], "enter", Action::Enter, "edit", "edit the field, or start on the last line", &[Setup], true;
    &[plain('x'), key(KeyCode::Delete), key(KeyCode::Backspace)], "x", Action::Clear, "as profile", "leave the field to the profile again", &[Setup], true;
    &[plain(' ')], "space", Action::Pause, "pause", "pause after the visit in hand, or go on", &[Live, Grid], true;
    &[plain('n')], "n", Action::Skip, "skip", "go on without the cell in hand (Grid: without the selected one)", &[Live, Grid], true;
    &[plain('k')], "k", Action::Cancel, "cancel", "end the run; what it has done is kept", &[Live, Grid], true;
    &[plain('f'), key(KeyCode::Enter)], "f", Action::OpenFile, "open file", "open a CSV file and lay it over", &[Compare, Tradeoff], true;
    &[plain('d')], "d", Action::Detail, "differences", "what differs around the cells, and whether that matters", &[Compare], true;
    &[key(KeyCode::Tab)], "tab", Action::NextChart, "next chart", "turn to the next chart", &[Live, Compare, Tradeoff], true;
    &[plain('b')], "b", Action::NextBatch, "batch", "next batch size", CHARTS, true;
    &[plain('B')], "B", Action::PreviousBatch, "batch back", "previous batch size", CHARTS, false;
    &[plain(']')], "]", Action::NextSheet, "workload", "next workload or shape, or training", CHARTS, true;
    &[plain('[')], "[", Action::PreviousSheet, "workload back", "previous workload or shape, or training", CHARTS, false;
    &[plain('l')], "l", Action::LogLinear, "log/linear", "logarithmic or linear y axis", &[Live, Compare, Tradeoff], true;
    &[plain('t')], "t", Action::Turn, "training/cells", "turn from cells to trainings and back", &[Live], true;
    &[key(KeyCode::Enter), plain('d')], "enter", Action::Detail, "details", "everything the selected row knows", &[Grid], true;
    &[plain('v')], "v", Action::NextLine, "variant", "next variant of the map", &[Grid], true;
    &[plain('o')], "o", Action::Sort, "sort", "sort by the next column", &[Grid, Compare], true;
    &[plain('O')], "O", Action::Reverse, "reverse", "turn the order around", &[Grid, Compare], false;
    &[plain('/')], "/", Action::Filter, "filter", "show only rows that hold these words", &[Grid], true;
    &[plain('r')], "r", Action::Rerun, "rerun", "measure the selected cell and its softmax twin once more", &[Grid], true;
    &[plain('m')], "m", Action::MoreRounds, "more rounds", "the same with twice the rounds", &[Grid], false;
    &[plain('x'), key(KeyCode::Delete)], "x", Action::CloseFile, "close file", "close the file that was laid over last", &[Compare], true;
    &[plain('m')], "m", Action::MeasureLimits, "measure", "measure what the machine can reach (some seconds, all cores)", &[Machine], true;
    &[plain('w')], "w", Action::WriteCsv, "write csv", "write the rows that are shown as CSV", &[Live, Grid, Compare], true;
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
    let pressed = (event.code, event.modifiers.contains(KeyModifiers::CONTROL));
    TABLE.iter().find(|b| b.holds_on(screen) && b.keys.contains(&pressed)).map(|b| b.action)
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
