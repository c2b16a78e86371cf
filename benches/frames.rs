//! How long the dashboard takes to draw a frame at 200 × 60 with 2,000 cells: `cargo bench --bench frames`.

#![allow(clippy::print_stdout, reason = "a benchmark answers on stdout")]

use std::time::{Duration, Instant};

use ratatui::{Terminal, backend::TestBackend};
use t2r::{
    store::Row,
    tui::{App, Depth, Glyphs, Ground, Screen, Theme, render},
};

/// Ten variants, 20 lengths, 10 batches.
fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for variant in ["softmax", "elu", "rfa", "t2r", "performer", "hedgehog", "cosformer", "taylor", "window", "none"] {
        for length in 0..20_u64 {
            for batch_size in (0..10).map(|b| 1 << b) {
                let ns = 1000.0 + (if variant == "softmax" { 8.0 } else { 0.0 }) * (64 * (length + 1)) as f64;
                let figures: Vec<String> = (0..8).map(|r| format!("{}", ns + f64::from(r))).collect();
                rows.push(Row {
                    cell_id: format!("{variant}-{length}-{batch_size}"),
                    status: "ok".to_owned(),
                    workload: "attention".to_owned(),
                    variant: variant.to_owned(),
                    implementation: "fused".to_owned(),
                    batch_size,
                    seq_len: 64 * (length + 1),
                    round_values: format!("[{}]", figures.join(",")),
                    tokens_per_s: Some(1e9 / ns),
                    ci95_low_ns: Some(ns),
                    ci95_high_ns: Some(ns + 7.0),
                    speedup_vs_softmax: Some(1.5),
                    state_bytes_pred: Some(66_560),
                    ..Row::default()
                });
            }
        }
    }
    rows
}

fn main() {
    let theme = Theme { depth: Depth::True, ground: Ground::Dark, glyphs: Glyphs::Braille };
    let mut app = App::showing(theme, "bench", rows());
    for screen in Screen::ALL {
        app.go(screen);
        let mut terminal = match Terminal::new(TestBackend::new(200, 60)) {
            Ok(terminal) => terminal,
            Err(never) => match never {},
        };
        let mut times: Vec<Duration> = (0..200)
            .map(|_| {
                let start = Instant::now();
                match terminal.draw(|frame| render(&app, frame)) {
                    Ok(_) => start.elapsed(),
                    Err(never) => match never {},
                }
            })
            .collect();
        times.sort();
        println!("{:9} median {:?}, slowest of 200 {:?}", screen.title(), times[100], times[199]);
    }
}
