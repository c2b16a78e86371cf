//! Trainings as Live shows them, one after another: from what they say while they go, or from their logs. Knows numbers and
//! curves, not how they are drawn.

use std::time::Duration;

use super::{
    app::{App, Effect, Phase},
    host::Ended,
    keys::{Action, Screen},
    plot::Point,
    quality::QualityFile,
};
use crate::{
    report::thinned,
    store::{QualityRow, QualityTable, TrainingRow, TrainingTable},
    train::{TrainEvent, TrainStarted, TrainStep, Validated},
};

/// What a training says to the dashboard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum News {
    /// A training begins.
    Begun(Begun),
    /// It said this.
    Event(TrainEvent),
    /// A line for people.
    Line(String),
    /// The models that were judged so far, all of them.
    Models(Vec<QualityRow>),
}

/// How a training begins.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Begun {
    /// What people call it.
    pub(crate) name: String,
    /// Whether its loss is a cross-entropy, whose exponential is a perplexity.
    pub(crate) is_perplexity: bool,
    /// Updates that an earlier process made of it.
    pub(crate) rows: Vec<TrainingRow>,
}

/// What is drawn of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    Loss,
    HeldOut,
    LearningRate,
    Speed,
}

impl Curve {
    const ALL: [Self; 4] = [Self::Loss, Self::HeldOut, Self::LearningRate, Self::Speed];

    fn of(self) -> fn(&TrainingRow) -> Option<f64> {
        match self {
            Self::Loss => |r| r.loss,
            Self::HeldOut => |r| r.validation_loss,
            Self::LearningRate => |r| r.lr,
            Self::Speed => |r| r.tokens_per_s,
        }
    }
}

/// One training.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Course {
    pub(crate) name: String,
    pub(crate) is_perplexity: bool,
    /// One an update, as the log has them.
    pub(crate) rows: Vec<TrainingRow>,
    /// Whether the log's last line was cut off, and left out.
    pub(crate) is_truncated: bool,
    /// What it said when it began; `None` of a log.
    pub(crate) started: Option<TrainStarted>,
    pub(crate) last: Option<TrainStep>,
    /// The update after which its state was kept last.
    pub(crate) saved: Option<u64>,
    /// Since the dashboard opened.
    pub(crate) begun: Duration,
    curves: [Vec<Point>; 4],
}

impl Course {
    /// From the rows of a log.
    pub(crate) fn of_log(name: String, TrainingTable { rows, is_truncated }: TrainingTable) -> Self {
        let mut course = Self { name, is_perplexity: true, rows, is_truncated, ..Self::default() };
        course.draw();
        course
    }

    /// The points of a curve: as many as can be told apart.
    pub(crate) fn curve(&self, curve: Curve) -> &[Point] {
        &self.curves[curve as usize]
    }

    /// Updates made, and to be made.
    pub(crate) fn updates(&self) -> (u64, Option<u64>) {
        let done = self.last.map(|step| step.step).or(self.started.as_ref().map(|s| s.done));
        let of_rows = || self.rows.last().map_or(0, |row| row.step as u64);
        (done.unwrap_or_else(of_rows), self.started.as_ref().map(|s| s.steps))
    }

    /// Share that is done.
    pub(crate) fn share_done(&self) -> Option<f64> {
        let (done, steps) = self.updates();
        Some(done as f64 / steps.filter(|n| *n > 0)? as f64)
    }

    /// Time that the updates left take at the pace so far.
    pub(crate) fn time_left(&self, now: Duration) -> Option<Duration> {
        let ((done, steps), started) = (self.updates(), self.started.as_ref()?);
        let made = done.checked_sub(started.done).filter(|n| *n > 0)?;
        let elapsed = now.saturating_sub(self.begun).as_secs_f64();
        Duration::try_from_secs_f64(elapsed / made as f64 * steps?.saturating_sub(done) as f64).ok()
    }

    /// The looks at what is held out, and the best of them.
    pub(crate) fn looks(&self) -> Vec<&TrainingRow> {
        self.rows.iter().filter(|row| row.validation_loss.is_some()).collect()
    }

