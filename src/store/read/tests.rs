//! Files that are right, odd, cut off and wrong.

use proptest::prelude::*;

use super::*;
use crate::store::files::cells_csv;

fn a_row() -> Row {
    Row {
        schema_version: 1,
        run_id: "20260131T120000Z-0a0b0c0d-1234".to_owned(),
        cell_id: "0123456789abcdef".to_owned(),
        status: "ok".to_owned(),
        workload: "attention".to_owned(),
        variant: "t2r".to_owned(),
        causal: true,
        batch_size: 16,
        seq_len: 1024,
        p50_ns: Some(1234.5),
        flops_est: Some(1e21),
        build_dirty: Some(false),
        status_detail: "a \"quoted\", text".to_owned(),
        meta: "{\"a\":1}".to_owned(),
        ..Row::default()
    }
}

fn text(rows: &[Row]) -> String {
    String::from_utf8(cells_csv(rows).expect("written")).expect("utf-8")
}

fn error(text: &str) -> String {
    parse_cells("my.csv", text.as_bytes()).map(|_| String::new()).unwrap_or_else(|e| e.to_string())
}

#[test]
fn what_is_written_reads_back() {
    let rows = vec![a_row(), Row { p50_ns: None, ..a_row() }];
    let text = text(&rows);
    assert!(text.contains("\"a \"\"quoted\"\", text\""));
    assert!(!text.contains('\r') && text.ends_with('\n'));
    let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    for text in [text, windows] {
        let table = parse_cells("x", text.as_bytes()).expect("reads");
        assert_eq!(table, CellsTable { rows: rows.clone(), ..CellsTable::default() });
    }
}

#[test]
fn unknown_metrics_are_passed_over_and_unknown_keys_refused() {
    let text = text(&[a_row()]);
    let mut lines = text.lines();
    let (header, row) = (lines.next().expect("header"), lines.next().expect("row"));
    let table = parse_cells("x", format!("{header},new_pct\n{row},5\n").as_bytes()).expect("reads");
    assert_eq!((table.rows, table.unknown_columns), (vec![a_row()], vec!["new_pct".to_owned()]));
    let message = error(&text.replacen(",seed,", ",sed,seed,", 1));
    assert!(message.starts_with("my.csv, line 1, column sed: unknown key column, did you mean 'seed'?"), "{message}");
    let message = error(&text.replacen(",seq_len,", ",length,", 1));
    assert!(message.starts_with("my.csv, line 1, column seq_len: missing"), "{message}");
}

#[test]
fn errors_name_line_and_column() {
    let good = text(&[a_row()]);
    let row = good.lines().nth(1).expect("row");
    let message = error(&format!("{good}{}\n", row.replacen(",16,", ",many,", 1)));
    assert!(message.starts_with("my.csv, line 3, column batch_size: 'many'"), "{message}");
    let message = error(&format!("{good}1,2\n"));
    assert!(message.starts_with("my.csv, line 3: 2 fields"), "{message}");
    let message = error(&text(&[Row { schema_version: 2, ..a_row() }]));
    assert!(message.contains("line 2, column schema_version: version 2 is newer"), "{message}");
    assert!(error("").contains("empty"));
    assert!(error("hello\n").contains("another kind of file"));
}

#[test]
fn a_last_line_that_was_cut_off_is_recognised() {
    let text = text(&[a_row(), a_row()]);
    let first_two = text.match_indices('\n').nth(1).map_or(0, |(i, _)| i + 1);
    let meta = text.rfind(",\"{").expect("the last column");
    // With nothing of the last column but its quote, a line is a line without it.
    for end in (first_two + 1..meta + 1).chain(meta + 3..text.len() - 3) {
        let table = parse_cells("x", &text.as_bytes()[..end]).unwrap_or_else(|e| panic!("{end}: {e}"));
        assert_eq!((table.rows.len(), table.is_truncated), (1, true), "cut at {end}");
    }
}

#[test]
fn tables_of_other_programs_are_told_apart() {
    let others = [
        "command,mean,stddev,median,user,system,min,max\nsleep 0.1,0.1,0.01,0.1,0.0,0.0,0.1,0.2\n",
        "build_commit,build_number,cpu_info,n_threads,n_prompt,n_gen,test_time,avg_ns,stddev_ns\nabc,1,x,8,512,0,t,1,2\n",
        "group,function,value,throughput_num,throughput_type,sample_measured_value,unit,iteration_count\nf,g,,,,1,ns,2\n",
        "run_id,cell_id,workload,variant,batch_size,seq_len,round,attempt,sample,iters,ns,foreign_cpu_pct\n",
        "{\"a\": 1}\n",
    ];
    for text in others {
        let message = error(text);
        assert!(
            message.starts_with("my.csv, line 1, column ") && message.contains("another kind of file"),
            "{message}"
        );
    }
}

