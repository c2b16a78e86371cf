//! What is known of every variant without building one: names, parameters, feature sizes, state sizes. Pure.

use super::{
    Heads,
    feature_map::{self, DENOMINATOR, MapEntry, Values},
};
use crate::spec::{DType, VariantSpec, nearest};

/// Tokens of a window where none are stated.
const DEFAULT_WINDOW: &str = "64";

/// What the name of a hybrid begins with: a window of softmax, and the map named behind it for all that came before.
const HYBRID: &str = "window+";

/// Name of the parameter that says whether φ's affine part is merged into the projections.
const MERGED: &str = "merged";

/// Name of the parameter that every variant with a map has.
const FEATURE_DIM: &str = "feature_dim";

/// Name and meaning of one variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantInfo {
    /// Name, as `--variants` takes it.
    pub name: String,
    /// One line for people.
    pub summary: String,
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

/// Every variant, in the order of the documentation: softmax, the feature maps, the hybrids, the controls.
#[must_use]
pub fn variants() -> Vec<VariantInfo> {
    let info = |name: &str, summary: &str, params| VariantInfo { name: name.into(), summary: summary.into(), params };
    let window = ("w", vec![DEFAULT_WINDOW]);
    let mut all = vec![info("softmax", "softmax attention over a KV cache: what a pretrained transformer has", vec![])];
    all.extend(feature_map::REGISTRY.iter().map(|entry| info(entry.name, entry.summary, listed(entry.params))));
    all.extend(feature_map::REGISTRY.iter().filter(|entry| !entry.gated).map(|entry| {
        let summary = format!("hybrid: softmax over the last w tokens, {} over all before them", entry.name);
        // A hybrid shares its denominator with the window, and bounds it by itself.
        let of_map = listed(entry.params).into_iter().filter(|(key, _)| ![MERGED, DENOMINATOR].contains(key));
        info(&format!("{HYBRID}{}", entry.name), &summary, [window.clone()].into_iter().chain(of_map).collect())
    }));
    all.push(info("window", "control: softmax over the last w tokens", vec![window]));
    all.push(info("none", "control: the attention output is 0", vec![]));
    all
}

fn listed(params: &[(&'static str, Values)]) -> Vec<(&'static str, Vec<&'static str>)> {
    let values = |values: &Values| match *values {
        Values::OneOf(words) => words.to_vec(),
        Values::Count(default) => vec![default],
    };
    params.iter().map(|(key, of_key)| (*key, values(of_key))).collect()
}

/// The feature map of a variant, alone or behind a window.
#[must_use]
pub fn map_of(name: &str) -> Option<&'static MapEntry> {
    match name.strip_prefix(HYBRID) {
        Some(map) => feature_map::find(map).filter(|entry| !entry.gated),
        None => feature_map::find(name),
    }
}

/// Whether a window of softmax stands before the variant's feature map.
#[must_use]
pub fn is_hybrid(spec: &VariantSpec) -> bool {
    spec.name.starts_with(HYBRID)
}

/// Whether the variant runs by fused kernels, feature map included.
#[must_use]
pub fn has_fused_form(spec: &VariantSpec) -> bool {
    match map_of(&spec.name) {
        Some(entry) => entry.fused,
        None => true,
    }
}

/// Whether the variant has no bidirectional and no cross form.
#[must_use]
pub fn looks_back_only(spec: &VariantSpec) -> bool {
    spec.name == "window" || is_hybrid(spec) || map_of(&spec.name).is_some_and(|entry| entry.gated)
}

/// Fills in defaults and refuses what cannot be.
///
/// # Errors
/// A message for people: unknown name (with the nearest known one), unknown or bad parameter, impossible size.
pub fn resolve(spec: &VariantSpec, request: ResolveRequest) -> Result<Resolved, String> {
    let known = variants();
    let Some(info) = known.iter().find(|v| v.name == spec.name) else {
        let names: Vec<&str> = known.iter().map(|v| v.name.as_str()).collect();
        let hint = nearest(&spec.name, names.iter().copied());
        return Err(format!("unknown variant '{}'{hint}; known: {}", spec.name, names.join(", ")));
    };
    let entry = map_of(&spec.name);
    let mut keys: Vec<&str> = info.params.iter().map(|(key, _)| *key).collect();
    // What a value without a name means: the window, or else the length of φ.
    let main = if keys.contains(&"w") { Some("w") } else { entry.map(|_| FEATURE_DIM) };
    keys.extend(entry.map(|_| FEATURE_DIM));
    refuse_unknown(spec, &keys, main)?;
    let given = |key: &str| spec.param(key).or_else(|| (main == Some(key)).then(|| spec.param("")).flatten());
    let mut resolved = VariantSpec::new(&spec.name);
    for (key, values) in &info.params {
        let value =
            given(key).map_or_else(|| Ok(default(key, values, request)), |text| check(spec, key, text, request))?;
        // Rows from before there was a choice do not name the default, and are of the same variant.
        if *key != DENOMINATOR || Some(&value) != values.first() {
            resolved.params.push(((*key).to_owned(), value.to_owned()));
        }
    }
    if looks_back_only(spec) && !request.causal {
        return Err(format!("{} attention is causal: it has no bidirectional or cross form", spec.name));
    }
    let Some(entry) = entry else { return Ok(Resolved { spec: resolved, feature_dim: None }) };
    let own_dim = given(FEATURE_DIM);
    let asked = match own_dim {
        Some(text) => Some(positive(text).ok_or_else(|| format!("'{spec}': feature_dim '{text}' is not a size"))?),
        None if request.feature_dim == Some(0) => return Err(format!("'{spec}': feature_dim '0' is not a size")),
        None => request.feature_dim,
    };
    let feature_dim = (entry.feature_dim)(&resolved, request.head_dim, asked)?;
    if let Some(text) = own_dim.filter(|_| asked != Some(feature_dim)) {
        let own: Vec<String> = resolved.params.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let hint = if own.is_empty() { String::new() } else { format!("; it takes {} by name", own.join(", ")) };
        return Err(format!("'{spec}': feature_dim {text} is not free, {} needs {feature_dim}{hint}", spec.name));
    }
    Ok(Resolved { spec: resolved, feature_dim: Some(feature_dim) })
}

/// A resolved variant as a user would write it: with the length of φ that it has, and merged where that can be.
#[must_use]
pub fn written(resolved: &Resolved) -> VariantSpec {
    let mut spec = resolved.spec.clone();
    spec.params.retain(|(key, _)| key != MERGED);
    spec.params.extend(resolved.feature_dim.map(|m| (FEATURE_DIM.to_owned(), m.to_string())));
    spec
}

/// What a parameter is where it is not given.
fn default<'a>(key: &str, values: &[&'a str], request: ResolveRequest) -> &'a str {
    if key == MERGED && !request.can_merge { "false" } else { values[0] }
}

