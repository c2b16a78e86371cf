//! Draws the dashboard. Reads the state and changes nothing; one file a screen.

mod chart;
mod compare;
mod dialog;
mod gauges;
mod grid;
mod help;
mod live;
mod machine;
mod parts;
mod setup;
mod tradeoff;
mod training;

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};
use unicode_width::UnicodeWidthStr;

use super::{
    app::{App, Phase},
    keys::{Action, Binding, Screen, TABLE},
    plot::centred,
};
use crate::report::plural;
use parts::{bold, clear, dim, folded, put, short_span};

/// Below this there is no room for anything but a word about it.
pub(crate) const LEAST: (u16, u16) = (60, 20);

/// Draws the whole screen.
pub fn render(app: &App, frame: &mut Frame<'_>) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("t2r needs {} × {}, this is {} × {}", LEAST.0, LEAST.1, area.width, area.height);
        centred(buffer, area, &text);
        app.theme.reduce(buffer);
        return;
    }
    let row = |y: u16| Rect::new(area.x, area.y + y, area.width, 1);
    header(app, row(0), buffer);
    tabs(app, row(1), buffer);
    let body = Rect::new(area.x, area.y + 2, area.width, area.height - 3);
    match app.screen {
        Screen::Setup => setup::render(app, body, buffer),
        Screen::Live => live::render(app, body, buffer),
        Screen::Grid => grid::render(app, body, buffer),
        Screen::Compare => compare::render(app, body, buffer),
        Screen::Tradeoff => tradeoff::render(app, body, buffer),
        Screen::Machine => machine::render(app, body, buffer),
    }
    footer(app, row(area.height - 1), buffer);
    if app.help {
        help::render(app, body, buffer);
    }
    if let Some(of) = &app.dialog {
        dialog::render(app, of, body, buffer);
    }
    app.theme.reduce(buffer);
}

/// What is shown, and where the run stands.
fn header(app: &App, area: Rect, buffer: &mut Buffer) {
    let status = status(app);
    let width = status.width() as u16;
    let x = put(buffer, area, " t2r ", Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD));
    let rest = Rect::new(x + 1, area.y, (area.right().saturating_sub(width + 2)).saturating_sub(x + 1), 1);
    put(buffer, rest, &subject(app), Style::new());
    let style = match app.phase {
        Phase::Running { pausing: false } | Phase::Starting => bold(),
        Phase::Cancelling => Style::new().fg(app.theme.wrong()),
        _ => Style::new(),
    };
    let at = Rect::new(area.right().saturating_sub(width + 1), area.y, width.min(area.width), 1);
    put(buffer, at, &status, style);
}

fn subject(app: &App) -> String {
    if let Some(course) = app
        .trainings
        .shown()
        .filter(|_| app.shows_training && app.run.is_none() && (app.trains || app.screen == Screen::Live))
    {
        return format!("{} · {}", course.name, app.facts.machine.cpu_info);
    }
    match (&app.run, app.compare.files.first()) {
        (Some(run), _) => {
            let first = run.plan().cells().next();
            let of = first.map_or_else(String::new, |c| {
                format!("{} · {} · seed {}", c.device_kind, plural(c.n_threads, "thread"), c.seed)
            });
            format!("{} · {of} · {}", app.order.choices.profile, app.facts.machine.cpu_info)
        }
        (None, Some(file)) => {
            let cpu = file.rows.first().map_or("", |r| r.cpu_info.as_str());
            format!("{} · {} rows · {cpu}", file.name, file.rows.len())
        }
        (None, None) => format!("{} · {}", app.setup.choices.profile, app.facts.machine.cpu_info),
    }
}

fn status(app: &App) -> String {
    let Some(run) = &app.run else {
        let share = app.trainings.shown().and_then(|c| Some(format!("{:.0} %", 100.0 * c.share_done()?)));
        let share = share.filter(|_| app.shows_training).unwrap_or_default();
        return match app.phase {
            Phase::Running { pausing: true } => format!("‖ paused  {share}"),
            Phase::Running { .. } => {
                let left = app.trainings.shown().and_then(|c| c.time_left(app.now));
                let left = left.map_or_else(String::new, |t| format!(" · eta {}", short_span(t)));
                format!("● training  {share}{left}")
            }
            Phase::Cancelling => "ending…".to_owned(),
            Phase::Finished => format!("■ ended · {share}"),
            Phase::Starting => "starting…".to_owned(),
            _ if app.measuring_limits => "measuring the machine…".to_owned(),
            _ => "idle".to_owned(),
        };
    };
    let groups = run.plan().groups.len();
    let share = format!("{:.0} %", 100.0 * run.share_done());
    let place = run.group.map_or_else(String::new, |g| {
        format!("group {}/{groups} · round {}/{} · ", g + 1, run.round + 1, run.max_rounds)
    });
    match app.phase {
        Phase::Starting => "starting…".to_owned(),
        Phase::Running { pausing: true } => format!("‖ paused  {place}{share}"),
        Phase::Running { .. } => {
            let left = run.time_left(app.now).map_or_else(String::new, |t| format!(" · eta {}", short_span(t)));
            format!("● running  {place}{share}{left}")
        }
        Phase::Cancelling => "ending…".to_owned(),
        Phase::Finished | Phase::Idle => {
            let how = run.outcome.map_or("broke off", |o| if o.interrupted { "ended early" } else { "finished" });
            format!("■ {how} · {share}")
        }
    }
}

