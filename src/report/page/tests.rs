//! The page read back by an HTML parser: values, states, and what hostile files cannot do to it.

use std::{collections::BTreeSet, path::Path};

use proptest::prelude::*;
use scraper::{ElementRef, Html, Selector};

use super::{
    super::{
        chart::standalone,
        material::{CellsFrom, QualityFrom, TrainingFrom},
    },
    *,
};
use crate::store::{CellsTable, QualityRow, QualityTable, Row, TrainingRow, TrainingTable, read_cells};

fn build() -> Build {
    Build::current()
}

fn given(name: &str, rows: Vec<Row>) -> Material {
    let table = CellsTable { rows, ..CellsTable::default() };
    Material { cells: vec![CellsFrom { name: name.to_owned(), table }], ..Material::default() }
}

fn committed(name: &str) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("results").join(name);
    read_cells(&path).expect("a committed run").rows
}

fn page(material: &Material) -> Html {
    Html::parse_document(&render_page(material, &build()).expect("rendered"))
}

fn all<'a>(html: &'a Html, css: &str) -> Vec<ElementRef<'a>> {
    html.select(&Selector::parse(css).expect("a selector")).collect()
}

fn text(html: &Html, css: &str) -> String {
    all(html, css).iter().flat_map(|e| e.text()).collect()
}

fn number(element: &ElementRef<'_>, attribute: &str) -> f64 {
    element.attr(attribute).expect(attribute).parse().expect("a number")
}

/// A column of a row as the file has it.
fn value_of(row: &Row, column: &str) -> Option<f64> {
    serde_json::to_value(row).expect("a row")[column].as_f64()
}

const RUNS: [&str; 4] = [
    "quick-epyc-2vcpu-2026-11-24.csv",
    "quick-epyc-2vcpu-2026-11-24-fused.csv",
    "paper-mt-base-epyc-2vcpu-2026-11-24.csv",
    "paper-mt-base-epyc-2vcpu-2026-11-24-fused.csv",
];

#[test]
fn values_in_table_and_charts_are_those_of_the_files() {
    for name in RUNS {
        let rows = committed(name);
        let html = page(&given(name, rows.clone()));
        let row_of = |e: &ElementRef<'_>| {
            let (run, cell) = (e.attr("data-run").expect("a run"), e.attr("data-cell").expect("a cell"));
            rows.iter().find(|r| r.run_id == run && r.cell_id == cell).expect("a row of the file")
        };
        let lines = all(&html, "#cells-table tbody tr");
        assert_eq!(lines.len(), rows.len());
        let mut compared = 0;
        for line in &lines {
            let row = row_of(line);
            for field in line.select(&Selector::parse("[data-value]").expect("a selector")) {
                let column = field.attr("data-column").expect("a column");
                assert_eq!(Some(number(&field, "data-value")), value_of(row, column), "{name}: {column}");
                compared += 1;
            }
        }
        assert!(compared > 6 * rows.len(), "{compared} values in {} rows", rows.len());
        let points = all(&html, ".point[data-cell]");
        for point in &points {
            let (row, column) = (row_of(point), point.attr("data-column").expect("a column"));
            assert_eq!(Some(number(point, "data-y")), value_of(row, column), "{name}: {column}");
            if !column.ends_with("_ns") {
                assert_eq!(number(point, "data-x"), row.seq_len as f64);
            }
            if column == "tokens_per_s" {
                let ends = (number(point, "data-y-low"), number(point, "data-y-high"));
                assert_eq!(Some(ends), row.tokens_per_s_ci95_low.zip(row.tokens_per_s_ci95_high));
            }
        }
        // Every measured cell is a point of the speed chart, and no cell is two.
        let speeds = points.iter().filter(|p| p.attr("data-column") == Some("tokens_per_s")).count();
        assert_eq!(speeds, rows.iter().filter(|r| r.tokens_per_s.is_some()).count(), "{name}");
    }
}

