//! Many files: 1,000 of 500 rows each, read as two sides and compared. `cargo bench --bench compare`; FILES sets how many.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench talks to people and may panic")]

use std::{fs, path::Path, time::Instant};

use t2r::{
    compare::{Options, Side, Sides, Spreads, compare},
    measure::{CountingAllocator, peak_bytes, reset_peak, rss_bytes},
    store::{Row, cells_csv, each_row, gather},
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

const ROWS: usize = 500;

/// A launch of 500 cells with eight rounds each.
fn launch(side: usize, run: usize) -> Vec<Row> {
    let one = |cell: usize| {
        let noise = |round: usize| ((cell * 31 + run * 17 + round * 7 + side) % 100) as f64 / 5_000.0;
        let ns = 1000.0 * (1 + cell) as f64 * (1.0 + 0.2 * side as f64);
        let figures: Vec<String> = (0..8).map(|r| (ns * (1.0 + noise(r))).to_string()).collect();
        Row {
            schema_version: 1,
            run_id: format!("20260131T120000Z-0a0b0c0d-{side}{run:03}"),
            cell_id: format!("{cell:016x}"),
            status: "ok".to_owned(),
            workload: "attention".to_owned(),
            variant: ["softmax", "elu", "rfa", "t2r"][cell % 4].to_owned(),
            feature_dim: (!cell.is_multiple_of(4)).then_some(32),
            implementation: "fused".to_owned(),
            batch_size: 1 + (cell / 20) as u64,
            seq_len: 64 << (cell / 4 % 5),
            n_heads: 8,
            cpu_info: "a processor with a name of some length".to_owned(),
            machine_id: "0123456789abcdef".to_owned(),
            p50_ns: Some(ns),
            round_values: format!("[{}]", figures.join(",")),
            ..Row::default()
        }
    };
    (0..ROWS).map(one).collect()
}

fn read(dir: &Path) -> Side {
    let mut sides = Sides::new(&dir.display().to_string(), &[]);
    for found in gather(dir.to_str().unwrap()).unwrap() {
        each_row(&found.path, &mut |row| sides.add(&row).map_err(|e| e.to_string())).unwrap();
    }
    sides.finish().remove(0)
}

fn main() {
    let files: usize = std::env::var("FILES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let dir = tempfile::tempdir().unwrap();
    for side in 0..2 {
        let folder = dir.path().join(side.to_string());
        fs::create_dir(&folder).unwrap();
        for run in 0..files / 2 {
            fs::write(folder.join(format!("{run}.csv")), cells_csv(&launch(side, run)).unwrap()).unwrap();
        }
    }
    let mib = |bytes: Option<u64>| bytes.map_or(0, |b| b >> 20);
    reset_peak();
    let (start, before) = (Instant::now(), rss_bytes());
    let (base, candidate) = (read(&dir.path().join("0")), read(&dir.path().join("1")));
    let (reading, after) = (start.elapsed(), rss_bytes());
    let start = Instant::now();
    let spreads = Spreads::of([&base, &candidate]);
    let comparison = compare(&base, &candidate, &Options::default(), &spreads).unwrap();
    println!(
        "{files} files of {ROWS} rows: read in {:.2} s, compared in {:.2} s; resident {} MiB before, {} MiB after, at most \
         {} MiB allocated",
        reading.as_secs_f64(),
        start.elapsed().as_secs_f64(),
        mib(before),
        mib(after),
        mib(peak_bytes())
    );
    println!("{} cells, {} slower, as they were made", comparison.cells.len(), comparison.count("slower"));
    assert_eq!(comparison.count("slower"), ROWS);
}
