//! The dashboard's state, and how it changes. No terminal, no clock, no thread: messages in, effects out, so that every key and
//! every run can be replayed.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

pub(crate) use super::message::{Effect, Export, Message, Phase};
use super::{
    board::{Sheet, sheets},
    compare::{Compare, Loaded},
    dialog::{Ask, Dialog},
    files::Opened,
    gauges::Gauges,
    grid::Grid,
    host::{Choices, Ended, Facts, Order},
    keys::{Action, Binding, FILES, Screen, action},
    live_run::{Begun, CellState, LiveRun},
    quality::Tradeoff,
    selection::{Charts, Selection},
    setup::{Editing, FIELDS, Setup},
    theme::Theme,
    training::Trainings,
};
use crate::{
    measure::{Build, Machine, MeasuredLimits},
    store::Row,
    sweep::Event,
};

/// The dashboard's state.
pub struct App {
    pub(crate) theme: Theme,
    pub(crate) screen: Screen,
    pub(crate) help: bool,
    pub(crate) help_scroll: u16,
    pub(crate) dialog: Option<Dialog>,
    /// What is told until the next key.
    pub(crate) notice: Option<String>,
    pub(crate) now: Duration,
    pub(crate) facts: Facts,
    pub(crate) gauges: Gauges,
    pub(crate) phase: Phase,
    pub(crate) run: Option<LiveRun>,
    pub(crate) order: Order,
    pub(crate) setup: Setup,
    pub(crate) selection: Selection,
    pub(crate) sheets: Vec<Sheet>,
    /// What each row at hand is called among those of its sheet.
    pub(crate) names: Vec<String>,
    pub(crate) charts: Charts,
    pub(crate) grid: Grid,
    pub(crate) compare: Compare,
    /// Sheets and charts of the file that is laid over.
    pub(crate) overlay: Charts,
    pub(crate) overlay_sheet: Option<Sheet>,
    pub(crate) trainings: Trainings,
    /// Whether Live shows trainings rather than cells.
    pub(crate) shows_training: bool,
    /// Whether what goes is a training.
    pub(crate) trains: bool,
    pub(crate) tradeoff: Tradeoff,
    pub(crate) limits: Option<MeasuredLimits>,
    pub(crate) measuring_limits: bool,
    /// Whether leaving was asked for while a run goes.
    pub(crate) leaving: bool,
    /// Why the last run broke off or did not begin, if it did.
    pub(crate) failed: Option<String>,
    /// Whether rows or files are others than those that were compared last.
    compare_is_stale: bool,
}

impl App {
    pub(crate) fn new(theme: Theme, facts: Facts, choices: Choices) -> Self {
        Self {
            theme,
            screen: Screen::Setup,
            help: false,
            help_scroll: 0,
            dialog: None,
            notice: None,
            now: Duration::ZERO,
            facts,
            gauges: Gauges::default(),
            phase: Phase::Idle,
            run: None,
            order: Order::default(),
            setup: Setup { choices, ..Setup::default() },
            selection: Selection { batch: usize::MAX, ..Selection::default() },
            sheets: Vec::new(),
            names: Vec::new(),
            charts: Charts::default(),
            grid: Grid::default(),
            compare: Compare::default(),
            overlay: Charts::default(),
            overlay_sheet: None,
            trainings: Trainings::default(),
            shows_training: false,
            trains: false,
            tradeoff: Tradeoff::default(),
            limits: None,
            measuring_limits: false,
            leaving: false,
            failed: None,
            compare_is_stale: false,
        }
    }

    /// A dashboard that shows the rows of a file and measures nothing.
    #[must_use]
    pub fn showing(theme: Theme, name: &str, rows: Vec<Row>) -> Self {
        let facts = Facts {
            machine: Machine::detect(&[]),
            build: Build::current(),
            devices: Vec::new(),
            profiles: Vec::new(),
            variants: Vec::new(),
        };
        let mut app = Self::new(theme, facts, Choices::default());
        app.opened(vec![Ok(Opened::Cells(Loaded { name: name.to_owned(), rows, note: String::new() }))]);
        app.notice = None;
        app
    }

