//! Rules about the source itself: which module may import which, how long a file may be, and that the commands of the
//! README are run.

mod imports;
mod licences;
mod scan;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lines of a file above which it should be two.
const MAX_LINES: usize = 450;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every Rust file under `dir`, relative to the root of the package, sorted.
fn rust_files(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(dir)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the package") {
            let path = entry.expect("an entry").path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "rs" => {
                    found.push(path.strip_prefix(root()).expect("below the root").to_owned());
                }
                _ => {}
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no Rust file in {dir}");
    found
}

#[test]
fn no_file_is_too_long() {
    let lines = |path: &PathBuf| read(&root().join(path)).lines().count();
    let long: Vec<String> = rust_files("src")
        .iter()
        .chain(&rust_files("tests"))
        .map(|path| (path, lines(path)))
        .filter(|(_, n)| *n > MAX_LINES)
        .map(|(path, n)| format!("{}: {n} lines, at most {MAX_LINES}", path.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// The README and the documents beside it, with their names.
fn pages() -> Vec<(String, String)> {
    let mut paths = vec![PathBuf::from("README.md")];
    for entry in fs::read_dir(root().join("docs")).expect("the documents") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "md") {
            paths.push(path.strip_prefix(root()).expect("below the root").to_owned());
        }
    }
    paths.into_iter().map(|path| (path.display().to_string(), read(&root().join(path)))).collect()
}

/// A fence of shell commands must say what `.ci/run` does with it, or its commands would rot.
#[test]
fn every_command_of_the_pages_is_run() {
    let mut count = 0;
    for (name, text) in pages() {
        let lines: Vec<&str> = text.lines().collect();
        let fences = |of| (0..lines.len()).filter(|i| lines[*i].starts_with(of)).collect::<Vec<usize>>();
        let marker =
            |fence: usize| lines[..fence].iter().rev().find(|l| !l.trim().is_empty()).copied().unwrap_or_default();
        for fence in fences("```yaml") {
            assert_eq!(marker(fence), "<!-- ci:workflow -->", "{name}:{}: the marker above", fence + 1);
        }
        for fence in fences("```console") {
            count += 1;
            let known = ["<!-- ci:run -->", "<!-- ci:test -->", "<!-- ci:dry-run -->"];
            assert!(known.contains(&marker(fence)), "{name}:{}: no marker above, expected one of {known:?}", fence + 1);
            let first = lines[fence + 1];
            assert!(first.starts_with("$ "), "{name}:{}: a command begins with '$ ', got '{first}'", fence + 2);
        }
    }
    assert!(count > 6, "the pages show how to use the program");
    let ci = read(&root().join(".ci/run"));
    for marker in ["ci:run", "ci:test", "ci:dry-run", "ci:workflow"] {
        assert!(ci.contains(marker), ".ci/run does not look for {marker}");
    }
}

#[test]
fn shell_commands_stand_in_console_fences_alone() {
    for (name, text) in pages() {
        for (i, line) in text.lines().enumerate() {
            let other = ["```bash", "```sh", "```shell"].contains(&line.trim());
            assert!(!other, "{name}:{}: use ```console, so that its commands are run", i + 1);
        }
    }
}