    /// The least loss on what is held out.
    pub(crate) fn best(&self) -> Option<&TrainingRow> {
        let looks = self.looks().into_iter();
        looks.min_by(|a, b| a.validation_loss.unwrap_or(f64::NAN).total_cmp(&b.validation_loss.unwrap_or(f64::NAN)))
    }

    fn on_event(&mut self, event: TrainEvent, now: Duration) {
        match event {
            TrainEvent::Started(started) => {
                self.rows.retain(|row| row.step <= started.done as f64);
                (self.started, self.begun) = (Some(started), now);
            }
            TrainEvent::Step(step) => {
                self.last = Some(step);
                self.rows.push(TrainingRow {
                    step: step.step as f64,
                    tokens: Some(step.tokens as f64),
                    loss: Some(step.loss),
                    lr: Some(step.learning_rate),
                    grad_norm: Some(step.grad_norm),
                    tokens_per_s: Some(step.tokens_per_s),
                    ..TrainingRow::default()
                });
            }
            TrainEvent::Validated(Validated { step, loss, accuracy, .. }) => {
                let step = step as f64;
                if self.rows.last().is_none_or(|row| row.step != step) {
                    self.rows.push(TrainingRow { step, ..TrainingRow::default() });
                }
                if let Some(row) = self.rows.last_mut() {
                    (row.validation_loss, row.validation_accuracy) = (Some(loss), accuracy);
                }
            }
            TrainEvent::Saved { step } => self.saved = Some(step),
        }
    }

    fn draw(&mut self) {
        let points = |curve: Curve| -> Vec<Point> {
            thinned(&self.rows, curve.of()).into_iter().map(|(x, y)| Point { x, y, interval: None }).collect()
        };
        self.curves = Curve::ALL.map(points);
    }
}

/// Lines for people that are kept.
const LINES: usize = 200;

/// All trainings that there are to see.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trainings {
    courses: Vec<Course>,
    at: usize,
    /// What was said beside the numbers, the latest last.
    pub(crate) lines: Vec<String>,
    /// Which of the charts is turned to.
    pub(crate) chart: usize,
    /// Whether the loss is drawn linearly.
    pub(crate) linear: bool,
}

impl Trainings {
    pub(crate) fn is_empty(&self) -> bool {
        self.courses.is_empty()
    }

    /// The one that is shown.
    pub(crate) fn shown(&self) -> Option<&Course> {
        self.courses.get(self.at)
    }

    /// Which that is, from 1, and of how many.
    pub(crate) fn place(&self) -> (usize, usize) {
        (self.at + 1, self.courses.len())
    }

    /// One more, which is shown at once.
    pub(crate) fn show(&mut self, course: Course) {
        self.courses.push(course);
        self.at = self.courses.len() - 1;
    }

    /// Takes an action; says whether it was one for trainings.
    pub(crate) fn act(&mut self, action: Action) -> bool {
        let n = self.courses.len().max(1);
        match action {
            Action::NextSheet => self.at = (self.at + 1) % n,
            Action::PreviousSheet => self.at = (self.at + n - 1) % n,
            Action::NextChart => self.chart += 1,
            Action::LogLinear => self.linear = !self.linear,
            Action::NextBatch | Action::PreviousBatch => {}
            _ => return false,
        }
        true
    }

    fn on_event(&mut self, event: TrainEvent, now: Duration) {
        // A model that is trained twice, its feature maps first, has two curves.
        let again = self.courses.last().filter(|c| c.started.is_some() && matches!(event, TrainEvent::Started(_)));
        if let Some(first) = again {
            let (name, is_perplexity) = (format!("{} · second stage", first.name), first.is_perplexity);
            self.show(Course { name, is_perplexity, ..Course::default() });
        }
        if let Some(course) = self.courses.last_mut() {
            course.on_event(event, now);
        }
    }

    /// The one that goes begins so much later.
    pub(crate) fn stand_still(&mut self, span: Duration) {
        if let Some(course) = self.courses.last_mut() {
            course.begun += span;
        }
    }

    fn line(&mut self, text: String) {
        self.lines.push(text);
        let extra = self.lines.len().saturating_sub(LINES);
        self.lines.drain(..extra);
    }
}

impl App {
    /// A training is about to begin.
    pub(crate) fn begin_training(&mut self) {
        (self.trains, self.shows_training) = (true, true);
        (self.phase, self.screen) = (Phase::Starting, Screen::Live);
    }