    /// Turns to a screen.
    pub fn go(&mut self, screen: Screen) {
        self.screen = screen;
        self.compare_if_shown();
    }

    /// The rows at hand: those of the run, or of the first file.
    pub(crate) fn rows(&self) -> &[Row] {
        match &self.run {
            Some(run) => &run.rows,
            None => self.compare.files.first().map_or(&[], |f| &f.rows),
        }
    }

    /// The rows at hand that something is known of.
    pub(crate) fn rows_to_write(&self) -> Vec<Row> {
        self.rows().iter().filter(|row| !row.status.is_empty()).cloned().collect()
    }

    /// What is known of a row at hand.
    pub(crate) fn state(&self, row: usize) -> CellState {
        self.run.as_ref().and_then(|r| r.states.get(row)).copied().unwrap_or(CellState::Final)
    }

    /// What is said of a cell without a row.
    pub(crate) fn without_row(&self, cell: usize) -> &'static str {
        match self.state(cell) {
            CellState::Running => "now",
            _ if self.run.as_ref().is_some_and(|run| run.left_out.contains(&cell)) => "left out",
            _ if self.is_busy() => "waiting",
            _ => "not run",
        }
    }

    /// Whether a run goes, or is about to.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Running { .. } | Phase::Cancelling)
    }

    /// Whether the measuring thread is to stand still at its next rest.
    pub(crate) fn wants_pause(&self) -> bool {
        self.phase == Phase::Running { pausing: true }
    }

    /// The sheet that is shown.
    pub(crate) fn sheet(&self) -> Option<&Sheet> {
        self.sheets.get(self.selection.sheet)
    }

    /// Takes a message; says what is to be done outside.
    pub(crate) fn update(&mut self, message: Message) -> Option<Effect> {
        let effect = self.take(message);
        self.compare_if_shown();
        effect
    }

    fn take(&mut self, message: Message) -> Option<Effect> {
        match message {
            Message::Key(event) => return self.key(&event),
            Message::Pasted(text) => return self.paste(&text),
            Message::Tick(now, gauges) => {
                if self.wants_pause() {
                    self.stand_still(now.saturating_sub(self.now));
                }
                self.now = now;
                self.gauges = gauges.unwrap_or_else(|| std::mem::take(&mut self.gauges));
            }
            Message::Planned(outlook) => self.setup.planned(*outlook),
            Message::Begun(begun) => self.begin(*begun),
            Message::Events(events) => self.events(&events),
            Message::Ended(ended) => return self.end(ended),
            Message::Opened(files) => self.opened(files),
            Message::News(news) => self.news(news),
            Message::Listed(dir, entries) => self.listed(dir, entries),
            Message::Exists(export, path) => self.dialog = Some(Dialog::Confirm(Ask::Overwrite(export, path))),
            Message::Wrote(result) => self.notice = Some(result.unwrap_or_else(|e| format!("not written: {e}"))),
            Message::Limits(limits) => {
                self.measuring_limits = false;
                self.limits = Some(*limits);
            }
            Message::Unfinished(runs) => {
                if !runs.is_empty() && self.dialog.is_none() {
                    self.dialog = Some(Dialog::Resume { runs, at: 0 });
                }
            }
            Message::Notice(text) => self.notice = Some(text),
            Message::Terminate => return Some(self.leave()),
        }
        None
    }

    /// Leaves, or ends the run first and leaves then.
    pub(crate) fn leave(&mut self) -> Effect {
        if self.is_busy() && !self.leaving {
            self.leaving = true;
            self.phase = Phase::Cancelling;
            return Effect::Cancel;
        }
        Effect::Quit
    }

    fn key(&mut self, event: &KeyEvent) -> Option<Effect> {
        if event.kind == KeyEventKind::Release {
            return None;
        }
        self.notice = None;
        let is_ctrl_c = event.code == KeyCode::Char('c') && event.modifiers.contains(KeyModifiers::CONTROL);
        if is_ctrl_c && self.leaving {
            return Some(Effect::Quit);
        }
        if action(self.screen, event) == Some(Action::Suspend) {
            return Some(Effect::Suspend);
        }
        if let Some(dialog) = self.dialog.take() {
            return self.dialog_key(dialog, event);
        }
        if self.help {
            return self.help_key(event);
        }
        if self.screen == Screen::Setup && self.setup.editing.is_some() {
            let changed = self.setup.edit(event);
            return changed.then(|| Effect::Plan(self.setup.choices.clone()));
        }
        if self.screen == Screen::Compare && self.compare.picker.is_some() {
            return self.picker_key(event);
        }
        self.act(action(self.screen, event)?)
    }

    /// The keys of what stands over the screen, where something does.
    pub(crate) fn keys_over(&self) -> Option<&'static [Binding]> {
        if let Some(dialog) = &self.dialog {
            return Some(dialog.keys());
        }
        match self.screen {
            Screen::Setup => self.setup.editing.as_ref().map(Editing::keys),
            Screen::Compare => self.compare.picker.as_ref().map(|_| FILES),
            _ => None,
        }
    }

    fn help_key(&mut self, event: &KeyEvent) -> Option<Effect> {
        match action(self.screen, event) {
            Some(Action::Down | Action::PageDown) => self.help_scroll = self.help_scroll.saturating_add(5).min(100),
            Some(Action::Up | Action::PageUp) => self.help_scroll = self.help_scroll.saturating_sub(5),
            // Any other key closes the help, and these also do what they say.
            Some(a @ Action::Go(_)) => {
                self.help = false;
                return self.act(a);
            }
            _ => self.help = false,
        }
        None
    }

    fn paste(&mut self, text: &str) -> Option<Effect> {
        let line: String = text.chars().filter(|c| !c.is_control()).collect();
        for c in line.chars() {
            let takes_text = self.dialog.as_ref().is_some_and(Dialog::takes_text)
                || (self.screen == Screen::Setup && self.setup.editing.is_some());
            if !takes_text {
                return None;
            }
            self.key(&KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
        }
        None
    }

    fn begin(&mut self, begun: Begun) {
        let mut run = LiveRun::new(begun, self.now);
        let id = |run: &LiveRun| run.begun().info.template.run_id.clone();
        let is_part = !self.order.only.is_empty();
        if let Some(old) = self.run.take() {
            let name = format!("run {}", id(&old));
            // A run is told of twice, the second time with what watching it costs.
            let is_told_again = id(&old) == id(&run);
            let rows = if is_part || is_told_again { run.follow_up(old) } else { old.written() };
            if !rows.is_empty() && !is_told_again {
                self.compare.files.insert(0, Loaded { name, rows, note: String::new() });
            }
        }
        self.setup.fixed_threads = run.plan().cells().next().map(|c| c.n_threads);
        self.run = Some(run);
        self.phase = Phase::Running { pausing: false };
        self.shows_training = false;
        if !is_part {
            self.screen = Screen::Live;
            self.selection = Selection { batch: usize::MAX, linear: self.selection.linear, ..Selection::default() };
        }
        self.refresh_rows();
        if let Some(cell) = self.order.only.first() {
            let row = self.rows().iter().position(|row| row.cell_id == cell.0);
            self.grid.go_to(row);
        }
    }

    fn events(&mut self, events: &[Event]) {
        let Some(run) = &mut self.run else { return };
        run.now = self.now;
        let mut changed = false;
        for event in events {
            changed |= run.on_event(event);
        }
        if changed {
            run.settle();
            self.follow();
            self.refresh_charts();
        }
    }

    /// A pause is no part of the pace.
    fn stand_still(&mut self, span: Duration) {
        self.trainings.stand_still(span);
        if let Some(run) = &mut self.run {
            run.started += span;
        }
    }

    /// Turns to the sheet and batch of the cell in hand when the run comes to another group.
    fn follow(&mut self) {
        let Some(run) = &self.run else { return };
        let Some(cell) = run.last.as_ref().map(|l| l.cell).filter(|_| run.outcome.is_none()) else { return };
        if run.followed == run.group {
            return;
        }
        let batch = run.rows[cell].batch_size;
        let at = self.sheets.iter().position(|s| s.rows.iter().any(|(i, _)| *i == cell));
        if let Some(at) = at {
            self.selection.sheet = at;
            self.selection.batch = self.sheets[at].batches.iter().position(|b| *b == batch).unwrap_or(0);
        }
        if let Some(run) = &mut self.run {
            run.followed = run.group;
        }
    }

    fn end(&mut self, ended: Result<Ended, String>) -> Option<Effect> {
        if std::mem::take(&mut self.trains) {
            return self.end_training(ended);
        }
        let had_begun = self.phase != Phase::Starting;
        self.failed = ended.as_ref().err().cloned();
        self.phase = if self.run.is_some() { Phase::Finished } else { Phase::Idle };
        match ended {
            Ok(ended) => {
                let o = ended.outcome;
                let how = if o.interrupted { "ended early" } else { "finished" };
                let mut text = format!("{how}: {} cells ok", o.cells_ok);
                if o.skipped_by_budget > 0 {
                    text.push_str(&format!(", {} skipped by a budget", o.skipped_by_budget));
                }
                if o.cells_not_ok > 0 {
                    text.push_str(&format!(", {} not ok", o.cells_not_ok));
                }
                ended.warnings.iter().for_each(|w| text.push_str(&format!("; {w}")));
                // Who leaves has no more keys to press.
                let next = if self.leaving { "" } else { " · w writes the CSV, 3 Grid, 4 Compare" };
                self.notice = Some(text + next);
            }
            Err(why) => {
                self.notice = Some(format!("the run {}: {why}", if had_begun { "broke off" } else { "did not begin" }));
            }
        }
        self.leaving.then_some(Effect::Quit)
    }

    /// After other rows came to be at hand.
    pub(crate) fn refresh_rows(&mut self) {
        self.sheets = sheets(self.rows());
        self.names = vec![String::new(); self.rows().len()];
        for sheet in &self.sheets {
            for (row, line) in &sheet.rows {
                self.names[*row].clone_from(&sheet.lines[*line].name);
            }
        }
        self.selection.clamp(&self.sheets);
        self.refresh_charts();
    }

    /// After rows or what is chosen of them changed.
    pub(crate) fn refresh_charts(&mut self) {
        let mut grid = std::mem::take(&mut self.grid);
        grid.refresh(self.rows());
        self.grid = grid;
        self.charts = Charts::of(&self.selection, &self.sheets, self.rows());
        self.compare.clamp(self.run.is_some());
        self.compare_is_stale = true;
    }

    /// Compares anew where rows have changed and someone looks: many cells take a while.
    fn compare_if_shown(&mut self) {
        if self.screen != Screen::Compare || !std::mem::take(&mut self.compare_is_stale) {
            return;
        }
        self.compare.refresh(self.run.as_ref().map(|run| run.rows.as_slice()));
        (self.overlay, self.overlay_sheet) = overlay(&self.selection, &self.sheets, &self.compare);
    }

    /// Index of the setup's start line.
    pub(crate) fn start_line(&self) -> usize {
        FIELDS.len()
    }
}

/// Charts of the file that is laid over: those of the sheet with the same title.
fn overlay(selection: &Selection, sheets: &[Sheet], compare: &Compare) -> (Charts, Option<Sheet>) {
    let Some((sheet, file)) = sheets.get(selection.sheet).zip(compare.other()) else {
        return (Charts::default(), None);
    };
    let batch = selection.batch(sheet);
    let others = super::board::sheets(&file.rows);
    // Threads and device may differ: that is what one compares.
    let head = |s: &Sheet| s.title.rsplit_once(" · ").map_or_else(|| s.title.clone(), |(head, _)| head.to_owned());
    let Some(at) = others.iter().position(|s| head(s) == head(sheet)) else { return (Charts::default(), None) };
    let Some(batch) = others[at].batches.iter().position(|b| *b == batch) else { return (Charts::default(), None) };
    let chosen = Selection { sheet: at, batch, ..selection.clone() };
    (Charts::of(&chosen, &others, &file.rows), others.into_iter().nth(at))
}

#[cfg(test)]
mod tests;
