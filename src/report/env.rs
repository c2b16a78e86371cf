//! The answer of `env`: machine, build and, where measured, the machine's limits.

use serde::Serialize;

use super::Format;
use crate::measure::{Build, Direction, Machine, MeasuredLimits};

/// Renders the environment. Every form has one entry per column; a fact that the system does not tell is null in JSON,
/// empty in CSV and left out for people. JSON has the limits as an object, the others as a column each.
///
/// # Errors
/// When a record cannot be written, which no value of these types causes.
pub fn render_env(
    machine: &Machine,
    build: &Build,
    limits: Option<&MeasuredLimits>,
    format: Format,
) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Env<'a> {
        #[serde(flatten)]
        build: &'a Build,
        #[serde(flatten)]
        machine: &'a Machine,
        limits: Option<&'a MeasuredLimits>,
    }
    if format == Format::Json {
        return Ok(serde_json::to_string_pretty(&Env { build, machine, limits })? + "\n");
    }
    let mut facts = build_facts(build);
    facts.extend(machine_facts(machine));
    facts.extend(limits.into_iter().flat_map(limit_facts));
    match format {
        Format::Csv => csv(&facts),
        Format::Md => Ok(markdown(&facts)),
        Format::Table | Format::Json => Ok(table(&facts)),
    }
}

/// Column and value; an unknown value is empty.
type Fact = (String, String);

fn fact(column: &str, value: Option<impl ToString>) -> Fact {
    (column.to_owned(), value.map(|v| v.to_string()).unwrap_or_default())
}

fn build_facts(b: &Build) -> Vec<Fact> {
    vec![
        fact("build_version", Some(&b.build_version)),
        fact("build_commit", b.build_commit.as_ref()),
        fact("build_dirty", b.build_dirty),
        fact("build_profile", b.build_profile.as_ref()),
        fact("build_features", Some(&b.build_features)),
        fact("rustc_version", b.rustc_version.as_ref()),
        fact("candle_version", b.candle_version.as_ref()),
    ]
}

fn machine_facts(m: &Machine) -> Vec<Fact> {
    vec![
        fact("cpu_info", Some(&m.cpu_info)),
        fact("cpu_isa", Some(&m.cpu_isa)),
        fact("cpu_cores_physical", m.cpu_cores_physical),
        fact("cpu_threads_logical", m.cpu_threads_logical),
        fact("ram_total_bytes", m.ram_total_bytes),
        fact("os", m.os.as_ref()),
        fact("kernel", m.kernel.as_ref()),
        fact("machine_id", Some(&m.machine_id)),
        fact("machine_label", m.machine_label.as_ref()),
        fact("container", Some(m.container)),
        fact("ci", Some(m.ci)),
        fact("cache_l1d_bytes", m.cache_l1d_bytes),
        fact("cache_l2_bytes", m.cache_l2_bytes),
        fact("cache_l3_bytes", m.cache_l3_bytes),
    ]
}

fn limit_facts(l: &MeasuredLimits) -> Vec<Fact> {
    // More than three digits would promise what a shared machine does not keep.
    let number = |column: &str, value: Option<f64>| fact(column, value.map(three_digits));
    let mut facts = vec![
        fact("n_threads", Some(l.n_threads)),
        number("timer_resolution_ns", l.timer_resolution_ns),
        number("fma_gflops_1t", l.fma_gflops_1t),
        number("fma_gflops", l.fma_gflops),
        number("sgemm_gflops", l.sgemm_gflops),
        number("fork_join_us", l.fork_join_us),
    ];
    for stream in &l.streams {
        let direction = match stream.direction {
            Direction::Read => "read",
            Direction::ReadWrite => "read_write",
        };
        let column = format!("{direction}_{}_gb_per_s", stream.level.to_lowercase());
        facts.push(number(&format!("{column}_1t"), stream.gb_per_s_1t));
        facts.push(number(&column, stream.gb_per_s));
    }
    facts
}

/// A positive number to three significant digits, without an exponent.
fn three_digits(value: f64) -> String {
    let decimals = (2.0 - value.abs().max(f64::MIN_POSITIVE).log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.decimals$}")
}