fn tabs(app: &App, area: Rect, buffer: &mut Buffer) {
    let mut at = area;
    for (i, screen) in Screen::ALL.into_iter().enumerate() {
        let style = if screen == app.screen { bold().add_modifier(Modifier::REVERSED) } else { dim() };
        let end = put(buffer, at, &format!(" {} {} ", i + 1, screen.title()), style);
        at = Rect::new(end, area.y, area.right().saturating_sub(end), 1);
    }
    let help = "? help ";
    let width = help.width() as u16;
    if at.width > width {
        put(buffer, Rect::new(area.right() - width, area.y, width, 1), help, dim());
    }
}

/// What was told last, or the keys of this screen.
fn footer(app: &App, area: Rect, buffer: &mut Buffer) {
    if let Some(notice) = &app.notice {
        told(notice, area, buffer);
        return;
    }
    if let Some(over) = app.keys_over() {
        // A question names its keys itself.
        let over = if app.dialog.is_some() { &[] } else { over };
        keys(app, area, over.iter(), buffer);
        return;
    }
    // Those of the screen come first in the table; the last two are help and quit, which stay whatever has to go.
    let is_apt = |b: &&Binding| b.in_footer && b.holds_on(app.screen) && is_apt(app, b.action);
    let named: Vec<_> = TABLE.iter().filter(is_apt).collect();
    let width = |b: &Binding| (b.label.width() + b.brief.width() + 3) as u16;
    let (own, general): (Vec<_>, Vec<_>) = named.into_iter().partition(|b| b.is_particular());
    let mut room = area.width.saturating_sub(general.iter().map(|b| width(b)).sum::<u16>() + 1);
    let fitting = own.into_iter().take_while(|b| {
        let fits = width(b) <= room;
        room = room.saturating_sub(width(b));
        fits
    });
    keys(app, area, fitting.chain(general), buffer);
}

/// Lines that what was told takes at most.
const MOST_TOLD: usize = 5;

/// What was told last, in the last line and as many above it as it takes.
fn told(notice: &str, area: Rect, buffer: &mut Buffer) {
    let style = Style::new().add_modifier(Modifier::REVERSED);
    let lines = folded(notice, usize::from(area.width.saturating_sub(2)));
    let n = lines.len().min(MOST_TOLD) as u16;
    let place = Rect::new(area.x, area.y + 1 - n.min(area.y), area.width, n);
    if n > 1 {
        clear(buffer, place);
    }
    for (y, line) in (place.top()..place.bottom()).zip(lines) {
        put(buffer, Rect::new(area.x, y, area.width, 1), &format!(" {line} "), style);
    }
}

/// Keys and what each does, beside each other.
fn keys<'b>(app: &App, area: Rect, shown: impl Iterator<Item = &'b Binding>, buffer: &mut Buffer) {
    let mut x = area.x + 1;
    for binding in shown {
        let rest = |x: u16| Rect::new(x, area.y, area.right().saturating_sub(x), 1);
        x = put(buffer, rest(x), binding.label, bold());
        x = put(buffer, rest(x + 1), brief(app, binding), dim()) + 2;
    }
}

/// Whether an action does anything now.
fn is_apt(app: &App, action: Action) -> bool {
    match action {
        Action::Pause | Action::Cancel => app.is_busy(),
        Action::Skip => app.is_busy() && app.run.is_some(),
        Action::NextSheet if app.shows_training => app.trainings.place().1 > 1,
        Action::NextBatch if app.shows_training && app.screen == Screen::Live => false,
        Action::Rerun | Action::MoreRounds => !app.is_busy() && app.run.is_some(),
        Action::WriteCsv => !app.rows().is_empty(),
        Action::NextBatch if app.screen == Screen::Tradeoff => app.tradeoff.depths() > 1,
        Action::NextBatch => app.sheet().is_some_and(|sheet| sheet.batches.len() > 1),
        Action::NextSheet => app.sheets.len() > 1,
        Action::NextChart | Action::LogLinear if app.screen == Screen::Tradeoff => app.tradeoff.file.is_some(),
        Action::NextChart | Action::LogLinear => !app.rows().is_empty() || app.shows_training,
        Action::CloseFile => !app.compare.files.is_empty(),
        Action::Swap => app.run.is_none() && app.compare.files.len() > 1,
        Action::Turn => !app.trainings.is_empty() && !app.rows().is_empty(),
        _ => true,
    }
}

/// A toggle says what it does now.
fn brief(app: &App, binding: &Binding) -> &'static str {
    match binding.action {
        Action::Pause if app.wants_pause() => "go on",
        Action::NextSheet if app.screen == Screen::Live && app.shows_training => "training",
        _ => binding.brief,
    }
}

#[cfg(test)]
mod tests;