/// A parameter that is given, if it can be had.
fn check<'a>(spec: &VariantSpec, key: &str, text: &'a str, request: ResolveRequest) -> Result<&'a str, String> {
    let of_map = map_of(&spec.name).and_then(|entry| entry.params.iter().find(|(k, _)| *k == key));
    match of_map.map(|(_, values)| *values) {
        Some(Values::OneOf(words)) if !words.contains(&text) => {
            Err(format!("'{spec}': {key} is '{text}', expected one of {}", words.join(", ")))
        }
        Some(Values::OneOf(_)) if key == MERGED && text == "true" && !request.can_merge => Err(format!(
            "'{spec}': nothing merges where rotary positions stand between the projection and φ, nor where φ is trained; leave merged out"
        )),
        Some(Values::OneOf(_)) => Ok(text),
        _ if positive(text).is_some() => Ok(text),
        Some(_) => Err(format!("'{spec}': {key} is '{text}', expected a positive number")),
        None => Err(format!("'{spec}': the window '{text}' is not a positive number of tokens")),
    }
}

fn refuse_unknown(spec: &VariantSpec, known: &[&str], main: Option<&str>) -> Result<(), String> {
    let bare = spec.param("").is_some();
    if let Some(main) = main.filter(|main| bare && spec.param(main).is_some()) {
        return Err(format!("'{spec}': {main} is given twice, once without its name"));
    }
    let is_known = |key: &str| if key.is_empty() { main.is_some() } else { known.contains(&key) };
    match spec.params.iter().find(|(key, _)| !is_known(key)) {
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

/// Tokens that the softmax of a resolved `window` or hybrid sees; `None` for every other variant.
#[must_use]
pub fn window_of(spec: &VariantSpec) -> Option<usize> {
    spec.param("w").and_then(positive)
}

/// Positions that a resolved variant knows, where they are limited.
#[must_use]
pub fn max_len(spec: &VariantSpec) -> Option<usize> {
    spec.param("max_len").and_then(positive)
}

/// Exact bytes that one layer keeps for `batch` sequences of some tokens: KV caches in the dtype of the model,
/// recurrent sums in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateBytes {
    /// Keys and values, which a step reads.
    pub cache: u64,
    /// Sums, which a step reads and writes.
    pub sums: u64,
}

impl StateBytes {
    /// Both.
    #[must_use]
    pub fn total(self) -> Option<u64> {
        self.cache.checked_add(self.sums)
    }
}

/// What one layer keeps for `batch` sequences of `len` tokens; `None` on overflow.
#[must_use]
pub fn state_bytes(resolved: &Resolved, heads: Heads, batch: usize, len: usize, dtype: DType) -> Option<StateBytes> {
    let parts = (batch as u64).checked_mul(heads.n_kv_heads as u64)?;
    let d = heads.head_dim as u64;
    let cached = match (resolved.spec.name.as_str(), window_of(&resolved.spec)) {
        ("softmax", _) => len,
        (_, Some(window)) => len.min(window),
        _ => 0,
    };
    let cache = (cached as u64).checked_mul(2 * d)?.checked_mul(dtype.size_bytes() as u64)?.checked_mul(parts)?;
    let sums = match (resolved.feature_dim, map_of(&resolved.spec.name)) {
        (Some(m), Some(entry)) => {
            let numbers = (m as u64).checked_mul(d + 1)?.checked_add(u64::from(entry.scaled))?;
            numbers.checked_mul(4)?.checked_mul(parts)?
        }
        _ => 0,
    };
    Some(StateBytes { cache, sums })
}

/// Exact bytes that one cross-attention layer keeps of `batch` sources padded to `len` tokens: keys and values in
/// `dtype`, sums in f32. `None` on overflow.
#[must_use]
pub fn memory_bytes(resolved: &Resolved, heads: Heads, batch: usize, len: usize, dtype: DType) -> Option<StateBytes> {
    // A source's sums are no longer rescaled, so that no running maximum goes with them.
    let scaled = map_of(&resolved.spec.name).is_some_and(|entry| entry.scaled);
    let maxima = if scaled { 4 * (batch * heads.n_kv_heads) as u64 } else { 0 };
    let bytes = state_bytes(resolved, heads, batch, len, dtype)?;
    Some(StateBytes { sums: bytes.sums - maxima, ..bytes })
}
