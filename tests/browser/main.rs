//! The report in a real browser: headless Chromium opens what the binary wrote. Needs Chromium, and fails without it; so it
//! is run by name: `cargo test --release --test browser -- --ignored`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Where Chromium may be found, by the names that distributions give it.
fn chromium() -> String {
    let names =
        env::var("CHROMIUM").into_iter().chain(["chromium", "chromium-browser", "google-chrome"].map(String::from));
    let runs = |name: &String| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    names.into_iter().find(runs).unwrap_or_else(|| {
        panic!("no Chromium: install it (Debian: apt-get install chromium) or name it in CHROMIUM; the report is NOT tested")
    })
}

/// Opens a page and gives back what it became and what the browser said.
fn open(page: &Path, more: &[&str]) -> Output {
    let profile = tempfile::tempdir().expect("a folder for the browser's profile");
    let output = Command::new(chromium())
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--v=0"])
        .args([
            "--virtual-time-budget=4000",
            "--disable-extensions",
            "--no-first-run",
            "--allow-file-access-from-files",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(more)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// What pages wrote to the console, violations of their policy included.
fn console(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().filter(|l| l.contains(":CONSOLE")).map(str::to_owned).collect()
}

struct Report {
    _dir: tempfile::TempDir,
    page: PathBuf,
    figures: PathBuf,
}

/// The report of two committed runs and a training log.
fn report() -> Report {
    let dir = tempfile::tempdir().expect("a folder");
    let (page, figures) = (dir.path().join("report.html"), dir.path().join("figures"));
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let log = dir.path().join("log.csv");
    let lines = (1..=200)
        .map(|i| format!("{i},{},{},{}\n", i * 64, 3.0 + 4.0 / f64::from(i), if i % 50 == 0 { "3.2" } else { "" }));
    fs::write(&log, String::from("step,tokens,loss,validation_loss\n") + &lines.collect::<String>()).expect("written");
    let status = Command::new(env!("CARGO_BIN_EXE_t2r"))
        .arg("report")
        .args(
            ["quick-epyc-2vcpu-2026-11-24-fused.csv", "paper-mt-base-epyc-2vcpu-2026-11-24-fused.csv"]
                .map(|f| results.join(f)),
        )
        .arg(&log)
        .arg("-o")
        .arg(&page)
        .arg("--figures")
        .arg(&figures)
        .status()
        .expect("started");
    assert!(status.success());
    Report { _dir: dir, page, figures }
}

/// The page with a script behind it that writes what `probe` answers, as JSON, into `<pre id=probe>`.
fn probed(report: &Report, probe: &str, more: &[&str]) -> serde_json::Value {
    let page = fs::read_to_string(&report.page).expect("the page");
    let script = format!(
        "<pre id=probe></pre><script>document.getElementById('probe').textContent=JSON.stringify((()=>{{{probe}}})())</script>"
    );
    let copy = report.page.with_file_name("probed.html");
    fs::write(&copy, page.replace("</body>", &format!("{script}</body>"))).expect("written");
    let output = open(&copy, &[&["--dump-dom"], more].concat());
    assert_eq!(console(&output), [] as [String; 0]);
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, after) = dom.split_once("<pre id=\"probe\">").expect("the probe ran");
    let (json, _) = after.split_once("</pre>").expect("the end of the probe");
    let json = json.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json}"))
}

#[test]
#[ignore = "needs Chromium: cargo test --release --test browser -- --ignored"]
fn the_page_is_whole_and_asks_for_nothing() {
    let report = report();
    let probe = r"return {
        charts: document.querySelectorAll('svg.chart').length,
        drawn: [...document.querySelectorAll('svg.chart')].every((c) => c.getBoundingClientRect().width > 200 && c.querySelector('.point')),
        named: [...document.querySelectorAll('svg.chart')].every((c) => document.getElementById(c.getAttribute('aria-labelledby')).textContent.trim() && document.getElementById(c.getAttribute('aria-describedby')).textContent.trim()),
        requests: performance.getEntriesByType('resource').map((e) => e.name),
        overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        background: getComputedStyle(document.body).backgroundColor,
    };";
    let seen = probed(&report, probe, &["--window-size=1400,1000"]);
    assert!(seen["charts"].as_u64() >= Some(12), "{seen}");
    assert_eq!((&seen["drawn"], &seen["named"]), (&true.into(), &true.into()), "{seen}");
    assert_eq!(seen["requests"], serde_json::json!([]));
    assert_eq!(seen["overflow"], 0);
    assert_eq!(seen["background"], "rgb(255, 255, 255)");
    let dark = probed(&report, probe, &["--window-size=1400,1000", "--blink-settings=preferredColorScheme=0"]);
    assert_eq!(dark["background"], "rgb(21, 24, 29)", "on dark ground where that is wished");
    let narrow = probed(&report, probe, &["--window-size=500,900"]);
    assert_eq!((&narrow["overflow"], &narrow["drawn"]), (&0.into(), &true.into()), "narrow: {narrow}");
}

