//! Setup: fields on the left, what they come to on the right.
//!
//! ```text
//! ┌ What to run ──────────┐┌ What it comes to ─────┐
//! │ profile      quick    ││ 44 cells in 13 groups │
//! │ …                     ││ skipped, and why      │
//! │ ▶ start               ││ about the field       │
//! └───────────────────────┘└───────────────────────┘
//! ```

use ratatui::{buffer::Buffer, layout::Rect, style::Style};
use unicode_width::UnicodeWidthStr;

use super::parts::{bold, dim, lines, page, panel, put, reversed, short_span, split_bottom, split_right, wrapped};
use crate::{
    report::{numbers::bytes, plural},
    tui::{
        app::App,
        host::Outlook,
        setup::{Editing, FIELDS, many, one},
    },
};

pub(super) fn render(app: &App, area: Rect, buffer: &mut Buffer) {
    let (left, right) = split_right(area, (area.width * 9 / 20).clamp(30, 80));
    fields(app, left, buffer);
    // A list to pick from takes what room there is.
    let is_picking = matches!(app.setup.editing, Some(Editing::Pick { .. }));
    let about = if is_picking { right.height } else { 9.min(right.height / 2) };
    let (upper, lower) = split_bottom(right, about);
    outlook(app, upper, buffer);
    about_field(app, lower, buffer);
}

fn fields(app: &App, area: Rect, buffer: &mut Buffer) {
    let inner = panel(buffer, area, "What to run");
    let rows = usize::from(inner.height).saturating_sub(2);
    let setup = &app.setup;
    let first = page(setup.at.min(FIELDS.len() - 1), rows);
    for (y, (i, field)) in (inner.top()..).zip(FIELDS.iter().enumerate().skip(first).take(rows)) {
        let row = Rect::new(inner.x, y, inner.width, 1);
        let is_at = i == setup.at;
        let fault = setup.fault.as_ref().filter(|(at, _)| *at == i);
        let mark = if fault.is_some() {
            "!"
        } else if is_at {
            "›"
        } else {
            " "
        };
        let wrong = Style::new().fg(app.theme.wrong());
        let x = put(buffer, row, mark, if fault.is_some() { wrong } else { bold() });
        let label = Rect::new(x + 1, y, 17.min(inner.width), 1);
        put(buffer, label, field.label, if is_at { bold() } else { Style::new() });
        let value = Rect::new(label.x + 18, y, inner.right().saturating_sub(label.x + 18), 1);
        match (&setup.editing, is_at) {
            (Some(Editing::Text(line)), true) => {
                let (before, under, behind) = line.parts();
                // The end is what one types at.
                let shown: String = before.chars().rev().take(usize::from(value.width / 2)).collect();
                let before: String = shown.chars().rev().collect();
                let x = put(buffer, value, &before, bold());
                let x = put(buffer, Rect::new(x, y, value.right().saturating_sub(x), 1), under, reversed());
                put(buffer, Rect::new(x, y, value.right().saturating_sub(x), 1), behind, bold());
            }
            _ => {
                let locked = if field.name == "threads" && setup.fixed_threads.is_some() { " (fixed)" } else { "" };
                let text = format!("{}{locked}", setup.value(field));
                let style = if is_at {
                    reversed()
                } else if setup.is_set(field) {
                    bold()
                } else {
                    dim()
                };
                put(buffer, value, &text, style);
            }
        }
    }
    let start = Rect::new(inner.x, inner.bottom().saturating_sub(1), inner.width, 1);
    let is_at = setup.at >= FIELDS.len();
    put(buffer, start, if is_at { "› ▶ start" } else { "  ▶ start (s)" }, if is_at { reversed() } else { bold() });
}

fn outlook(app: &App, area: Rect, buffer: &mut Buffer) {
    let inner = panel(buffer, area, "What it comes to");
    let width = usize::from(inner.width);
    let texts: Vec<(String, Style)> = match &app.setup.outlook {
        None => vec![("…".to_owned(), dim())],
        Some(Err(why)) => {
            let style = Style::new().fg(app.theme.wrong());
            std::iter::once(("cannot be run:".to_owned(), style))
                .chain(wrapped(why, width).into_iter().map(|l| (l, Style::new())))
                .collect()
        }
        Some(Ok(outlook)) => described(outlook, width),
    };
    lines(buffer, inner, texts);
}

