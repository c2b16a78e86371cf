//! Who a training is told to: lines on stderr, or the dashboard. Knows neither what is trained nor how.

use std::{path::Path, rc::Rc};

use crate::{
    cli::{Answer, Ending, answer, args::Talk, dashboard, run, say, setup, stop},
    progress::TrainProgress,
    store::{QualityRow, TrainingRow, parse_training},
    train::{Listener, TrainEvent},
    tui::{News, Relay, TrainingBegun},
};

/// Whoever watches trainings, one after another.
pub(in crate::cli) enum Watch {
    /// Lines on stderr.
    Lines(Talk),
    /// The dashboard.
    Screen(Rc<Relay>),
}

/// Carries out a training and prints its answer; with the dashboard once that is closed.
pub(super) fn watched(
    tui: bool,
    threads: Option<usize>,
    talk: Talk,
    train: impl FnOnce(&Watch) -> Answer<(String, Ending)> + Send + 'static,
) -> Answer<Ending> {
    let n_threads = setup::threads(threads)?;
    if tui {
        dashboard::must_have_terminal()?;
    }
    setup::set_threads(n_threads);
    let (text, ending) = match tui {
        true => dashboard::train(n_threads, talk, move |relay| train(&Watch::Screen(relay)))?,
        false => train(&Watch::Lines(talk))?,
    };
    answer(&text)?;
    Ok(ending)
}

impl Watch {
    /// A line for people.
    pub(super) fn say(&self, line: &str) {
        match self {
            Self::Lines(talk) if talk.quiet => {}
            Self::Lines(_) => say(line),
            Self::Screen(relay) => relay.news(News::Line(line.trim().to_owned())),
        }
    }

    /// These models were judged so far.
    pub(super) fn judged(&self, rows: &[QualityRow]) {
        if let Self::Screen(relay) = self {
            relay.news(News::Models(rows.to_vec()));
        }
    }

    /// From now on the user's wish to stop leaves a whole state behind.
    pub(super) fn listen(&self) -> anyhow::Result<()> {
        match self {
            Self::Lines(_) => stop::listen(),
            // The dashboard listens from its opening on.
            Self::Screen(_) => Ok(()),
        }
    }

    /// Between updates: whether to stop. Stands still while the user wants a pause.
    pub(super) fn stop(&self) -> bool {
        match self {
            Self::Lines(_) => stop::asked(),
            Self::Screen(relay) => relay.between_updates() || stop::asked(),
        }
    }

    /// Whoever hears of a training that begins. `log` is that of the updates that were made before.
    pub(super) fn begin(&self, name: &str, is_perplexity: bool, log: Option<&Path>) -> Box<dyn Listener> {
        match self {
            Self::Lines(talk) => {
                let progress = TrainProgress::new(run::manner(*talk));
                Box::new(if is_perplexity { progress } else { progress.of_distances() })
            }
            Self::Screen(relay) => {
                let rows = log.map(rows_of).unwrap_or_default();
                relay.news(News::Begun(TrainingBegun { name: name.to_owned(), is_perplexity, rows }));
                let relay = Rc::clone(relay);
                Box::new(move |event: &TrainEvent| {
                    relay.news(News::Event(event.clone()));
                    Ok(())
                })
            }
        }
    }
}

/// What a log holds; one that cannot be read only leaves the curve without its beginning.
fn rows_of(log: &Path) -> Vec<TrainingRow> {
    let bytes = std::fs::read(log).unwrap_or_default();
    parse_training(&log.display().to_string(), &bytes).map(|table| table.rows).unwrap_or_default()
}
