use super::*;

fn row(variant: &str, seq_len: u64, figures: &str) -> Row {
    Row {
        status: "ok".to_owned(),
        workload: "decode".to_owned(),
        variant: variant.to_owned(),
        implementation: "reference".to_owned(),
        dtype: "f32".to_owned(),
        device_kind: "cpu".to_owned(),
        batch_size: 16,
        n_layers: Some(6),
        d_model: Some(512),
        seq_len,
        feature_dim: (variant == "t2r").then_some(32),
        n_threads: 2,
        round_values: figures.to_owned(),
        quality: "good".to_owned(),
        ..Row::default()
    }
}

/// Softmax takes as many ns as there are tokens, T2R always 500.
fn grid() -> Vec<Row> {
    let mut rows = Vec::new();
    for len in [64, 256, 1024, 4096] {
        rows.push(row("softmax", len, &format!("[{len}]")));
        let mut t2r = row("t2r", len, "[500]");
        t2r.ci95_low_ns = Some(495.0);
        t2r.ci95_high_ns = Some(505.0);
        t2r.tokens_per_s = Some(32_000_000.0);
        t2r.state_bytes_pred = Some(66_560);
        t2r.speedup_vs_softmax = Some(len as f64 / 500.0);
        t2r.speedup_ci95_low = Some(len as f64 / 510.0);
        t2r.speedup_ci95_high = Some(len as f64 / 490.0);
        rows.push(t2r);
    }
    rows
}

#[test]
fn a_line_says_time_rate_state_and_speedup() {
    let text = render_summary(&grid());
    assert!(text.starts_with("\ndecode · batch 16 · 6 layers of 512 · f32 on cpu, 2 threads\n"), "{text}");
    let line = text.lines().find(|l| l.contains("t2r") && l.contains("4,096")).expect("a line");
    let words: Vec<&str> = line.split_whitespace().collect();
    let expected = ["t2r", "4,096", "500", "ns", "1.00%", "32,000,000", "65.0", "KiB", "8.19×", "[8.03,", "8.36]"];
    assert_eq!(words, expected);
}

#[test]
fn crossover_and_exponent_are_named() {
    let text = render_summary(&grid());
    assert!(
        text.contains("  t2r: passes softmax at 500 tokens per step; time per token grows as seq_len^0.00"),
        "{text}"
    );
    assert!(text.contains("  softmax: time per token grows as seq_len^1.00"), "{text}");
    let whole: Vec<Row> = grid().into_iter().map(|r| Row { workload: "generate".to_owned(), ..r }).collect();
    assert!(render_summary(&whole).contains("at 500 tokens over the whole generation"));
}

#[test]
fn what_is_not_ok_says_why_and_joins_no_trend() {
    let mut rows = grid();
    rows[6].status = "skipped".to_owned();
    rows[6].status_detail = "needs 40 GiB".to_owned();
    rows[6].round_values = String::new();
    rows[6].warnings = "memory_budget".to_owned();
    rows[6].quality = String::new();
    let text = render_summary(&rows);
    assert!(text.lines().any(|l| l.contains("softmax") && l.ends_with("skipped: needs 40 GiB")), "{text}");
    assert!(text.ends_with("cells: 7 ok, 1 skipped\nquality: 7 good\nwarnings: 1 memory_budget\n"), "{text}");
}

#[test]
fn rows_of_a_variant_are_told_apart_only_where_they_must_be() {
    let (a, b) = (
        Row { feature_dim: Some(32), ..row("t2r", 64, "[1]") },
        Row { feature_dim: Some(64), ..row("t2r", 64, "[1]") },
    );
    let text = render_summary(&[a.clone(), b]);
    assert!(text.contains("t2r m=32") && text.contains("t2r m=64"), "{text}");
    assert!(!render_summary(&[a]).contains("m=32"));
}

#[test]
fn batches_and_workloads_are_tables_of_their_own() {
    let rows = [row("t2r", 64, "[1]"), Row { batch_size: 1, ..row("t2r", 64, "[1]") }];
    assert_eq!(render_summary(&rows).matches("time/step").count(), 2);
    assert_eq!(render_summary(&[]), "nothing was measured\n");
}
