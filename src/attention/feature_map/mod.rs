//! Feature maps φ: what makes one linear attention differ from another. A new map is one file here and one line in
//! the registry below; the planner, every workload, the checks and the test-suite then know it.

use candle_core::{DType, Result, Tensor};

use crate::{
    kernels::{Kernels, linear::Normalizer},
    params::Params,
    spec::VariantSpec,
};

pub(crate) use rfa::DENOMINATOR;

mod draws;

/// Declares the modules and lists their `ENTRY`s.
macro_rules! registry {
    ($($module:ident,)+) => {
        $(mod $module;)+
        /// Every feature map, in the order of the documentation.
        pub static REGISTRY: &[MapEntry] = &[$($module::ENTRY,)+];
    };
}

registry! {
    elu,
    rfa,
    rfa_gate,
    t2r,
    performer,
    hedgehog,
    cosformer,
    taylor,
}

/// Length of φ where it is free and none is asked for: the paper's language-model setting.
const DEFAULT_FEATURE_DIM: usize = 32;

/// The registered map of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static MapEntry> {
    REGISTRY.iter().find(|e| e.name == name)
}

/// What the program knows of a map without building one.
pub struct MapEntry {
    /// Name of the variant.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Parameters beside `feature_dim`.
    pub params: &'static [(&'static str, Values)],
    /// Length of φ.
    pub feature_dim: FeatureDim,
    /// Builds the map; its parameters are called `{prefix}.{name}`.
    pub build: BuildMap,
    /// Whether φ on slices has a fused form.
    pub fused: bool,
    /// Operations of φ of one vector from its length m and the head width d, merged parts aside.
    pub flops: fn(m: usize, d: usize) -> usize,
    /// Whether a gate decays the sums at every token, so that the layer wants [`Qkv::gate`](crate::attention::Qkv).
    pub gated: bool,
    /// Whether features come with a scale, so that the state carries its running maximum.
    pub scaled: bool,
}

impl MapEntry {
    /// An entry without parameters, gate or scale, as long as the head is wide; what a map does not say of itself.
    const PLAIN: Self = Self {
        name: "",
        summary: "",
        params: &[],
        feature_dim: |_, head_dim, _| Ok(head_dim),
        build: |_, _, _, _| candle_core::bail!("a feature map without a build"),
        fused: false,
        flops: |m, _| m,
        gated: false,
        scaled: false,
    };
}

/// What a parameter of a map may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// One of these words, the default first.
    OneOf(&'static [&'static str]),
    /// Any positive number; the default.
    Count(&'static str),
}

/// The length of φ from the variant with all its parameters, the head width and the length asked for.
pub type FeatureDim = fn(&VariantSpec, head_dim: usize, asked: Option<usize>) -> std::result::Result<usize, String>;

/// How an entry builds its map.
pub type BuildMap = fn(&VariantSpec, MapShape, &mut Params, prefix: &str) -> Result<Box<dyn FeatureMap>>;

/// Sizes of a map: one φ per key and value head, shared by its group of query heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapShape {
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Width of a head d.
    pub head_dim: usize,
    /// Length of φ.
    pub feature_dim: usize,
}

/// Whose features: maps may treat queries and keys apart (T2R scales queries alone).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The reading side.
    Query,
    /// The written side.
    Key,
}

/// Where the rows of a tensor stand in the sequence: row r of (b, h_kv, group · n, ·) is position `start + r % n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Position of the first token.
    pub start: usize,
    /// Tokens n.
    pub n: usize,
}

/// Where one vector stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Key and value head.
    pub head: usize,
    /// Query or key.
    pub side: Side,
    /// Position in the sequence.
    pub position: usize,
}

/// φ of rows, up to a factor a row.
#[derive(Debug, Clone)]
pub struct Features {
    /// (b, h_kv, rows, m), f32.
    pub phi: Tensor,
    /// Logarithm (b, h_kv, rows) of the factor that `phi` lacks, for features whose exponentials would overflow.
    pub log_scale: Option<Tensor>,
}

impl From<Tensor> for Features {
    fn from(phi: Tensor) -> Self {
        Self { phi, log_scale: None }
    }
}

