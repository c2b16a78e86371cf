//! Launches of a cell pooled into one row: their calls in one histogram. For percentiles of many launches together;
//! what is compared are launches, which a pooled row does not hold apart any more.

use std::collections::HashMap;

use super::row::Row;
use crate::{
    stats::{LatencyHistogram, median},
    sweep::{Status, nine_digits},
};

/// Calls below which a percentile is blank, as in every row.
const PERCENTILE_NEEDS: [(f64, u64); 3] = [(0.90, 50), (0.95, 100), (0.99, 500)];

/// One row per cell, in the order of the first launches. A cell of one launch stays as it is.
///
/// # Errors
/// A histogram that is none, named by run and cell.
pub fn pool(rows: &[Row]) -> anyhow::Result<Vec<Row>> {
    let mut order: Vec<&str> = Vec::new();
    let mut cells: HashMap<&str, Vec<&Row>> = HashMap::new();
    for row in rows {
        let of_cell = cells.entry(&row.cell_id).or_default();
        if of_cell.is_empty() {
            order.push(&row.cell_id);
        }
        of_cell.push(row);
    }
    order.into_iter().map(|cell| pooled(&cells[cell])).collect()
}

fn pooled(rows: &[&Row]) -> anyhow::Result<Row> {
    let ok: Vec<&Row> = rows.iter().copied().filter(|r| r.status == Status::Ok.as_str()).collect();
    let Some(first) = ok.first().filter(|_| rows.len() > 1) else { return Ok(rows[0].clone()) };
    let number = |v: f64| v.is_finite().then(|| nine_digits(v));
    let values = |of: fn(&Row) -> Option<f64>| ok.iter().filter_map(|r| of(r)).collect::<Vec<f64>>();
    let middle = |of: fn(&Row) -> Option<f64>| median(&values(of)).and_then(number);
    let least = |of: fn(&Row) -> Option<f64>| values(of).into_iter().reduce(f64::min);
    let most = |of: fn(&Row) -> Option<f64>| values(of).into_iter().reduce(f64::max);
    let largest = |of: fn(&Row) -> Option<u64>| ok.iter().filter_map(|r| of(r)).max();
    let sum = |of: fn(&Row) -> Option<u64>| ok.iter().map(|r| of(r)).sum::<Option<u64>>();
    let figures: Vec<f64> = ok.iter().flat_map(|r| r.figures()).collect();
    let texts: Vec<String> = figures.iter().map(f64::to_string).collect();
    let per_ns = |rate: Option<f64>, of: &Row| Some(rate? * median(&of.figures())?);
    let rate = |of: fn(&Row) -> Option<f64>| {
        // What one call puts through, over the median of all rounds.
        number(per_ns(of(first), first)? / median(&figures)?)
    };
    let mut row = Row {
        run_id: format!("pooled-{}-launches-{}", ok.len(), first.run_id),
        test_time: ok.iter().map(|r| r.test_time.clone()).max().unwrap_or_default(),
        warmup_count: sum(|r| r.warmup_count),
        n_samples: sum(|r| r.n_samples),
        round_count: sum(|r| r.round_count),
        n_outliers: sum(|r| r.n_outliers),
        min_ns: least(|r| r.min_ns),
        max_ns: most(|r| r.max_ns),
        p50_ns: median(&figures).and_then(number),
        first_ns: middle(|r| r.first_ns),
        e2e_p50_ns: middle(|r| r.e2e_p50_ns),
        tokens_per_s: rate(|r| r.tokens_per_s),
        achieved_gflops: rate(|r| r.achieved_gflops),
        achieved_gb_per_s: rate(|r| r.achieved_gb_per_s),
        pct_of_peak_flops: middle(|r| r.pct_of_peak_flops),
        pct_of_peak_bandwidth: middle(|r| r.pct_of_peak_bandwidth),
        speedup_vs_softmax: middle(|r| r.speedup_vs_softmax),
        state_bytes_measured: largest(|r| r.state_bytes_measured),
        alloc_peak_bytes: largest(|r| r.alloc_peak_bytes),
        rss_peak_bytes: largest(|r| r.rss_peak_bytes),
        device_peak_bytes: largest(|r| r.device_peak_bytes),
        max_abs_err: most(|r| r.max_abs_err),
        max_rel_err: most(|r| r.max_rel_err),
        round_values: format!("[{}]", texts.join(",")),
        foreign_cpu_pct: most(|r| r.foreign_cpu_pct),
        load_avg_1m: middle(|r| r.load_avg_1m),
        cpu_freq_hz_median: middle(|r| r.cpu_freq_hz_median),
        temp_c_max: most(|r| r.temp_c_max),
        swap_used_bytes: largest(|r| r.swap_used_bytes),
        quality: ["bad", "noisy"].iter().find(|q| ok.iter().any(|r| r.quality == **q)).unwrap_or(&"good").to_string(),
        warnings: union(&ok),
        ..(*first).clone()
    };
    (row.avg_ns, row.stddev_ns) = moments(&ok);
    row.energy_j = ok.iter().map(|r| r.energy_j).sum();
    // Of values that depend on each other, as rounds of a launch do, these are not known.
    (row.iqr_ns, row.mad_ns, row.ci95_low_ns, row.ci95_high_ns) = (None, None, None, None);
    (row.tokens_per_s_ci95_low, row.tokens_per_s_ci95_high) = (None, None);
    (row.speedup_ci95_low, row.speedup_ci95_high) = (None, None);
    set_calls(&mut row, &ok)?;
    Ok(row)
}

