//! Feature maps φ: what makes one linear attention differ from another. A new map is one file here and one line in
//! the registry below; the planner, every workload, the checks and the test-suite then know it.

use candle_core::{Result, Tensor};

use crate::{kernels::linear::Normalizer, params::Params, spec::VariantSpec};

/// Declares the modules and lists their `ENTRY`s.
macro_rules! registry {
    ($($module:ident,)+) => {
        $(mod $module;)+
        /// Every feature map, in the order of the documentation.
        pub static REGISTRY: &[&MapEntry] = &[$(&$module::ENTRY,)+];
    };
}

registry! {
    elu,
    rfa,
    t2r,
}

/// The registered map of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static MapEntry> {
    REGISTRY.iter().copied().find(|e| e.name == name)
}

/// What the program knows of a map without building one.
pub struct MapEntry {
    /// Name of the variant.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Parameters beside `feature_dim`, with the values they may take, the default first.
    pub params: &'static [(&'static str, &'static [&'static str])],
    /// Length of φ from the head width and the length asked for.
    pub feature_dim: fn(head_dim: usize, asked: Option<usize>) -> std::result::Result<usize, String>,
    /// Builds the map; its parameters are called `{prefix}.{name}`.
    pub build: BuildMap,
}

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

/// A feature map over tensors, differentiable.
pub trait FeatureMap: Send + Sync {
    /// φ of every row: (b, h_kv, rows, input) → (b, h_kv, rows, m), f32.
    ///
    /// # Errors
    /// On a wrong shape or as the device fails.
    fn forward(&self, x: &Tensor, side: Side, rows: Rows) -> Result<Tensor>;

    /// Parameters by name.
    fn parameters(&self) -> Vec<(&'static str, Tensor)> {
        Vec::new()
    }

    /// The same map on CPU slices, with a copy of the parameters as they are now.
    ///
    /// # Errors
    /// If parameters cannot be read back.
    fn on_slices(&self) -> Result<Box<dyn SliceMap>>;

    /// Length of φ.
    fn feature_dim(&self) -> usize;

    /// Length of the vectors it maps: the head width, unless the projection is merged into it. As long as φ itself
    /// for maps that work element by element.
    fn input_dim(&self) -> usize {
        self.feature_dim()
    }

    /// How φ(q)·z is kept away from zero.
    fn normalizer(&self) -> Normalizer;

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
    /// φ of one vector in f32, written to `out` (m); allocates nothing.
    fn apply(&self, x: &[f32], at: At, out: &mut [f32]);

    /// φ of one vector in f64, written for clarity: what everything else is checked against.
    fn formula(&self, x: &[f64], at: At) -> Vec<f64>;
}

/// A length that is the head width and nothing else.
fn fixed_to_head_dim(head_dim: usize, _asked: Option<usize>) -> std::result::Result<usize, String> {
    Ok(head_dim)
}

/// Reads a tensor back as one flat vector.
pub(crate) fn to_slice(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_dtype(candle_core::DType::F32)?.to_vec1()
}