#[test]
fn what_is_no_finite_number_or_no_positive_time_is_refused_with_its_place() {
    let good = text(&[Row { round_values: "[1.0,2.0]".to_owned(), ..a_row() }]);
    for (from, to, column) in [
        (",1234.5,", ",NaN,", "p50_ns"),
        (",1234.5,", ",-inf,", "p50_ns"),
        (",1234.5,", ",1e999,", "p50_ns"),
        ("[1.0,2.0]", "[1.0,NaN]", "round_values"),
        ("[1.0,2.0]", "[1.0,-2.0]", "round_values"),
        ("[1.0,2.0]", "fast", "round_values"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let message = error(&bad);
        assert!(message.starts_with(&format!("my.csv, line 2, column {column}: ")), "{to}: {message}");
    }
}

#[test]
fn a_field_of_any_size_is_read_or_named_in_a_message_of_one_line() {
    let huge = "x".repeat(1 << 20);
    let row = Row { status_detail: huge.clone(), ..a_row() };
    assert_eq!(parse_cells("x", text(std::slice::from_ref(&row)).as_bytes()).expect("reads").rows, [row]);
    let message = error(&text(&[a_row()]).replacen(",16,", &format!(",{huge},"), 1));
    assert!(message.len() < 300 && message.contains("column batch_size"), "{}", message.len());
}

#[test]
fn a_quotation_mark_that_is_never_closed_does_not_swallow_the_rows_behind_it() {
    let plain = || Row { status_detail: String::new(), meta: String::new(), ..a_row() };
    let good = text(&[plain(), plain(), plain()]);
    let bad = good.replacen(",t2r,", ",\"t2r,", 1);
    for end in [bad.len(), bad.len() - 7] {
        let message = error(&bad[..end]);
        assert!(message.starts_with("my.csv, line 2: a quotation mark"), "{message}");
    }
}

proptest! {
    /// Whatever the order of columns and rows, and whatever is twice: by name, every value is where it belongs.
    #[test]
    fn columns_and_rows_in_any_order_are_the_same_rows(seed in any::<u64>()) {
        use rand::{SeedableRng, seq::SliceRandom};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let rows = [a_row(), Row { seq_len: 2048, ..a_row() }, Row { seq_len: 4096, ..a_row() }, a_row()];
        let written = cells_csv(&rows).expect("written");
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&*written);
        let records: Vec<csv::StringRecord> = reader.records().map(|r| r.expect("readable")).collect();
        let mut columns: Vec<usize> = (0..records[0].len()).collect();
        let mut order: Vec<usize> = (1..records.len()).collect();
        columns.shuffle(&mut rng);
        order.shuffle(&mut rng);
        let mut writer = csv::Writer::from_writer(Vec::new());
        for i in std::iter::once(0).chain(order.iter().copied()) {
            writer.write_record(columns.iter().map(|c| &records[i][*c])).expect("written");
        }
        let shuffled = writer.into_inner().expect("flushed");
        let read = parse_cells("x", &shuffled).expect("reads").rows;
        let expected: Vec<Row> = order.iter().map(|i| rows[i - 1].clone()).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_cells("x", &bytes);
        let mut with_header = cells_csv(&[]).expect("written");
        with_header.extend(&bytes);
        let _ = parse_cells("x", &with_header);
    }

    #[test]
    fn no_change_makes_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = cells_csv(&[a_row(), a_row()]).expect("written");
        let i = at.index(bytes.len());
        bytes[i] = byte;
        let _ = parse_cells("x", &bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn every_number_reads_back(p50 in prop::option::of(0.0f64..1e300), bytes in prop::option::of(any::<u64>()), detail in "\\PC{0,20}") {
        let row = Row { p50_ns: p50, alloc_peak_bytes: bytes, status_detail: detail, ..a_row() };
        let table = parse_cells("x", &cells_csv(std::slice::from_ref(&row)).expect("written"));
        prop_assert_eq!(table.expect("reads").rows, vec![row]);
    }
}
