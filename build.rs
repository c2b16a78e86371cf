//! Writes down what was built, from what and with what. Never fails: what cannot be found out is empty.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let git = Git::of(&root);
    let facts = [
        ("COMMIT", git.as_ref().and_then(|g| g.ask(&["rev-parse", "--short=12", "HEAD"]))),
        ("DIRTY", git.as_ref().and_then(|g| g.ask(&["status", "--porcelain"])).map(|s| (!s.is_empty()).to_string())),
        ("PROFILE", profile()),
        ("FEATURES", Some(features())),
        ("RUSTC", env::var("RUSTC").ok().and_then(|rustc| output(Command::new(rustc).arg("--version")))),
        ("CANDLE", fs::read_to_string(root.join("Cargo.lock")).ok().and_then(|lock| version_of("candle-core", &lock))),
    ];
    for (name, value) in facts {
        println!("cargo:rustc-env=T2R_BUILD_{name}={}", value.unwrap_or_default());
    }
    // Whether the tree is dirty changes with the sources, the commit with the log of HEAD. A path that does not exist
    // would rerun this at every build.
    let log = git.and_then(|g| g.ask(&["rev-parse", "--git-path", "logs/HEAD"])).map(|path| root.join(path));
    let watched = ["build.rs", "Cargo.toml", "Cargo.lock", "src", "profiles"].map(|path| root.join(path));
    for path in watched.into_iter().chain(log).filter(|path| path.exists()) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
}

/// A checkout of this very package: a copy of it inside of somebody else's repository has no commit.
struct Git<'a>(&'a Path);

impl<'a> Git<'a> {
    fn of(root: &'a Path) -> Option<Self> {
        let git = Self(root);
        let top = PathBuf::from(git.ask(&["rev-parse", "--show-toplevel"])?);
        (top.canonicalize().ok()? == root.canonicalize().ok()?).then_some(git)
    }

    fn ask(&self, arguments: &[&str]) -> Option<String> {
        output(Command::new("git").arg("-C").arg(self.0).args(arguments))
    }
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// `PROFILE` says release for every profile that inherits from it; the output folder holds the real name.
fn profile() -> Option<String> {
    let out = PathBuf::from(env::var_os("OUT_DIR")?);
    let build = out.ancestors().nth(2).filter(|p| p.ends_with("build"));
    let named = build.and_then(|p| Some(p.parent()?.file_name()?.to_str()?.to_owned()));
    named.or_else(|| env::var("PROFILE").ok())
}

fn features() -> String {
    let mut features: Vec<String> = env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase()))
        .filter(|name| name != "default")
        .collect();
    features.sort();
    features.join(",")
}

fn version_of(package: &str, lock: &str) -> Option<String> {
    let after = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?.1;
    Some(after.split_once('"')?.0.to_owned())
}