#[test]
fn the_page_begins_with_the_answer() {
    let html = page(&given("run", committed(RUNS[1])));
    let first = all(&html, "main > section").first().and_then(|s| s.attr("id")).map(str::to_owned);
    assert_eq!(first.as_deref(), Some("answer"));
    // As the file has it: decode, batch 16, 4096 tokens: t2r at 12.6081396 times softmax.
    let headline = text(&html, ".lead .headline");
    assert!(headline.contains("t2r") && headline.contains("12.6×") && headline.contains("4,096 tokens"), "{headline}");
    let facts = text(&html, ".lead .facts");
    for part in ["2.03 MiB", "512 MiB", "252× less", "every length measured", "8 rounds", "intervals overlap"] {
        assert!(facts.contains(part), "{part} not in {facts}");
    }
    assert_eq!(all(&html, ".answers tbody tr").len(), 4, "attention twice, decode, forward");
}

#[test]
fn several_files_are_set_side_by_side() {
    let cells = |name: &str| CellsFrom {
        name: name.to_owned(),
        table: CellsTable { rows: committed(name), ..CellsTable::default() },
    };
    let mut material = Material { cells: RUNS.map(cells).to_vec(), ..Material::default() };
    for row in &mut material.cells[1].table.rows {
        row.machine_id = "another".to_owned();
        row.cpu_info = "Another CPU".to_owned();
    }
    let html = page(&material);
    assert_eq!(all(&html, ".lead").len(), 4);
    assert!(text(&html, "header .about").contains("2 machines"));
    assert!(text(&html, "#machines .differs").contains("Another CPU"));
    // Plain loops against fused kernels on the same cells; the models of the paper have no workload in common with them.
    let comparison = text(&html, "#comparison");
    assert!(comparison.contains("52 cells: ") && comparison.contains("Geometric means"), "{comparison}");
    assert_eq!(all(&html, "#comparison h3").len(), 1);
    let ids: Vec<&str> = all(&html, "[id]").iter().filter_map(|e| e.attr("id")).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "no id twice");
}

#[test]
fn a_file_without_rows_says_what_to_do() {
    let html = page(&given("run", Vec::new()));
    assert!(text(&html, "#answer").contains("There are no cells yet."));
    assert!(all(&html, "svg").is_empty() && all(&html, "#cells-table").is_empty());
    assert!(text(&page(&Material::default()), "#answer").contains("no cells"));
}

#[test]
fn skipped_cells_give_their_reasons_and_their_predicted_memory() {
    let skipped = |variant: &str, seq_len| Row {
        status: "skipped".to_owned(),
        status_detail: "needs 41 GB".to_owned(),
        warnings: "memory_budget".to_owned(),
        workload: "decode".to_owned(),
        variant: variant.to_owned(),
        cell_id: format!("{variant}{seq_len}"),
        seq_len,
        state_bytes_pred: Some(seq_len * 64),
        ..Row::default()
    };
    let html = page(&given("run", vec![skipped("softmax", 1024), skipped("t2r", 1024), skipped("t2r", 4096)]));
    let answer = text(&html, "#answer");
    assert!(answer.contains("No cell has a speed") && answer.contains("needs 41 GB (3 cells)"), "{answer}");
    let charts: Vec<&str> = all(&html, "svg.chart").iter().filter_map(|e| e.attr("id")).collect();
    assert_eq!(charts, ["decode-batch-0-memory"]);
    assert_eq!(all(&html, "svg .point .hollow").len(), 3, "predictions are hollow");
    assert!(text(&html, "#trust").contains("would not fit in memory"));
}

#[test]
fn one_cell_is_told_as_one_cell() {
    let mut row = committed(RUNS[1]).swap_remove(1);
    row.speedup_vs_softmax = None;
    let html = page(&given("run", vec![row]));
    assert!(text(&html, "#answer").contains("nothing to compare it with"));
    assert_eq!(all(&html, "svg.chart").len(), 2, "speed and memory");
    assert!(all(&html, "svg .curve").is_empty(), "one point is no line");
}

