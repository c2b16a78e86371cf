//! What each action of the key table does. Knows the state, not which key it was.

use super::{
    app::{App, Effect, Export, Phase},
    dialog::{Ask, Dialog, Purpose},
    host::Order,
    keys::{Action, Screen},
    live_run::CellState,
};
use crate::{
    spec::{Cell, CellId},
    store::Row,
    sweep::Overrides,
};

impl App {
    pub(crate) fn act(&mut self, action: Action) -> Option<Effect> {
        match action {
            Action::Go(screen) => self.screen = screen,
            Action::Help => (self.help, self.help_scroll) = (true, 0),
            Action::Quit if self.is_busy() => self.dialog = Some(Dialog::Confirm(Ask::Quit)),
            Action::Quit => return Some(self.leave()),
            Action::Suspend => return Some(Effect::Suspend),
            Action::Glyphs => self.theme = self.theme.next_glyphs(),
            Action::Ground => self.theme = self.theme.other_ground(),
            Action::WriteCsv => return self.ask_csv(),
            Action::WriteScreen => {
                let name = format!("t2r-{}.svg", self.screen.title().to_lowercase());
                self.dialog = Some(Dialog::input(Purpose::Write(Export::Screen), &name));
            }
            Action::Start => return self.start(),
            Action::Pause => self.pause(),
            Action::Cancel if self.is_busy() => self.dialog = Some(Dialog::Confirm(Ask::Cancel)),
            Action::Cancel => self.notice = Some("no run goes".to_owned()),
            Action::Skip => return self.skip(),
            Action::Rerun => return self.rerun(1),
            Action::MoreRounds => return self.rerun(2),
            Action::MeasureLimits => return self.measure_limits(),
            Action::OpenFile => return Some(self.open_file()),
            Action::Swap => self.swap(),
            Action::Filter => self.dialog = Some(Dialog::input(Purpose::Filter, &self.grid.filter.clone())),
            Action::Turn => self.shows_training = !self.shows_training && !self.trainings.is_empty(),
            _ => return self.act_on_screen(action),
        }
        None
    }

    fn act_on_screen(&mut self, action: Action) -> Option<Effect> {
        if self.screen == Screen::Live && self.shows_training && self.trainings.act(action) {
            return None;
        }
        if self.screen == Screen::Tradeoff && action != Action::LogLinear {
            self.tradeoff.act(action);
            return None;
        }
        let there_is_one = match action {
            Action::NextBatch | Action::PreviousBatch => {
                self.sheet().filter(|s| s.batches.len() < 2).map(|_| "there is one batch size here")
            }
            Action::NextSheet | Action::PreviousSheet => {
                (self.sheets.len() == 1).then_some("there is one workload here")
            }
            _ => None,
        };
        if let Some(text) = there_is_one {
            self.notice = Some(text.to_owned());
            return None;
        }
        if self.screen != Screen::Setup && self.selection.act(action, &self.sheets) {
            self.refresh_charts();
            return None;
        }
        match self.screen {
            Screen::Setup if action == Action::Enter && self.setup.at == self.start_line() => return self.start(),
            Screen::Setup => {
                let is_threads = super::setup::FIELDS.get(self.setup.at).is_some_and(|f| f.name == "threads");
                if is_threads && action == Action::Enter && self.setup.fixed_threads.is_some() {
                    let why = "threads are fixed by the first run: leave, and come back with --threads";
                    self.notice = Some(why.to_owned());
                    return None;
                }
                let changed = self.setup.act(action, &self.facts);
                return changed.then(|| Effect::Plan(self.setup.choices.clone()));
            }
            Screen::Grid => {
                let sheet = self.sheets.get(self.selection.sheet);
                if self.grid.act(action, sheet) {
                    self.refresh_charts();
                }
            }
            Screen::Compare => {
                if action == Action::CloseFile && self.run.is_none() && self.compare.files.len() < 2 {
                    return None;
                }
                if self.compare.act(action) {
                    self.refresh_charts();
                }
            }
            Screen::Live | Screen::Tradeoff | Screen::Machine => {}
        }
        None
    }

