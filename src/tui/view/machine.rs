//! Machine: what every row says of it, what it can reach, and what was built.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::parts::{self, bold, left, lines, panel, split_bottom, split_right, spread};
use crate::{
    measure::{Build, Direction, Machine, MeasuredLimits},
    report::numbers::{bytes, three},
    tui::app::App,
};

pub(super) fn render(app: &App, area: Rect, buffer: &mut Buffer) {
    let (record, side) = split_right(area, area.width / 2);
    let inner = panel(buffer, record, "Machine and build");
    listed(&[machine(&app.facts.machine), build(&app.facts.build)].concat(), inner, buffer);
    let (limits, devices) = split_bottom(side, (app.facts.devices.len() as u16 + 2).min(side.height / 3));
    let inner = panel(buffer, limits, "What it can reach");
    match &app.limits {
        Some(l) => listed(&reached(l), inner, buffer),
        None => {
            let text = if app.measuring_limits {
                "measuring, nothing is drawn meanwhile…"
            } else {
                "m measures it: memory streams of every cache level, multiply-adds, sgemm; some seconds on all cores"
            };
            let texts = parts::wrapped(text, usize::from(inner.width)).into_iter().map(|l| (l, Style::new()));
            lines(buffer, inner, texts);
        }
    }
    let inner = panel(buffer, devices, "Devices");
    lines(
        buffer,
        inner,
        app.facts.devices.iter().map(|(spec, name)| (format!("{} {name}", left(spec, 8)), Style::new())),
    );
}

type Fact = (String, String);

fn listed(facts: &[Fact], area: Rect, buffer: &mut Buffer) {
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let facts: Vec<Fact> = facts.iter().flat_map(|fact| spread(fact, width, area.width)).collect();
    parts::facts(buffer, area, width, &facts, bold());
}

fn fact(name: &str, value: Option<impl ToString>) -> Option<Fact> {
    value.map(|v| (name.to_owned(), v.to_string())).filter(|(_, v)| !v.is_empty())
}

fn machine(m: &Machine) -> Vec<Fact> {
    [
        fact("cpu", Some(&m.cpu_info)),
        fact("instructions", Some(&m.cpu_isa)),
        fact("physical cores", m.cpu_cores_physical),
        fact("threads", m.cpu_threads_logical),
        fact("memory", m.ram_total_bytes.map(bytes)),
        fact("L1 data", m.cache_l1d_bytes.map(bytes)),
        fact("L2", m.cache_l2_bytes.map(bytes)),
        fact("L3", m.cache_l3_bytes.map(bytes)),
        fact("system", m.os.as_ref()),
        fact("kernel", m.kernel.as_ref()),
        fact("container", Some(if m.container { "yes" } else { "no" })),
        fact("label", m.machine_label.as_ref()),
        fact("id", Some(&m.machine_id)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn build(b: &Build) -> Vec<Fact> {
    let changed = if b.build_dirty == Some(true) { ", changed since" } else { "" };
    [
        fact("t2r", Some(&b.build_version)),
        fact("commit", b.build_commit.as_ref().map(|commit| format!("{commit}{changed}"))),
        fact("profile", b.build_profile.as_ref()),
        fact("features", Some(&b.build_features)),
        fact("compiler", b.rustc_version.as_ref()),
        fact("candle", b.candle_version.as_ref()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn reached(l: &MeasuredLimits) -> Vec<Fact> {
    let number = |name: &str, value: Option<f64>, unit: &str| fact(name, value.map(|v| format!("{} {unit}", three(v))));
    let mut facts = vec![
        fact("threads", Some(l.n_threads)),
        number("clock step", l.timer_resolution_ns, "ns"),
        number("multiply-add, 1 thread", l.fma_gflops_1t, "GFLOP/s"),
        number("multiply-add", l.fma_gflops, "GFLOP/s"),
        number("sgemm", l.sgemm_gflops, "GFLOP/s"),
        number("fork and join", l.fork_join_us, "µs"),
    ];
    for stream in &l.streams {
        let what = if stream.direction == Direction::Read { "read" } else { "read+write" };
        let name = format!("{what} {} ({})", stream.level, bytes(stream.footprint_bytes));
        let one = stream.gb_per_s_1t.map_or_else(String::new, |v| format!(", 1 thread {}", three(v)));
        facts.push(fact(&name, stream.gb_per_s.map(|v| format!("{} GB/s{one}", three(v)))));
    }
    facts.into_iter().flatten().collect()
}