#[test]
fn training_logs_and_qualities_have_their_charts() {
    let step = |i: u32| TrainingRow {
        step: f64::from(i),
        loss: Some(4.0 - f64::from(i) / 50.0),
        validation_loss: (i.is_multiple_of(10)).then_some(3.5),
        ..TrainingRow::default()
    };
    let model = |variant: &str, perplexity, speed| QualityRow {
        variant: variant.to_owned(),
        perplexity: Some(perplexity),
        tokens_per_s: Some(speed),
        ..QualityRow::default()
    };
    let material = Material {
        training: vec![TrainingFrom {
            name: "log".to_owned(),
            table: TrainingTable { rows: (1..=50).map(step).collect(), is_truncated: false },
        }],
        quality: vec![QualityFrom {
            name: "tradeoff".to_owned(),
            table: QualityTable {
                rows: vec![model("softmax", 30.0, 100.0), model("t2r", 33.0, 400.0)],
                is_truncated: false,
            },
        }],
        ..Material::default()
    };
    let html = page(&material);
    let charts: Vec<&str> = all(&html, "svg.chart").iter().filter_map(|e| e.attr("id")).collect();
    assert_eq!(charts, ["quality-perplexity-tradeoff", "training-loss-log"]);
    assert_eq!(all(&html, "#training-loss-log .point").len(), 55);
    let labels = text(&html, "#quality-perplexity-tradeoff .label");
    assert!(labels.contains("softmax") && labels.contains("33.0"), "{labels}");
}

/// Attributes and elements of a page whose texts are harmless.
fn vocabulary(html: &Html) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut elements, mut attributes) = (BTreeSet::new(), BTreeSet::new());
    for element in all(html, "*") {
        elements.insert(element.value().name().to_owned());
        attributes.extend(element.value().attrs().map(|(name, _)| name.to_owned()));
    }
    (elements, attributes)
}

/// Rows whose every text is this one; their numbers are those of a committed run.
fn poisoned(text: &str) -> Vec<Row> {
    let mut rows = committed(RUNS[1]);
    rows.truncate(8);
    for (i, row) in rows.iter_mut().enumerate() {
        let mut all = [
            &mut row.variant_params,
            &mut row.implementation,
            &mut row.model,
            &mut row.run_id,
            &mut row.test_time,
            &mut row.status_detail,
            &mut row.warnings,
            &mut row.quality,
            &mut row.cpu_info,
            &mut row.machine_label,
            &mut row.machine_id,
            &mut row.os,
            &mut row.kernel,
            &mut row.build_commit,
            &mut row.device_name,
            &mut row.build_features,
            &mut row.rustc_version,
            &mut row.meta,
            &mut row.cache,
            &mut row.dtype,
            &mut row.histogram_v2,
        ];
        all.iter_mut().for_each(|t| text.clone_into(t));
        if i % 2 == 0 {
            text.clone_into(&mut row.variant);
            text.clone_into(&mut row.workload);
        }
        if i % 3 == 0 {
            text.clone_into(&mut row.status);
        }
    }
    rows
}

fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "<script>alert(1)</script>",
        "</script>",
        "</style>",
        "\"",
        "'",
        "&",
        "&lt;",
        "<img src=x onerror=alert(1)>",
        "-->",
        "]]>",
        "</svg>",
        "</title>",
        "javascript:alert(1)",
        "\" onload=\"x",
        "\u{0}",
        "\u{202e}",
        "\u{ffff}",
        "\r\n",
        "../../x",
        "t2r",
        "softmax",
        " · ",
        "<!--",
        "<?xml ?>",
        "\u{1b}[31m",
        "é",
        "𝕏",
    ]);
    prop_oneof![
        prop::collection::vec(pieces, 0..5).prop_map(|p| p.concat()),
        "\\PC{0,40}",
        any::<char>().prop_map(|c| c.to_string().repeat(5_000)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_text_of_a_file_becomes_markup(text in hostile(), name in hostile()) {
        let harmless = vocabulary(&page(&given("a", poisoned("b"))));
        let mut material = given(&name, poisoned(&text));
        material.cells.push(CellsFrom { name: text.clone(), table: CellsTable { rows: poisoned(&name), ..CellsTable::default() } });
        let html = page(&material);
        let (elements, attributes) = vocabulary(&html);
        let known = |of: &BTreeSet<String>, more: &[&str], word: &String| of.contains(word) || more.contains(&word.as_str());
        for element in &elements {
            prop_assert!(known(&harmless.0, &["ul", "li", "dd", "dt", "dl", "div", "p", "tspan"], element), "<{element}>");
        }
        for attribute in &attributes {
            let more = ["colspan", "stroke-dasharray", "dx"];
            prop_assert!(known(&harmless.1, &more, attribute) && !attribute.starts_with("on"), "{attribute}");
        }
        prop_assert_eq!(all(&html, "script").len(), 1);
        prop_assert_eq!(all(&html, "style").len(), 1);
        for link in all(&html, "[href]") {
            let href = link.attr("href").unwrap_or_default();
            prop_assert!(href.starts_with('#') || href == "data:,", "{href}");
        }
        let shown = text::clean(&text);
        let found = all(&html, "#machines td").iter().any(|td| td.text().collect::<String>() == shown);
        prop_assert!(found || shown.is_empty() || shown.contains('\r'), "{shown:?} is shown as it is");
        for chart in sections(&material).iter().flat_map(|s| &s.figures).flat_map(|f| &f.charts) {
            prop_assert!(chart.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
            let svg = standalone(chart).expect("drawn").expect("points");
            let parsed = roxmltree::Document::parse(&svg);
            prop_assert!(parsed.is_ok(), "{:?}", parsed.err());
        }
    }

    #[test]
    fn no_number_of_a_file_stops_the_page(
        numbers in prop::collection::vec(any::<f64>(), 12),
        lengths in prop::collection::vec(any::<u64>(), 6),
        bytes in any::<u64>(),
    ) {
        let mut rows = committed(RUNS[1]);
        rows.truncate(6);
        for (i, row) in rows.iter_mut().enumerate() {
            row.seq_len = lengths[i];
            row.tokens_per_s = Some(numbers[i]);
            row.tokens_per_s_ci95_low = Some(numbers[i + 1]);
            row.tokens_per_s_ci95_high = Some(numbers[i + 2]);
            row.speedup_vs_softmax = Some(numbers[i + 3]);
            row.speedup_ci95_low = Some(numbers[i + 4]);
            row.speedup_ci95_high = Some(numbers[i + 5]);
            row.p50_ns = Some(numbers[i + 6]);
            row.state_bytes_measured = Some(bytes);
            row.round_values = format!("{:?}", &numbers[..6]);
        }
        let html = page(&given("run", rows));
        prop_assert!(!all(&html, "#cells-table").is_empty());
    }
}

#[test]
fn a_standalone_figure_says_what_it_shows_and_carries_its_values() {
    let material = given("run", committed(RUNS[3]));
    let sections = sections(&material);
    let chart = &sections[0].figures[0].charts[0];
    let svg = standalone(chart).expect("drawn").expect("points");
    let document = roxmltree::Document::parse(&svg).expect("XML");
    let root = document.root_element();
    assert_eq!(root.attribute("width"), Some("560"));
    let points: Vec<_> = root.descendants().filter(|n| n.attribute("class") == Some("point")).collect();
    assert_eq!(points.len(), 28, "four variants at seven lengths");
    // As the file has it: softmax at 512 tokens.
    assert!(points.iter().any(|p| p.attribute("data-x") == Some("512") && p.attribute("data-y") == Some("716.752419")));
    assert!(points.iter().all(|p| p.children().any(|c| c.tag_name().name() == "title" && c.text().is_some())));
    let labels: String =
        root.descendants().filter(|n| n.tag_name().name() == "tspan").filter_map(|n| n.text()).collect();
    for variant in ["softmax", "elu", "rfa", "t2r"] {
        assert!(labels.contains(variant), "{labels}");
    }
}
