//! The gauges of the machine as lines: of a panel, or one line where there is no room.

use ratatui::style::Style;

use super::parts::{bar, bold, dim, wrapped};
use crate::{report::numbers::bytes, tui::app::App};

/// Columns of one core.
const CORE: usize = 18;

/// Lines that cores take at most.
const CORE_LINES: usize = 3;

/// Load of every core, memory, what watching costs, and warnings as they fired.
pub(super) fn panel_lines(app: &App, width: usize) -> Vec<(String, Style)> {
    let g = &app.gauges;
    let per_line = (width / CORE).max(1);
    let mut out = Vec::new();
    for (k, cores) in g.cpu_pct.chunks(per_line).enumerate().take(CORE_LINES) {
        let core = |(i, pct): (usize, &f64)| format!("{:<3}{} {:>3.0} % ", k * per_line + i, bar(pct / 100.0, 8), pct);
        let cores: String = cores.iter().enumerate().map(core).collect();
        out.push((format!("{}{cores}", if k == 0 { "cpu " } else { "    " }), Style::new()));
    }
    if g.cpu_pct.len() > per_line * CORE_LINES {
        let (n, busiest) = (g.cpu_pct.len(), g.cpu_pct.iter().copied().fold(0.0, f64::max));
        out.push((format!("    of {n}, all together {:.0} %, the busiest {busiest:.0} %", mean(&g.cpu_pct)), dim()));
    }
    if let Some(memory) = g.memory {
        let rss = g.rss_bytes.map_or_else(String::new, |b| format!("  t2r {}", bytes(b)));
        out.push((format!("mem {}{rss}", share(memory, 10)), Style::new()));
    }
    if let Some(memory) = g.gpu_memory {
        out.push((format!("gpu {}", share(memory, 10)), Style::new()));
    }
    let freq = g.freq_hz.map(|hz| format!("{:.1} GHz", hz / 1e9));
    let temp = g.temp_c.map(|t| format!("{t:.0} °C"));
    let cost = app.run.as_ref().and_then(|r| r.begun().observer).map(|c| match c.interval {
        Some((least, most)) => format!("watching costs a block {:.2} % [{least:.2}, {most:.2}]", c.pct),
        None => format!("watching costs a block {:.2} %", c.pct),
    });
    let facts: Vec<String> = [freq, temp, cost].into_iter().flatten().collect();
    if !facts.is_empty() {
        out.push((facts.join("  "), dim()));
    }
    if let Some(run) = &app.run {
        for warning in run.warnings.iter().rev() {
            let times = if warning.times > 1 { format!(" (×{})", warning.times) } else { String::new() };
            out.extend(wrapped(&format!("! {}{times}", warning.text), width).into_iter().map(|line| (line, bold())));
        }
    }
    out
}

/// Of at least one.
fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / of.len() as f64
}

/// All of it in one line, for narrow screens.
pub(super) fn line(app: &App) -> String {
    let g = &app.gauges;
    let load = (!g.cpu_pct.is_empty()).then(|| mean(&g.cpu_pct));
    let cpu = load.map(|m| format!("cpu {} {m:.0} %", bar(m / 100.0, 6)));
    let memory = g.memory.map(|(used, total)| format!("mem {}/{}", bytes(used), bytes(total)));
    let gpu = g.gpu_memory.map(|(used, total)| format!("gpu {}/{}", bytes(used), bytes(total)));
    let temp = g.temp_c.map(|t| format!("{t:.0} °C"));
    let warned = app.run.as_ref().and_then(|r| r.warnings.last()).map(|w| format!("! {}", w.text));
    let parts: Vec<String> = [cpu, memory, gpu, temp, warned].into_iter().flatten().collect();
    format!(" {}", parts.join("  "))
}

fn share((used, total): (u64, u64), width: usize) -> String {
    format!("{} {}/{}", bar(used as f64 / total.max(1) as f64, width), bytes(used), bytes(total))
}