fn csv(facts: &[Fact]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(facts.iter().map(|(column, _)| column))?;
    writer.write_record(facts.iter().map(|(_, value)| value))?;
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn known(facts: &[Fact]) -> impl Iterator<Item = &Fact> {
    facts.iter().filter(|(_, value)| !value.is_empty())
}

fn table(facts: &[Fact]) -> String {
    let width = known(facts).map(|(column, _)| column.len()).max().unwrap_or(0);
    known(facts).map(|(column, value)| format!("{column:width$}  {value}\n")).collect()
}

fn markdown(facts: &[Fact]) -> String {
    let row = |(column, value): &Fact| format!("| `{column}` | {} |\n", value.replace('|', "\\|"));
    let head = "| column | value |\n|---|---|\n".to_owned();
    head + &known(facts).map(row).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::StreamLimit;

    fn machine() -> Machine {
        Machine {
            cpu_info: "Example CPU, 2 cores | boost".to_owned(),
            cpu_isa: "avx2+fma".to_owned(),
            cpu_cores_physical: Some(2),
            cpu_threads_logical: Some(4),
            ram_total_bytes: Some(8 << 30),
            os: Some("Linux".to_owned()),
            kernel: None,
            machine_id: "0123456789abcdef".to_owned(),
            machine_label: None,
            container: false,
            ci: true,
            cache_l1d_bytes: None,
            cache_l2_bytes: Some(512 << 10),
            cache_l3_bytes: None,
        }
    }

    fn limits() -> MeasuredLimits {
        let stream = StreamLimit {
            level: "L2",
            footprint_bytes: 1 << 18,
            direction: Direction::ReadWrite,
            gb_per_s_1t: Some(123.456),
            gb_per_s: None,
        };
        MeasuredLimits {
            n_threads: 2,
            timer_resolution_ns: Some(20.0),
            fma_gflops_1t: Some(102.04),
            fma_gflops: Some(1205.7),
            sgemm_gflops: None,
            fork_join_us: Some(0.229_12),
            streams: vec![stream],
        }
    }

    fn render(format: Format) -> String {
        render_env(&machine(), &Build::current(), Some(&limits()), format).unwrap()
    }

    #[test]
    fn json_has_every_column_and_null_for_what_is_missing() {
        let json: serde_json::Value = serde_json::from_str(&render(Format::Json)).unwrap();
        assert_eq!(json["cpu_threads_logical"], 4);
        assert!(json["kernel"].is_null() && json.as_object().unwrap().contains_key("kernel"));
        assert_eq!(json["build_version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(json["limits"]["streams"][0]["gb_per_s_1t"], 123.456);
        assert_eq!(json["limits"]["streams"][0]["direction"], "read_write");
    }

    #[test]
    fn csv_is_one_row_with_empty_cells_and_quotes_where_needed() {
        let text = render(Format::Csv);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().unwrap().clone();
        let row = reader.records().next().unwrap().unwrap();
        let value = |column: &str| row.get(header.iter().position(|c| c == column).unwrap()).unwrap();
        assert_eq!(value("cpu_info"), "Example CPU, 2 cores | boost");
        assert_eq!((value("kernel"), value("sgemm_gflops"), value("ci")), ("", "", "true"));
        assert_eq!((value("read_write_l2_gb_per_s_1t"), value("read_write_l2_gb_per_s")), ("123", ""));
        assert!(!text.contains('\r'));
    }

    #[test]
    fn people_see_what_is_known() {
        let table = render(Format::Table);
        assert!(!table.contains("kernel") && !table.contains("sgemm"), "{table}");
        assert!(table.lines().any(|l| l.starts_with("fma_gflops_1t ") && l.ends_with(" 102")), "{table}");
        let md = render(Format::Md);
        assert!(md.starts_with("| column | value |\n|---|---|\n"));
        assert!(md.contains("| `cpu_info` | Example CPU, 2 cores \\| boost |\n"), "{md}");
    }

    #[test]
    fn numbers_keep_three_digits() {
        let cases = [
            (1205.7, "1206"),
            (102.04, "102"),
            (53.44, "53.4"),
            (0.22912, "0.229"),
            (20.0, "20.0"),
            (0.001, "0.00100"),
        ];
        for (value, text) in cases {
            assert_eq!(three_digits(value), text);
        }
    }
}
