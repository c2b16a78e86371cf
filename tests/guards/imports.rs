//! Who may import whom: a module imports those listed before it and no others, so that no circle can be written down.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::{
    read, root, rust_files,
    scan::{Import, code_only, root_imports, test_modules, without_tests},
};

/// The modules of the crate, lowest first. ARCHITECTURE.md says what each is.
const ORDER: &[&str] = &[
    "spec",
    "stats",
    "kernels",
    "params",
    "attention",
    "model",
    "train",
    "measure",
    "sweep",
    "store",
    "compare",
    "report",
    "bench",
    "progress",
    "cli",
];

/// Path of the module a file holds: `src/sweep/plan.rs` is sweep, plan; empty for the roots of the crate.
fn module_of(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix("src").expect("in src").with_extension("");
    let mut path: Vec<String> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    path.pop_if(|last| last == "mod");
    match path.as_slice() {
        [one] if one == "lib" || one == "main" => Vec::new(),
        _ => path,
    }
}

/// The files of the crate that are not tests, with their code.
fn sources() -> Vec<(PathBuf, Vec<String>, String)> {
    let read_one = |file: PathBuf| {
        let code = code_only(&read(&root().join(&file)));
        (module_of(&file), file, code)
    };
    let files: Vec<_> = rust_files("src").into_iter().map(read_one).collect();
    let tests: BTreeSet<Vec<String>> = files
        .iter()
        .flat_map(|(module, _, code)| test_modules(code).into_iter().map(|name| [module.as_slice(), &[name]].concat()))
        .collect();
    let is_test = |module: &[String]| (1..=module.len()).any(|n| tests.contains(&module[..n]));
    files
        .into_iter()
        .filter(|(module, ..)| !module.is_empty() && !is_test(module))
        .map(|(module, file, code)| (file, module, without_tests(&code)))
        .collect()
}

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|m| *m == module)
}

/// What is wrong with one import, if anything.
fn judge(file: &Path, own: &str, (line, name): &Import) -> Option<String> {
    let place = format!("{}:{line}: crate::{name}", file.display());
    match (rank(own), rank(name)) {
        (None, _) => None,
        (_, None) => Some(format!("{place} is no module of the table; import a thing from the module it lives in")),
        (Some(own_rank), Some(rank)) if rank > own_rank => Some(format!("{place} stands above {own}")),
        _ => None,
    }
}

#[test]
fn modules_import_only_what_stands_below_them() {
    let wrong: Vec<String> = sources()
        .iter()
        .flat_map(|(file, module, code)| {
            root_imports(code, module.len()).into_iter().filter_map(|import| judge(file, &module[0], &import))
        })
        .collect();
    assert!(wrong.is_empty(), "imports against the order {}:\n{}", ORDER.join(" < "), wrong.join("\n"));
}

#[test]
fn every_module_has_its_place_in_the_order() {
    let modules: BTreeSet<String> = sources().into_iter().map(|(_, module, _)| module[0].clone()).collect();
    let unplaced: Vec<_> = modules.iter().filter(|m| rank(m).is_none()).collect();
    assert!(unplaced.is_empty(), "give these a place in tests/guards/imports.rs and ARCHITECTURE.md: {unplaced:?}");
}

#[test]
fn the_architecture_names_every_module_in_order() {
    let text = read(&root().join("ARCHITECTURE.md"));
    let rows = text.lines().filter_map(|l| l.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name);
    let named: Vec<&str> = rows.filter(|name| rank(name).is_some()).collect();
    assert_eq!(named, ORDER, "the table of ARCHITECTURE.md and the order of imports are one");
}

#[test]
fn the_judge_sees_an_import_that_goes_up() {
    let file = Path::new("src/sweep/runner.rs");
    let against = judge(file, "sweep", &(7, "store".to_owned()));
    assert_eq!(against.as_deref(), Some("src/sweep/runner.rs:7: crate::store stands above sweep"));
    assert_eq!(judge(file, "sweep", &(7, "sweep".to_owned())), None);
    assert_eq!(judge(file, "sweep", &(7, "spec".to_owned())), None);
    assert!(judge(file, "sweep", &(7, "Row".to_owned())).is_some());
}