/// Every code that a row bears, once.
fn union(rows: &[&Row]) -> String {
    let mut codes: Vec<&str> = Vec::new();
    for code in rows.iter().flat_map(|r| r.warnings.split_whitespace()) {
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes.join(" ")
}

/// Mean and standard deviation of all samples together, from those of the launches.
fn moments(rows: &[&Row]) -> (Option<f64>, Option<f64>) {
    let parts: Option<Vec<(f64, f64, f64)>> =
        rows.iter().map(|r| Some((r.n_samples? as f64, r.avg_ns?, r.stddev_ns?))).collect();
    let Some(parts) = parts else { return (None, None) };
    let n: f64 = parts.iter().map(|(n, ..)| n).sum();
    let mean = parts.iter().map(|(n, mean, _)| n * mean).sum::<f64>() / n;
    let squares: f64 = parts.iter().map(|(n, m, sd)| (n - 1.0) * sd * sd + n * (m - mean).powi(2)).sum();
    (Some(nine_digits(mean)), Some(nine_digits((squares / (n - 1.0)).sqrt())).filter(|sd| sd.is_finite()))
}

/// Percentiles and histogram of single calls, where every launch has a histogram.
fn set_calls(row: &mut Row, rows: &[&Row]) -> anyhow::Result<()> {
    (row.p90_ns, row.p95_ns, row.p99_ns) = (None, None, None);
    row.histogram_v2.clear();
    if rows.iter().any(|r| r.histogram_v2.is_empty()) {
        return Ok(());
    }
    let mut all = LatencyHistogram::default();
    for r in rows {
        let one = LatencyHistogram::from_base64(&r.histogram_v2).and_then(|h| all.merge(&h));
        one.map_err(|e| anyhow::Error::new(e).context(format!("run {}, cell {}", r.run_id, r.cell_id)))?;
    }
    row.p50_ns = all.quantile_ns(0.5).map(|ns| ns as f64);
    for (column, (p, needs)) in [&mut row.p90_ns, &mut row.p95_ns, &mut row.p99_ns].into_iter().zip(PERCENTILE_NEEDS) {
        *column = all.quantile_ns(p).filter(|_| all.count() >= needs).map(|ns| ns as f64);
    }
    row.histogram_v2 = all.to_base64()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(run: &str, samples: &[f64]) -> Row {
        Row {
            run_id: run.to_owned(),
            cell_id: "x".to_owned(),
            status: "ok".to_owned(),
            n_samples: Some(samples.len() as u64),
            avg_ns: crate::stats::mean(samples),
            stddev_ns: crate::stats::stddev(samples),
            min_ns: samples.iter().copied().reduce(f64::min),
            tokens_per_s: Some(1e9 / 1000.0),
            round_values: "[1000.0]".to_owned(),
            histogram_v2: LatencyHistogram::of(samples).to_base64().expect("written"),
            ..Row::default()
        }
    }

    #[test]
    fn calls_of_all_launches_are_one_distribution() {
        let fast: Vec<f64> = (0..300).map(|i| 1000.0 + f64::from(i)).collect();
        let slow: Vec<f64> = (0..300).map(|i| 2000.0 + f64::from(i)).collect();
        let rows = [launch("1", &fast), launch("2", &slow)];
        let pooled = pool(&rows).expect("pooled");
        let all = [fast, slow].concat();
        let row = &pooled[0];
        assert_eq!((pooled.len(), row.n_samples, row.min_ns), (1, Some(600), Some(1000.0)));
        // 600 calls: the 594th is 2293; to three digits.
        assert!(row.p99_ns.is_some_and(|p| (p / 2293.0 - 1.0).abs() < 1e-3), "{:?}", row.p99_ns);
        let close = |a: Option<f64>, b: Option<f64>| a.zip(b).is_some_and(|(a, b)| (a / b - 1.0).abs() < 1e-8);
        assert!(close(row.avg_ns, crate::stats::mean(&all)) && close(row.stddev_ns, crate::stats::stddev(&all)));
        assert_eq!(row.histogram_v2, LatencyHistogram::of(&all).to_base64().expect("written"));
        assert_eq!((row.figures(), row.tokens_per_s), (vec![1000.0, 1000.0], Some(1e6)));
        assert!(row.run_id.starts_with("pooled-2-launches-"));
        assert_eq!(pool(&rows[..1]).expect("pooled"), rows[..1]);
    }

    #[test]
    fn a_histogram_that_is_none_is_named() {
        let bad = Row { histogram_v2: "nonsense!".to_owned(), ..launch("2", &[1.0]) };
        let error = format!("{:#}", pool(&[launch("1", &[1.0]), bad]).expect_err("no histogram"));
        assert!(error.contains("run 2, cell x") && error.contains("base64"), "{error}");
    }
}