fn described(outlook: &Outlook, width: usize) -> Vec<(String, Style)> {
    let plain = Style::new();
    let (cells, groups) = (outlook.plan.cells().count(), outlook.plan.groups.len());
    let fitting = || outlook.cells.iter().filter(|c| outlook.fits(c)).flatten();
    let most = fitting().map(|p| p.memory_bytes).max();
    let runs = fitting().count();
    let mut out: Vec<(String, Style)> =
        wrapped(&outlook.description, width).into_iter().map(|line| (line, dim())).collect();
    out.push((String::new(), plain));
    out.push((format!("{} in {}", plural(cells, "cell"), plural(groups, "group")), bold()));
    out.push((format!("about {}", short_span(outlook.time)), bold()));
    if let Some(most) = most {
        out.push((format!("at most {} of {} memory", bytes(most), bytes(outlook.memory_budget)), plain));
    }
    out.push((outlook.device.clone(), plain));
    if runs < cells {
        out.push((String::new(), plain));
        out.push((format!("{} will be skipped:", cells - runs), plain));
        for (reason, count) in reasons(outlook) {
            for (i, line) in wrapped(&reason, width.saturating_sub(6)).into_iter().enumerate() {
                out.push((if i == 0 { format!("{count:4}  {line}") } else { format!("      {line}") }, dim()));
            }
        }
    }
    out
}

/// Why cells will be skipped, the most frequent reason first.
fn reasons(outlook: &Outlook) -> Vec<(String, usize)> {
    let mut reasons: Vec<(String, usize)> = Vec::new();
    for cell in outlook.cells.iter().filter(|c| !outlook.fits(c)) {
        let reason = match cell {
            Err(why) => why.clone(),
            Ok(_) => format!("over the memory budget of {}", bytes(outlook.memory_budget)),
        };
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((reason, 1)),
        }
    }
    reasons.sort_by_key(|(_, count)| usize::MAX - count);
    reasons
}

/// Columns of a value that the list shows in every terminal.
const WHOLE: usize = 20;

fn about_field(app: &App, area: Rect, buffer: &mut Buffer) {
    let setup = &app.setup;
    let Some(field) = FIELDS.get(setup.at) else {
        let inner = panel(buffer, area, "Start");
        lines(buffer, inner, [("enter or s starts the run; 2 shows it".to_owned(), Style::new())]);
        return;
    };
    let inner = panel(buffer, area, field.name);
    if let Some(Editing::Pick { words, at }) = &setup.editing {
        picks(app, field.name, (words, *at), inner, buffer);
        return;
    }
    let width = usize::from(inner.width);
    let mut texts: Vec<(String, Style)> = Vec::new();
    if let Some((_, why)) = setup.fault.as_ref().filter(|(at, _)| *at == setup.at) {
        texts.extend(wrapped(why, width).into_iter().map(|l| (l, Style::new().fg(app.theme.wrong()))));
    }
    texts.extend(wrapped(field.about, width).into_iter().map(|l| (l, Style::new())));
    let value = setup.value(field);
    if setup.editing.is_none() && value.width() > WHOLE {
        texts.extend(
            wrapped(&format!("now {}", value.replace(',', ", ")), width).into_iter().map(|l| (l, Style::new())),
        );
    }
    let (several, single) = (many(field.name, &app.facts), one(field.name, &app.facts));
    let hint = match () {
        () if setup.editing.is_some() => "empty: as the profile has it",
        () if !several.is_empty() => "enter: pick",
        () if !single.is_empty() => "← → turn, enter: type",
        () => "enter: type",
    };
    texts.push((
        format!("{hint}{}", if setup.is_set(field) && field.name != "profile" { ", x: as the profile" } else { "" }),
        dim(),
    ));
    let of = |known: &[(String, String)]| {
        let now = setup.value(field);
        known.iter().find(|(name, _)| *name == now).map(|(name, text)| format!("{name}: {text}"))
    };
    let more = match field.name {
        "profile" => of(&app.facts.profiles),
        "device" => of(&app.facts.devices),
        _ => None,
    };
    if let Some(more) = more.filter(|_| setup.editing.is_none()) {
        texts.extend(wrapped(&more, width).into_iter().map(|l| (l, dim())));
    }
    lines(buffer, inner, texts);
}

/// Words to pick from; in several columns where they do not fit below each other.
fn picks(app: &App, field: &str, (words, at): (&[(String, bool)], usize), area: Rect, buffer: &mut Buffer) {
    let about = words
        .get(at)
        .filter(|_| field == "variants")
        .and_then(|(word, _)| app.facts.variants.iter().find(|(name, _)| name == word).map(|(_, text)| text.as_str()));
    let about = wrapped(about.unwrap_or_default(), usize::from(area.width));
    let (list, said) = split_bottom(area, about.len() as u16);
    let width = words.iter().map(|(w, _)| w.width() + 5).max().unwrap_or(1) as u16;
    let columns = (list.width / width).max(1);
    let rows = usize::from(list.height).max(1);
    let first = page(at, rows * usize::from(columns));
    for (k, (word, on)) in words.iter().skip(first).take(rows * usize::from(columns)).enumerate() {
        let (column, row) = ((k / rows) as u16, (k % rows) as u16);
        let place = Rect::new(list.x + column * width, list.y + row, width, 1);
        let text = format!("[{}] {word}", if *on { "x" } else { " " });
        put(buffer, place, &text, if first + k == at { reversed() } else { Style::new() });
    }
    lines(buffer, said, about.into_iter().map(|line| (line, dim())));
}
