//! Live while a model is trained, or of the log of a training: loss, learning rate and speed over updates, where it stands,
//! what was said.
//!
//! ```text
//! ┌ Loss ─────────────┐┌ Learning rate ────┐
//! └───────────────────┘└───────────────────┘     80×24: one chart (tab turns), where it stands, one line of gauges
//! ┌ Speed ────────────┐┌ Now ──────────────┐
//! └───────────────────┘└───────────────────┘
//! ┌ Held out ─────────┐┌ Machine ──────────┐
//! └───────────────────┘└───────────────────┘
//! ```

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    chart::short_number,
    gauges,
    live::WIDE,
    parts::{bar, bold, dim, lines, panel, put, short_span, split_bottom, split_right},
};
use crate::{
    report::{
        CURVE_LOOKS,
        numbers::{bytes, thousands, three},
    },
    store::TrainingRow,
    tui::{
        app::App,
        plot::{Plot, PlotLine},
        training::{Course, Curve},
    },
};

/// Points of a curve that still have markers.
const MARKED: usize = 40;

/// A chart: its title, its curves with their names, and whether small values of it matter.
type Shown = (&'static str, &'static [(Curve, &'static str)], bool);

const CHARTS: [Shown; 3] = [
    ("Loss", &[(Curve::Loss, "training"), (Curve::HeldOut, "held out")], true),
    ("Learning rate", &[(Curve::LearningRate, "")], false),
    ("Speed, tokens/s", &[(Curve::Speed, "")], false),
];

pub(super) fn render(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(course) = app.trainings.shown() else { return };
    if area.width >= WIDE && area.height >= 28 {
        wide(app, course, area, buffer);
    } else {
        narrow(app, course, area, buffer);
    }
}

fn wide(app: &App, course: &Course, area: Rect, buffer: &mut Buffer) {
    let (charts, bottom) = split_bottom(area, (area.height / 4).max(8));
    let (upper, lower) = split_bottom(charts, charts.height / 2);
    let half = area.width / 2;
    let (loss, rate) = split_right(upper, half);
    let (speed, now) = split_right(lower, half);
    for (shown, area) in CHARTS.iter().zip([loss, rate, speed]) {
        chart(app, course, shown, area, buffer);
    }
    let inner = panel(buffer, now, &title(app, course));
    lines(buffer, inner, now_lines(app, course, usize::from(inner.width)));
    let (looks, machine) = split_right(bottom, half);
    held_out(course, looks, buffer);
    let inner = panel(buffer, machine, "Machine");
    let said = app.trainings.lines.iter().rev().map(|line| (line.clone(), dim()));
    lines(buffer, inner, gauges::panel_lines(app, usize::from(inner.width)).into_iter().chain(said));
}

fn narrow(app: &App, course: &Course, area: Rect, buffer: &mut Buffer) {
    let (rest, machine) = split_bottom(area, 1);
    let (top, below) = split_bottom(rest, 8);
    chart(app, course, &CHARTS[app.trainings.chart % CHARTS.len()], top, buffer);
    let inner = panel(buffer, below, &title(app, course));
    lines(buffer, inner, now_lines(app, course, usize::from(inner.width)));
    put(buffer, machine, &gauges::line(app), dim());
}

fn title(app: &App, course: &Course) -> String {
    match app.trainings.place() {
        (_, 1) => course.name.clone(),
        (at, of) => format!("{} · {at} of {of}, [ ] turn", course.name),
    }
}

fn chart(app: &App, course: &Course, (title, curves, is_fine): &Shown, area: Rect, buffer: &mut Buffer) {
    let log_y = *is_fine && !app.trainings.linear;
    let axis = if log_y { "log" } else { "linear" };
    let inner = panel(buffer, area, &format!("{title} · {axis} · over updates"));
    let line = |((curve, name), look): (&(Curve, &str), _)| {
        let points = course.curve(*curve);
        PlotLine {
            label: (*name).to_owned(),
            note: points.last().map_or_else(String::new, |p| number(*curve, p.y)),
            colour: app.theme.of(look),
            marker: (points.len() <= MARKED).then_some(look.marker),
            dash: look.dash,
            points: points.to_vec(),
        }
    };
    let drawn: Vec<PlotLine> = curves.iter().zip(CURVE_LOOKS).map(line).filter(|l| !l.points.is_empty()).collect();
    let plot = Plot {
        lines: &drawn,
        marks: &[],
        log_x: false,
        log_y,
        binary_x: false,
        binary_y: false,
        y_text: if curves.iter().any(|(c, _)| *c == Curve::LearningRate) { rate } else { short_number },
        x_text: short_number,
        x_ticks: &[],
        glyphs: app.theme.glyphs,
    };
    plot.render(inner, buffer);
}

fn number(curve: Curve, value: f64) -> String {
    if curve == Curve::LearningRate { rate(value) } else { three(value) }
}

/// `3e-4`; a learning rate is nothing that one reads in decimals.
fn rate(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{value:.2e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// Where it stands.
fn now_lines(app: &App, course: &Course, width: usize) -> Vec<(String, Style)> {
    let (done, steps) = course.updates();
    let count = |n: u64| thousands(&n.to_string());
    let mut out = Vec::new();
    match (course.share_done(), steps) {
        (Some(share), Some(steps)) => {
            let left = course.time_left(app.now).filter(|_| app.is_busy());
            let left = left.map_or_else(String::new, |t| format!(" · about {} left", short_span(t)));
            let text = format!(" {}/{} updates{left}", count(done), count(steps));
            out.push((bar(share, 12.min(width / 4)) + &text, bold()));
        }
        _ => out.push((format!("{} updates", count(done)), bold())),
    }
    if let Some(row) = course.rows.iter().rev().find(|row| row.loss.is_some()) {
        let loss = row.loss.map_or_else(String::new, |loss| format!("loss {loss:.4}{}", perplexity(course, loss)));
        let gradient = row.grad_norm.map_or_else(String::new, |norm| format!(" · gradient {}", three(norm)));
        out.push((loss + &gradient, Style::new()));
        let lr = row.lr.map(|lr| format!("learning rate {}", rate(lr)));
        let speed = row.tokens_per_s.map(|v| format!("{} tokens/s", three(v)));
        let tokens = row.tokens.map(|n| format!("{} tokens so far", count(n as u64)));
        let texts: Vec<String> = [lr, speed, tokens].into_iter().flatten().collect();
        out.push((texts.join(" · "), Style::new()));
    }
    if let Some((best, loss)) = course.best().and_then(|row| Some((row, row.validation_loss?))) {
        let text =
            format!("held out: best {loss:.4}{} after update {}", perplexity(course, loss), count(best.step as u64));
        out.push((text, Style::new()));
    }
    let memory = course.last.and_then(|step| step.memory_bytes).map(|b| format!("{} at most in an update", bytes(b)));
    let parameters = course.started.as_ref().map(|s| format!("{} numbers to train", count(s.parameters as u64)));
    let saved = course.saved.map(|step| format!("kept at {}", count(step)));
    let facts: Vec<String> = [parameters, memory, saved].into_iter().flatten().collect();
    out.push((facts.join(" · "), dim()));
    if app.wants_pause() {
        out.push(("paused · space goes on".to_owned(), bold()));
    }
    out
}

fn perplexity(course: &Course, loss: f64) -> String {
    if course.is_perplexity { format!(" · perplexity {}", three(loss.exp())) } else { String::new() }
}

/// The looks at what is held out, the latest first.
fn held_out(course: &Course, area: Rect, buffer: &mut Buffer) {
    let inner = panel(buffer, area, "Held out");
    let best = course.best().map(|row| row.step);
    let head = format!("{:>9} {:>9} {:>11} {:>8}", "update", "loss", "perplexity", "right");
    put(buffer, Rect::new(inner.x, inner.y, inner.width, 1), &head, dim());
    let line = |row: &&TrainingRow| {
        let loss = row.validation_loss.unwrap_or(f64::NAN);
        let perplexity = if course.is_perplexity { three(loss.exp()) } else { String::new() };
        let right = row.validation_accuracy.map_or_else(String::new, |a| format!("{:.1} %", 100.0 * a));
        let is_best = best == Some(row.step);
        let mark = if is_best { "  best" } else { "" };
        let text = format!("{:>9} {loss:>9.4} {perplexity:>11} {right:>8}{mark}", thousands(&format!("{}", row.step)));
        (text, if is_best { bold() } else { Style::new() })
    };
    let below = Rect::new(inner.x, inner.y + 1, inner.width, inner.height.saturating_sub(1));
    lines(buffer, below, course.looks().iter().rev().map(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short_and_say_their_power() {
        assert_eq!([0.0, 3e-4, 1.25e-3, 1.0].map(rate), ["0", "3e-4", "1.25e-3", "1e0"]);
    }
}
