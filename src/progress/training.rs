//! Tells on stderr how far a training is.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Manner;
use crate::{
    sweep::Span,
    train::{Listener, TrainEvent, TrainStarted, TrainStep, Validated},
};

/// Lines that the updates of a training come to, beside those of what is held out.
const LINES: u64 = 20;

/// Progress of one training after another.
pub struct TrainProgress {
    manner: Manner,
    bar: ProgressBar,
    started: Instant,
    done_before: u64,
    /// Whether the loss is a cross-entropy, whose exponential is a perplexity.
    is_perplexity: bool,
}

impl TrainProgress {
    /// Nothing is told yet.
    #[must_use]
    pub fn new(manner: Manner) -> Self {
        let target = match manner {
            Manner::Bar { .. } => ProgressDrawTarget::stderr(),
            Manner::Lines { .. } | Manner::Silent => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:>3}% {elapsed} +{eta}  {wide_msg}") {
            bar.set_style(style);
        }
        Self { manner, bar, started: Instant::now(), done_before: 0, is_perplexity: true }
    }

    /// For losses that are distances.
    #[must_use]
    pub fn of_distances(self) -> Self {
        Self { is_perplexity: false, ..self }
    }

    /// Tells one line.
    pub fn line(&self, text: &str) {
        match self.manner {
            Manner::Bar { .. } => self.bar.println(text),
            // Where stderr is gone there is nobody to tell.
            Manner::Lines { .. } => drop(writeln!(io::stderr().lock(), "{text}")),
            Manner::Silent => {}
        }
    }

    fn begin(&mut self, started: &TrainStarted) {
        (self.started, self.done_before) = (Instant::now(), started.done);
        self.bar.set_length(started.steps);
        self.bar.set_position(started.done);
        self.bar.reset_eta();
        let from = if started.done > 0 { format!(" from {}", started.done) } else { String::new() };
        self.line(&format!("{} numbers to train, {} updates{from}", started.parameters, started.steps));
    }

    fn step(&self, step: &TrainStep) {
        self.bar.set_position(step.step);
        self.bar.set_message(format!("loss {:.3} · {:.0} tokens/s", step.loss, step.tokens_per_s));
        let verbose = matches!(self.manner, Manner::Bar { verbose: true } | Manner::Lines { verbose: true });
        let is_due = verbose || step.step.is_multiple_of((step.steps / LINES).max(1));
        if is_due && !matches!(self.manner, Manner::Bar { verbose: false }) {
            let left = time_left(self.started.elapsed(), step.step - self.done_before, step.steps - step.step);
            let left = left.map_or_else(String::new, |left| format!(" · about {left} left"));
            let TrainStep { step, steps, loss, learning_rate, grad_norm, tokens_per_s, .. } = step;
            self.line(&format!(
                "{step}/{steps} · loss {loss:.4} · lr {learning_rate:.2e} · gradient {grad_norm:.3} · {tokens_per_s:.0} tokens/s{left}"
            ));
        }
    }

    fn seen(&self, seen: &Validated) {
        let perplexity =
            if self.is_perplexity { format!(" · perplexity {:.3}", seen.loss.exp()) } else { String::new() };
        let accuracy = seen.accuracy.map_or_else(String::new, |a| format!(" · {:.1} % right", 100.0 * a));
        let best = if seen.improved && seen.step > 0 { " · best so far" } else { "" };
        self.line(&format!("{} · held out: loss {:.4}{perplexity}{accuracy}{best}", seen.step, seen.loss));
    }
}

/// Time that the updates left will take at the pace so far.
fn time_left(elapsed: Duration, done: u64, left: u64) -> Option<Span> {
    let each = elapsed.checked_div(u32::try_from(done).ok()?)?;
    let left = each.checked_mul(u32::try_from(left).ok()?)?;
    (left > Duration::ZERO).then(|| Span(Duration::from_secs(left.as_secs().max(1))))
}

impl Listener for TrainProgress {
    fn on_event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        match event {
            TrainEvent::Started(started) => self.begin(started),
            TrainEvent::Step(step) => {
                self.step(step);
                if step.step == step.steps {
                    self.bar.finish_and_clear();
                }
            }
            TrainEvent::Validated(seen) => self.seen(seen),
            TrainEvent::Saved { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_at_the_pace_so_far() {
        let s = Duration::from_secs;
        assert_eq!(time_left(s(10), 5, 20).map(|span| span.0), Some(s(40)));
        assert!(time_left(s(10), 0, 20).is_none() && time_left(s(10), 5, 0).is_none());
    }
}