#[test]
#[ignore = "needs Chromium: cargo test --release --test browser -- --ignored"]
fn tables_sort_and_filter_and_charts_answer_to_keys() {
    let report = report();
    let probe = r"
        const table = document.getElementById('cells-table');
        const column = [...table.tHead.rows[0].cells].findIndex((c) => c.textContent.includes('tokens/s'));
        const values = () => [...table.tBodies[0].rows].map((r) => r.cells[column].dataset.value).filter((v) => v !== undefined).map(Number);
        const button = table.tHead.rows[0].cells[column].querySelector('button');
        const rises = (v) => v.every((x, i) => i === 0 || v[i - 1] <= x);
        button.click();
        const up = rises(values());
        button.click();
        const down = rises(values().reverse());
        const order = table.tHead.rows[0].cells[column].ariaSort;
        const filter = document.getElementById('filter');
        filter.value = 't2r decode';
        filter.dispatchEvent(new Event('input'));
        const left = [...table.tBodies[0].rows].filter((r) => !r.hidden).map((r) => r.textContent);
        const chart = document.querySelector('svg.chart');
        const tip = document.getElementById('tip');
        const press = (key) => { chart.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true })); return tip.hidden ? null : tip.textContent; };
        chart.focus();
        const tips = ['ArrowRight', 'ArrowRight', 'ArrowDown', 'Escape'].map(press);
        return { up, down, order, n: values().length, left, tips, filtered: document.getElementById('filter-count').textContent };";
    let seen = probed(&report, probe, &["--window-size=1400,1000"]);
    assert_eq!(
        (&seen["up"], &seen["down"], &seen["order"]),
        (&true.into(), &true.into(), &"descending".into()),
        "{seen}"
    );
    assert_eq!(seen["n"], 80);
    let left = seen["left"].as_array().expect("rows");
    assert!(
        left.len() == 3 && left.iter().all(|r| r.as_str().is_some_and(|r| r.contains("t2r") && r.contains("decode")))
    );
    assert_eq!(seen["filtered"], "3 of 80 cells");
    let tips = seen["tips"].as_array().expect("tips");
    assert!(tips[0].as_str().is_some_and(|t| t.starts_with("softmax: ") && t.contains("at 64 tokens")), "{tips:?}");
    assert!(tips[1].as_str().is_some_and(|t| t.contains("at 256 tokens")), "{tips:?}");
    assert!(tips[2].as_str().is_some_and(|t| t.starts_with("elu: ") && t.contains("at 256 tokens")), "{tips:?}");
    assert!(tips[3].is_null());
}

#[test]
#[ignore = "needs Chromium: cargo test --release --test browser -- --ignored"]
fn it_prints_and_its_figures_stand_alone() {
    let report = report();
    let pdf = report.page.with_extension("pdf");
    let output = open(&report.page, &[&format!("--print-to-pdf={}", pdf.display()), "--no-pdf-header-footer"]);
    assert_eq!(console(&output), [] as [String; 0]);
    let bytes = fs::read(&pdf).expect("a PDF");
    assert!(bytes.starts_with(b"%PDF-") && bytes.len() > 50_000, "{} bytes", bytes.len());
    let figures: Vec<PathBuf> =
        fs::read_dir(&report.figures).expect("figures").map(|e| e.expect("a file").path()).collect();
    assert!(figures.len() >= 12);
    let first = figures.iter().find(|f| f.ends_with("quick-epyc-2vcpu-2026-11-24-fused-decode-batch-16-speed.svg"));
    let output = open(first.expect("decoding speed"), &["--dump-dom"]);
    assert_eq!(console(&output), [] as [String; 0]);
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(dom.contains("class=\"point\"") && !dom.contains("parsererror"), "{}", &dom[..dom.len().min(400)]);
}
