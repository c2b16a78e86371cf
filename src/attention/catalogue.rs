//! What is known of every variant without building one: names, parameters, feature sizes, state sizes. Pure.

use super::{Heads, feature_map};
use crate::spec::{DType, VariantSpec, nearest};

/// Tokens of the `window` control where none are stated.
const DEFAULT_WINDOW: &str = "64";

/// Name and meaning of one variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantInfo {
    /// Name, as `--variants` takes it.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Parameters with the values they take, the default first; a free number has its default alone.
    pub params: Vec<(&'static str, Vec<&'static str>)>,
}

/// What the planner knows when it resolves a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolveRequest {
    /// Width of one head.
    pub head_dim: usize,
    /// Length of φ that was asked for; variants whose length is not free ignore it.
    pub feature_dim: Option<usize>,
    /// Whether nothing stands between projection and φ (no rotary positions), so that T2R's merge is exact, and φ is not
    /// to be trained.
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

/// Every variant, in the order of the documentation: softmax, the feature maps, the controls.
#[must_use]
pub fn variants() -> Vec<VariantInfo> {
    let fixed = |name, summary, params| VariantInfo { name, summary, params };
    let mut all =
        vec![fixed("softmax", "softmax attention over a KV cache: what a pretrained transformer has", vec![])];
    all.extend(feature_map::REGISTRY.iter().map(|entry| {
        fixed(entry.name, entry.summary, entry.params.iter().map(|(k, values)| (*k, values.to_vec())).collect())
    }));
    all.push(fixed("window", "control: softmax over the last w tokens", vec![("w", vec![DEFAULT_WINDOW])]));
    all.push(fixed("none", "control: the attention output is 0", vec![]));
    all
}

/// Fills in defaults and refuses what cannot be.
///
/// # Errors
/// A message for people: unknown name (with the nearest known one), unknown or bad parameter, impossible size.
pub fn resolve(spec: &VariantSpec, request: ResolveRequest) -> Result<Resolved, String> {
    let known = variants();
    let Some(info) = known.iter().find(|v| v.name == spec.name) else {
        let names: Vec<&str> = known.iter().map(|v| v.name).collect();
        let hint = nearest(&spec.name, names.iter().copied());
        return Err(format!("unknown variant '{}'{hint}; known: {}", spec.name, names.join(", ")));
    };
    match feature_map::find(&spec.name) {
        Some(entry) => resolve_map(spec, info, entry, request),
        None => resolve_other(spec, info, request),
    }
}

fn resolve_other(spec: &VariantSpec, info: &VariantInfo, request: ResolveRequest) -> Result<Resolved, String> {
    let mut params = Vec::new();
    for (key, defaults) in &info.params {
        let value = spec.params.iter().find(|(k, _)| k.is_empty() || k == key);
        params.push(((*key).to_owned(), value.map_or(defaults[0].to_owned(), |(_, v)| v.clone())));
    }
    refuse_unknown(spec, &info.params.iter().map(|(k, _)| *k).collect::<Vec<_>>(), !info.params.is_empty())?;
    let resolved = VariantSpec { name: spec.name.clone(), params };
    if spec.name == "window" {
        if window_of(&resolved).is_none() {
            let text = resolved.params_text();
            return Err(format!(
                "'{resolved}': the window '{}' is not a positive number of tokens",
                text.trim_start_matches("w=")
            ));
        }
        if !request.causal {
            return Err("window attention is causal: it has no bidirectional or cross form".to_owned());
        }
    }
    Ok(Resolved { spec: resolved, feature_dim: None })
}