    /// Takes in what a training said; all that came together is drawn together.
    pub(crate) fn news(&mut self, all: Vec<News>) {
        if self.phase == Phase::Starting {
            self.phase = Phase::Running { pausing: false };
        }
        for news in all {
            match news {
                News::Begun(Begun { name, is_perplexity, rows }) => {
                    let begun = self.now;
                    self.trainings.show(Course {
                        is_perplexity,
                        begun,
                        ..Course::of_log(name, TrainingTable { rows, is_truncated: false })
                    });
                }
                News::Event(event) => self.trainings.on_event(event, self.now),
                News::Line(text) => self.trainings.line(text),
                News::Models(rows) => {
                    let table = QualityTable { rows, is_truncated: false };
                    self.tradeoff.show(QualityFile::new("this tradeoff".to_owned(), table));
                }
            }
        }
        if let Some(course) = self.trainings.courses.last_mut() {
            course.draw();
        }
    }

    /// A training is over. One that did not begin has nothing to show: the command line says why.
    pub(crate) fn end_training(&mut self, ended: Result<Ended, String>) -> Option<Effect> {
        self.phase = Phase::Finished;
        let is_empty = self.trainings.is_empty();
        self.notice = Some(match &ended {
            Ok(ended) if ended.outcome.interrupted => "ended early: --resume goes on from here".to_owned(),
            Ok(_) => "done · W writes this screen, q leaves".to_owned(),
            Err(why) => format!("the training broke off: {why}"),
        });
        (self.leaving || (ended.is_err() && is_empty)).then_some(Effect::Quit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::{
        message::Message,
        scripted::{opened, press_all, training},
    };

    #[test]
    fn curves_and_numbers_follow_what_the_training_says() {
        let app = training(0.5);
        let course = app.trainings.shown().expect("a training");
        assert_eq!((course.updates(), course.share_done()), ((100, Some(200)), Some(0.5)));
        assert_eq!(course.curve(Curve::Loss).len(), 100);
        // Looked at before the first update and after every twentieth.
        let looks: Vec<f64> = course.curve(Curve::HeldOut).iter().map(|p| p.x).collect();
        assert_eq!(looks, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(course.best().map(|row| row.step), Some(100.0));
        // 100 updates took 60 seconds; as many are left.
        assert_eq!(course.time_left(app.now), Some(Duration::from_secs(60)));
    }

    #[test]
    fn one_that_goes_on_keeps_what_was_and_drops_what_was_not_kept() {
        let mut app = opened();
        app.begin_training();
        let row = |step: f64| TrainingRow { step, loss: Some(1.0), ..TrainingRow::default() };
        let begun = Begun { rows: vec![row(1.0), row(2.0), row(3.0)], ..Begun::default() };
        let started = TrainStarted { done: 2, steps: 9, parameters: 1 };
        app.news(vec![News::Begun(begun), News::Event(TrainEvent::Started(started))]);
        let course = app.trainings.shown().expect("a training");
        assert_eq!((course.curve(Curve::Loss).len(), course.updates()), (2, (2, Some(9))));
        assert_eq!(course.time_left(app.now), None);
    }

    #[test]
    fn what_did_not_begin_leaves_and_what_broke_off_stays() {
        let mut app = opened();
        app.begin_training();
        assert!(matches!(app.end_training(Err("no text".to_owned())), Some(Effect::Quit)));
        let mut app = training(0.5);
        assert!(app.end_training(Err("disk full".to_owned())).is_none());
        assert!(app.notice.as_ref().is_some_and(|text| text.contains("disk full")) && !app.is_busy());
    }

    #[test]
    fn it_is_paused_and_ended_with_the_keys_of_a_run() {
        let mut app = training(0.5);
        press_all(&mut app, " ");
        assert!(app.wants_pause());
        let left = |app: &App| app.trainings.shown().and_then(|c| c.time_left(app.now));
        let before = left(&app);
        app.update(Message::Tick(app.now + Duration::from_secs(100), None));
        assert_eq!(left(&app), before);
        assert!(press_all(&mut app, " k").is_none() && app.dialog.is_some());
        assert!(matches!(press_all(&mut app, "y"), Some(Effect::Cancel)));
    }
}
