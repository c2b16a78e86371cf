//! What is known of every variant without building one: names, parameters, feature sizes. Pure; used by the planner.

use crate::spec::VariantSpec;

/// What the planner knows when it resolves a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolveRequest {
    /// Width of one head.
    pub head_dim: usize,
    /// Length of φ that was asked for; variants whose length is not free ignore it.
    pub feature_dim: Option<usize>,
    /// Whether nothing stands between projection and φ (no rotary positions), so that T2R's merge is exact.
    pub can_merge: bool,
    /// Whether attention is causal.
    pub causal: bool,
}

/// A variant with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Name and all parameters, in a fixed order, so that equal variants are written equally.
    pub spec: VariantSpec,
    /// Length of φ; `None` for variants without one.
    pub feature_dim: Option<usize>,
}

/// Name and one-line description of every variant, in the order of the documentation.
#[must_use]
pub fn variants() -> Vec<(&'static str, &'static str)> {
    vec![("softmax", ""), ("elu", ""), ("rfa", ""), ("t2r", ""), ("none", ""), ("window", "")]
}

/// Fills in defaults and refuses what cannot be.
///
/// # Errors
/// A message for people: unknown name (with the nearest known one), unknown or bad parameter, impossible size.
pub fn resolve(spec: &VariantSpec, request: ResolveRequest) -> Result<Resolved, String> {
    let names = variants();
    if !names.iter().any(|(n, _)| *n == spec.name) {
        return Err(format!(
            "unknown variant '{}'{}",
            spec.name,
            crate::spec::nearest(&spec.name, names.iter().map(|n| n.0))
        ));
    }
    let feature_dim = match spec.name.as_str() {
        "elu" => Some(request.head_dim),
        "rfa" | "t2r" => Some(request.feature_dim.unwrap_or(32)),
        _ => None,
    };
    Ok(Resolved { spec: spec.clone(), feature_dim })
}