fn resolve_map(
    spec: &VariantSpec,
    info: &VariantInfo,
    entry: &feature_map::MapEntry,
    request: ResolveRequest,
) -> Result<Resolved, String> {
    let mut keys: Vec<&str> = info.params.iter().map(|(k, _)| *k).collect();
    keys.push("feature_dim");
    refuse_unknown(spec, &keys, true)?;
    let own_dim = spec.params.iter().find(|(k, _)| k.is_empty() || k == "feature_dim");
    let asked = match own_dim {
        Some((_, text)) => Some(positive(text).ok_or_else(|| format!("'{spec}': feature_dim '{text}' is not a size"))?),
        None => request.feature_dim,
    };
    let mut params = Vec::new();
    for (key, values) in &info.params {
        let given = spec.params.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        if let Some(bad) = given.filter(|g| !values.contains(g)) {
            return Err(format!("'{spec}': {key} is '{bad}', expected one of {}", values.join(", ")));
        }
        let value = match (*key, given) {
            ("merged", Some("true")) if !request.can_merge => {
                return Err(format!(
                    "'{spec}': nothing merges where rotary positions stand between the projection and φ, nor where φ is \
                     trained; leave merged out"
                ));
            }
            ("merged", None) if !request.can_merge => "false",
            (_, given) => given.unwrap_or(values[0]),
        };
        params.push(((*key).to_owned(), value.to_owned()));
    }
    let feature_dim = (entry.feature_dim)(request.head_dim, asked)?;
    if let Some((_, text)) = own_dim.filter(|_| asked != Some(feature_dim)) {
        return Err(format!("'{spec}': feature_dim {text} is not free, {} needs {feature_dim}", spec.name));
    }
    Ok(Resolved { spec: VariantSpec { name: spec.name.clone(), params }, feature_dim: Some(feature_dim) })
}

fn refuse_unknown(spec: &VariantSpec, known: &[&str], bare: bool) -> Result<(), String> {
    let main = if known.contains(&"feature_dim") { "feature_dim" } else { known.first().copied().unwrap_or("") };
    if spec.params.iter().any(|(k, _)| k.is_empty()) && spec.params.iter().any(|(k, _)| k == main && !k.is_empty()) {
        return Err(format!("'{spec}': {main} is given twice, once without its name"));
    }
    match spec.params.iter().find(|(k, _)| !(known.contains(&k.as_str()) || (bare && k.is_empty()))) {
        None => Ok(()),
        Some((key, _)) if known.is_empty() || key.is_empty() => {
            Err(format!("'{spec}': {} takes no parameter", spec.name))
        }
        Some((key, _)) => {
            let hint = nearest(key, known.iter().copied());
            Err(format!("'{spec}': unknown parameter '{key}'{hint}; known: {}", known.join(", ")))
        }
    }
}

fn positive(text: &str) -> Option<usize> {
    text.parse().ok().filter(|n| *n > 0)
}

/// Tokens that a query of a resolved `window` sees; `None` for every other variant, and where w is no size.
#[must_use]
pub fn window_of(spec: &VariantSpec) -> Option<usize> {
    let w = spec.params.iter().find(|(key, _)| spec.name == "window" && key == "w");
    w.and_then(|(_, text)| positive(text))
}

/// Exact bytes that one layer keeps for `batch` sequences of `len` tokens: KV caches in `dtype`, recurrent sums in
/// f32. `None` on overflow.
#[must_use]
pub fn state_bytes(resolved: &Resolved, heads: Heads, batch: usize, len: usize, dtype: DType) -> Option<u64> {
    let parts = (batch as u64).checked_mul(heads.n_kv_heads as u64)?;
    let d = heads.head_dim as u64;
    let cache =
        |tokens: usize| (tokens as u64).checked_mul(2 * d)?.checked_mul(dtype.size_bytes() as u64)?.checked_mul(parts);
    match (resolved.spec.name.as_str(), resolved.feature_dim) {
        (_, Some(m)) => (m as u64).checked_mul(d + 1)?.checked_mul(4)?.checked_mul(parts),
        ("softmax", None) => cache(len),
        ("window", None) => cache(len.min(window_of(&resolved.spec)?)),
        _ => Some(0),
    }
}