    fn ask_csv(&mut self) -> Option<Effect> {
        if self.rows().iter().all(|row| row.status.is_empty()) {
            self.notice = Some("there are no rows to write yet".to_owned());
            return None;
        }
        let profile: String =
            self.setup.choices.profile.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let stem = if self.run.is_some() { profile.trim_matches('-').to_owned() } else { "rows".to_owned() };
        self.dialog = Some(Dialog::input(Purpose::Write(Export::Csv), &format!("t2r-{stem}.csv")));
        None
    }

    fn start(&mut self) -> Option<Effect> {
        if self.is_busy() {
            self.notice = Some("a run goes already: 2 shows it".to_owned());
            return None;
        }
        match &self.setup.outlook {
            Some(Ok(outlook)) if outlook.cells.iter().any(|c| outlook.fits(c)) => {}
            Some(Ok(_)) => {
                self.notice = Some("nothing to run: every cell would be skipped".to_owned());
                return None;
            }
            _ => {
                self.notice = Some("this cannot be run; the field with ! says why".to_owned());
                return None;
            }
        }
        let order = Order { choices: self.setup.choices.clone(), ..Order::default() };
        Some(self.begin_order(order))
    }

    fn begin_order(&mut self, order: Order) -> Effect {
        self.phase = Phase::Starting;
        self.order = order.clone();
        Effect::Start(order)
    }

    fn pause(&mut self) {
        match &mut self.phase {
            Phase::Running { pausing } => *pausing = !*pausing,
            _ => self.notice = Some("no run goes".to_owned()),
        }
    }

    fn skip(&mut self) -> Option<Effect> {
        let Some(run) = self.run.as_ref().filter(|_| self.is_busy()) else {
            self.notice = Some("no run goes".to_owned());
            return None;
        };
        let cells: Vec<usize> = match self.screen {
            Screen::Grid => self.grid.selected().map_or_else(Vec::new, |at| run.plan().visited_with(at)),
            _ => run.current.clone(),
        };
        if cells.iter().any(|at| self.state(*at) == CellState::Final) {
            self.notice = Some("the selected cell is done; r measures it again when the run is over".to_owned());
            return None;
        }
        let all: Vec<&Cell> = cells.iter().filter_map(|i| run.plan().cells().nth(*i)).collect();
        let without = match all.as_slice() {
            [] => return None,
            [one] => one.label(),
            [first, .., last] => format!("{} to {}, which are measured in one", first.label(), last.label()),
        };
        let ids = all.iter().map(|cell| cell.id()).collect();
        if let Some(run) = &mut self.run {
            run.left_out.extend(cells);
        }
        self.notice = Some(format!("going on without {without}"));
        Some(Effect::Skip(ids))
    }

    /// Measures the selected cell and its softmax twin again, with that many times the rounds that it has.
    fn rerun(&mut self, times: u32) -> Option<Effect> {
        if self.is_busy() {
            self.notice = Some("a run goes: wait for it, or cancel it with k".to_owned());
            return None;
        }
        let (Some(run), Some(at)) = (&self.run, self.grid.selected()) else {
            self.notice = Some("only cells of a run of this dashboard can be measured again".to_owned());
            return None;
        };
        let row: &Row = run.rows.get(at)?;
        let mut choices = self.order.choices.clone();
        let had = row.round_count.and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
        let rounds = run.usual_rounds.max(had).saturating_mul(times).to_string();
        if let Ok(more) = Overrides::read("rounds", &rounds) {
            choices.overrides.clear("rounds");
            choices.overrides = more.over(&choices.overrides);
        }
        let order = Order { choices, resume: None, only: vec![CellId(row.cell_id.clone())] };
        Some(self.begin_order(order))
    }

    fn measure_limits(&mut self) -> Option<Effect> {
        if self.is_busy() {
            self.notice = Some("a run goes: measuring the limits would disturb it".to_owned());
            return None;
        }
        self.measuring_limits = true;
        Some(Effect::MeasureLimits)
    }

    fn swap(&mut self) {
        if self.run.is_some() {
            self.notice = Some("the rows of the run are at hand, and stay so".to_owned());
        } else if self.compare.files.len() > 1 {
            self.compare.files.swap(0, self.compare.against);
            self.refresh_rows();
        }
    }

    fn open_file(&mut self) -> Effect {
        self.screen = Screen::Compare;
        // Reference runs lie there where the dashboard is opened in a checkout.
        Effect::List(self.compare.picker.as_ref().map_or_else(|| "results".into(), |p| p.dir.clone()))
    }
}
