//! Every crate that goes into the binary has a licence that deny.toml allows. `cargo deny check` knows more; this needs
//! nothing but cargo.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    process::Command,
};

use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};

use crate::{read, root};

fn output(command: &mut Command) -> String {
    let output = command.current_dir(root()).output().expect("started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The dependency graph, as these options choose it.
fn metadata(options: &[&str]) -> Value {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["metadata", "--locked", "--format-version", "1"];
    serde_json::from_str(&output(Command::new(cargo).args(arguments).args(options))).expect("JSON")
}

fn texts<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Ids of the packages that are built into the binary: reached by other than development dependencies.
fn built_in(metadata: &Value) -> BTreeSet<&str> {
    let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes");
    let of_id: BTreeMap<&str, &Value> = nodes.iter().map(|n| (texts(n, "id"), n)).collect();
    let mut reached = BTreeSet::new();
    let mut next = vec![texts(&metadata["resolve"], "root")];
    while let Some(id) = next.pop() {
        if !reached.insert(id) {
            continue;
        }
        let deps = of_id[id]["deps"].as_array().expect("deps").iter();
        let is_built = |d: &&Value| d["dep_kinds"].as_array().is_some_and(|k| k.iter().any(|k| k["kind"] != "dev"));
        next.extend(deps.filter(is_built).map(|d| texts(d, "pkg")));
    }
    reached
}

/// What deny.toml allows: everywhere, and to single crates.
struct Allowed {
    everywhere: Vec<Licensee>,
    exceptions: BTreeMap<String, Vec<String>>,
}

impl Allowed {
    fn read() -> Self {
        let deny: toml::Table = toml::from_str(&read(&root().join("deny.toml"))).expect("TOML");
        let texts = |list: &toml::Value| -> Vec<String> {
            list.as_array().expect("a list").iter().map(|t| t.as_str().expect("a text").to_owned()).collect()
        };
        let licenses = &deny["licenses"];
        let everywhere = texts(&licenses["allow"]).iter().map(|t| Licensee::parse(t).expect("a licence")).collect();
        let exceptions = licenses["exceptions"].as_array().expect("a list").iter();
        let one = |e: &toml::Value| (e["crate"].as_str().expect("a crate").to_owned(), texts(&e["allow"]));
        Self { everywhere, exceptions: exceptions.map(one).collect() }
    }

    fn allows(&self, name: &str, licence: &str) -> bool {
        let excepted = self.exceptions.get(name);
        // A crate that names no licence is excepted by name or not at all.
        if licence.is_empty() {
            return excepted.is_some();
        }
        let expression = Expression::parse_mode(licence, ParseMode::LAX);
        expression.is_ok_and(|e| {
            e.evaluate(|needed| {
                let is_excepted = excepted.is_some_and(|list| list.contains(&needed.license.to_string()));
                is_excepted || self.everywhere.iter().any(|l| l.satisfies(needed))
            })
        })
    }
}

fn judge(metadata: &Value) {
    let (built_in, allowed) = (built_in(metadata), Allowed::read());
    assert!(built_in.len() > 50, "the graph is read: {}", built_in.len());
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let wrong: Vec<String> = packages
        .filter(|p| built_in.contains(texts(p, "id")) && !allowed.allows(texts(p, "name"), texts(p, "license")))
        .map(|p| format!("{} {}: '{}'", texts(p, "name"), texts(p, "version"), texts(p, "license")))
        .collect();
    assert!(wrong.is_empty(), "not allowed by deny.toml:\n{}", wrong.join("\n"));
}

#[test]
fn every_crate_in_the_binary_has_an_allowed_licence() {
    let version = output(Command::new("rustc").arg("-vV"));
    let host = version.lines().find_map(|l| l.strip_prefix("host: ")).expect("a host");
    judge(&metadata(&["--offline", "--filter-platform", host]));
}

#[test]
#[ignore = "fetches the crates of all features and platforms: cargo test --release --test guards -- --ignored"]
fn so_has_every_crate_of_every_feature_on_every_platform() {
    judge(&metadata(&["--all-features"]));
}

#[test]
fn a_licence_is_judged_as_its_expression_says() {
    let allowed = Allowed::read();
    assert!(allowed.allows("a", "MIT OR GPL-3.0-only") && allowed.allows("a", "MIT/Apache-2.0"));
    assert!(!allowed.allows("a", "MIT AND GPL-3.0-only") && !allowed.allows("a", ""));
    assert!(allowed.allows("option-ext", "MPL-2.0") && !allowed.allows("a", "MPL-2.0"));
}
