//! What this binary was built from and with, as the build script wrote it down.

use serde::Serialize;

/// The build columns of every row; `None` where the build could not find out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Build {
    /// Version of the package.
    pub build_version: String,
    /// Commit, twelve digits; `None` outside of a checkout.
    pub build_commit: Option<String>,
    /// Whether the checkout differed from that commit.
    pub build_dirty: Option<bool>,
    /// Cargo profile, e.g. `release`.
    pub build_profile: Option<String>,
    /// Cargo features, joined by commas; empty where there are none.
    pub build_features: String,
    /// What `rustc --version` says.
    pub rustc_version: Option<String>,
    /// Version of candle-core.
    pub candle_version: Option<String>,
}

impl Build {
    /// The facts of the running binary.
    #[must_use]
    pub fn current() -> Self {
        Self {
            build_version: env!("CARGO_PKG_VERSION").to_owned(),
            build_commit: known(env!("T2R_BUILD_COMMIT")),
            build_dirty: env!("T2R_BUILD_DIRTY").parse().ok(),
            build_profile: known(env!("T2R_BUILD_PROFILE")),
            build_features: env!("T2R_BUILD_FEATURES").to_owned(),
            rustc_version: known(env!("T2R_BUILD_RUSTC")),
            candle_version: known(env!("T2R_BUILD_CANDLE")),
        }
    }
}

fn known(fact: &str) -> Option<String> {
    (!fact.is_empty()).then(|| fact.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_knows_its_compiler_and_its_candle() {
        let build = Build::current();
        assert!(build.rustc_version.unwrap().starts_with("rustc 1."));
        // The lock file pins what Cargo.toml asks for: 0.11.
        assert!(build.candle_version.unwrap().starts_with("0.11."));
        assert_eq!(build.build_commit.is_some(), build.build_dirty.is_some());
    }
}