/// A feature map over tensors, differentiable.
pub trait FeatureMap: Send + Sync {
    /// φ of every row: (b, h_kv, rows, input) → (b, h_kv, rows, m), f32.
    ///
    /// # Errors
    /// On a wrong shape or as the device fails.
    fn forward(&self, x: &Tensor, side: Side, rows: Rows) -> Result<Features>;

    /// The same by kernels of choice, for f32 on the CPU; maps without a fused form take no notice of them.
    ///
    /// # Errors
    /// As `forward`.
    fn forward_by(&self, x: &Tensor, side: Side, rows: Rows, _: Kernels) -> Result<Features> {
        self.forward(x, side, rows)
    }

    /// Parameters by name.
    fn parameters(&self) -> Vec<(&'static str, Tensor)> {
        Vec::new()
    }

    /// The same map on CPU slices by these kernels, with a copy of the parameters as they are now. Maps without a fused
    /// form take no notice of them.
    ///
    /// # Errors
    /// If parameters cannot be read back.
    fn on_slices(&self, kernels: Kernels) -> Result<Box<dyn SliceMap>>;

    /// Length of φ.
    fn feature_dim(&self) -> usize;

    /// Length of the vectors it maps: the head width, unless the projection is merged into it. As long as φ itself
    /// for maps that work element by element.
    fn input_dim(&self) -> usize {
        self.feature_dim()
    }

    /// How φ(q)·z is kept away from zero.
    fn normalizer(&self) -> Normalizer;

    /// Positions that the map knows, where they are limited: that position and all beyond are refused.
    fn max_len(&self) -> Option<usize> {
        None
    }

    /// The projection (h · d, width) with bias (h · d) of one side and this map's affine part as one affine map
    /// (h · m, width) and (h · m), where that is exact; `None` where it is not (anything but a linear map first).
    ///
    /// # Errors
    /// As the device fails.
    fn merge(&self, _weight: &Tensor, _bias: &Tensor, _side: Side) -> Result<Option<(Tensor, Tensor)>> {
        Ok(None)
    }

    /// What is left of the map behind a merged projection; `None` where nothing merges.
    fn merged(&self) -> Option<Box<dyn FeatureMap>> {
        None
    }
}

/// A feature map over one vector.
pub trait SliceMap: Send + Sync {
    /// φ of one vector in f32, written to `out` (m); allocates nothing. Returns the logarithm of the factor that `out`
    /// lacks, which is 0 for maps without a scale.
    fn apply(&self, x: &[f32], at: At, out: &mut [f32]) -> f32;

    /// Whether φ is a function of single numbers, the same everywhere and without a scale: [`SliceMap::apply`] then takes
    /// many vectors in one call.
    fn is_by_number(&self) -> bool {
        false
    }

    /// φ of one vector in f64, written for clarity: what everything else is checked against.
    fn formula(&self, x: &[f64], at: At) -> Formula;
}

/// φ of one vector in f64, up to a factor.
#[derive(Debug, Clone, PartialEq)]
pub struct Formula {
    /// (m).
    pub phi: Vec<f64>,
    /// Logarithm of the factor that `phi` lacks.
    pub log_scale: f64,
}

impl From<Vec<f64>> for Formula {
    fn from(phi: Vec<f64>) -> Self {
        Self { phi, log_scale: 0.0 }
    }
}

/// A parameter of a resolved variant that is a number.
fn count(spec: &VariantSpec, key: &str) -> Result<usize> {
    match spec.param(key).and_then(|text| text.parse().ok()) {
        Some(value) => Ok(value),
        None => candle_core::bail!("{spec} states no {key}"),
    }
}

/// A length that has two halves.
fn even(name: &str, feature_dim: usize) -> std::result::Result<usize, String> {
    match feature_dim % 2 {
        0 => Ok(feature_dim),
        _ => Err(format!("{name} has features in pairs: feature_dim {feature_dim} must be even")),
    }
}

/// `W` (h_kv, rows, d) times every vector of `x` (b, h_kv, n, d): (b, h_kv, n, rows), f32.
fn project(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let weight = weight.to_dtype(DType::F32)?.t()?.unsqueeze(0)?.contiguous()?;
    x.to_dtype(DType::F32)?.contiguous()?.broadcast_matmul(&weight)
}

/// Reads a tensor back as one flat vector.
pub(crate) fn to_slice(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
}
