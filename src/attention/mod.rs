//! Attention variants, each behind one trait: a differentiable forward over tensors and a step in place on slices.
//! Knows no model, no layer around it and no timing.

mod catalogue;
pub mod feature_map;
mod hybrid;
mod linear;
mod none;
pub mod oracle;
mod pace;
mod softmax;
mod state;
mod stepper;
mod tensor_state;

use candle_core::{Device, Result, Tensor};

pub use catalogue::{
    ResolveRequest, Resolved, StateBytes, VariantInfo, has_fused_form, is_hybrid, looks_back_only, map_of, max_len,
    memory_bytes, resolve, state_bytes, variants, window_of, written,
};
pub use hybrid::HybridAttention;
pub use linear::{CHUNK, LinearAttention};
pub use none::NoAttention;
pub use softmax::SoftmaxAttention;
pub use state::{KvCache, Recurrent, Source, State};
pub use stepper::{StepError, StepResult, Stepper, Token};
pub use tensor_state::TensorState;

use crate::{
    kernels::Kernels,
    params::{Init, Params},
    spec::{DType, VariantSpec},
};

/// Heads of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads h.
    pub n_heads: usize,
    /// Key and value heads h_kv; divides `n_heads`, query head i reads key head i / (h / h_kv).
    pub n_kv_heads: usize,
    /// Width of a head d.
    pub head_dim: usize,
}

impl Heads {
    /// Query heads that share one key and value head.
    #[must_use]
    pub fn group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }
}

/// Queries (b, h, n, d), keys (b, h_kv, M, d) and values (b, h_kv, M, d_v) of a layer. For a merged T2R the queries
/// and keys are pre-activations of length m instead of d.
#[derive(Debug, Clone)]
pub struct Qkv {
    /// Queries.
    pub q: Tensor,
    /// Keys.
    pub k: Tensor,
    /// Values.
    pub v: Tensor,
    /// Pre-activations of the gate (b, h_kv, M), for variants that have one.
    pub gate: Option<Tensor>,
}

/// Which keys a query sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    /// Position t sees positions 0..=t; source and target have one length.
    Causal,
    /// Every position sees the whole source: bidirectional self-attention, or cross-attention where lengths differ.
    Full {
        /// Unpadded length of each source of the batch; `None`: no padding.
        source_lengths: Option<Vec<usize>>,
    },
}

/// One attention variant with its parameters.
///
/// The law that every variant obeys: [`forward`](Attention::forward) with [`Mask::Causal`] at position t equals
/// [`Stepper::step`] folded over positions 0..=t, and [`extend`](Attention::extend) over any split of the sequence.
pub trait Attention: Send + Sync {
    /// Whole sequence, differentiable: (b, h, n, d_v).
    ///
    /// # Errors
    /// On shapes that do not belong together, on a mask the variant has no meaning for, or as the device fails.
    fn forward(&self, qkv: &Qkv, mask: &Mask) -> Result<Tensor>;

    /// The same by kernels of choice, for f32 on the CPU, differentiable too. Variants without a fused form
    /// ([`has_fused_form`]) take no notice of them.
    ///
    /// # Errors
    /// As `forward`, and for fused kernels on anything but f32 on the CPU.
    fn forward_by(&self, qkv: &Qkv, mask: &Mask, _: Kernels) -> Result<Tensor> {
        self.forward(qkv, mask)
    }

    /// Causal attention of n more tokens after those in `state`, which then holds them too: prefill for n > 1, a
    /// decode step for n = 1, on any device. (b, h, n, d_v).
    ///
    /// # Errors
    /// As `forward`, and where a KV cache is full.
    fn extend(&self, qkv: &Qkv, state: &mut TensorState) -> Result<Tensor>;

    /// The same by kernels of choice, as in [`forward_by`](Attention::forward_by); fused ones carry no gradient.
    ///
    /// # Errors
    /// As `extend`, and for fused kernels on anything but f32 on the CPU.
    fn extend_by(&self, qkv: &Qkv, state: &mut TensorState, _: Kernels) -> Result<Tensor> {
        self.extend(qkv, state)
    }

    /// What cross-attention keeps of a source, made once: keys (b, h_kv, M, ·) and values (b, h_kv, M, d_v) of encoder
    /// outputs, or sums over them; tokens beyond a source's length are left out.
    ///
    /// # Errors
    /// As `forward`, and for variants that look back only.
    fn absorb(&self, _k: &Tensor, _v: &Tensor, _source_lengths: Option<&[usize]>) -> Result<TensorState> {
        Err(StepError::LooksBackOnly.into())
    }

    /// Queries (b, h, n, ·) that stand at `start..` over a source that was absorbed: (b, h, n, d_v).
    ///
    /// # Errors
    /// As `absorb`, and on a memory of another variant.
    fn read(&self, _q: &Tensor, _memory: &TensorState, _start: usize) -> Result<Tensor> {
        Err(StepError::LooksBackOnly.into())
    }

    /// An empty state for `extend`: KV caches in `dtype`, recurrent states in f32.
    ///
    /// # Errors
    /// Where the device has no memory for it.
    fn tensor_state(
        &self,
        batch: usize,
        capacity: usize,
        dtype: candle_core::DType,
        device: &Device,
    ) -> Result<TensorState>;

    /// The decode step on CPU slices by the plain loops, with a copy of the parameters as they are now.
    ///
    /// # Errors
    /// If parameters cannot be read back.
    fn stepper(&self) -> Result<Box<dyn Stepper>> {
        self.stepper_by(Kernels::Plain)
    }

    /// The same by kernels of choice.
    ///
    /// # Errors
    /// If parameters cannot be read back.
    fn stepper_by(&self, kernels: Kernels) -> Result<Box<dyn Stepper>>;

    /// Whether the layer wants [`Qkv::gate`].
    fn gated(&self) -> bool {
        false
    }

    /// Parameters by name, for dumps and checkpoints.
    fn parameters(&self) -> Vec<(&'static str, Tensor)> {
        Vec::new()
    }
}

/// Builds the resolved variant; its parameters are called `{prefix}.{name}`.
///
/// # Errors
/// If parameters cannot be made on the device.
///
/// # Panics
/// Never for a variant that [`resolve`] returned.
pub fn build(resolved: &Resolved, heads: Heads, params: &mut Params, prefix: &str) -> Result<Box<dyn Attention>> {
    let spec = &resolved.spec;
    match (spec.name.as_str(), window_of(spec), map_of(&spec.name)) {
        ("softmax", ..) => Ok(Box::new(SoftmaxAttention::full(heads))),
        ("none", ..) => Ok(Box::new(NoAttention::new(heads))),
        (_, Some(window), None) => Ok(Box::new(SoftmaxAttention::window(heads, window))),
        (_, Some(window), Some(entry)) => {
            let map = build_map(resolved, heads, params, prefix)?;
            let log_gamma = params.get(&format!("{prefix}.log_gamma"), heads.n_heads, Init::Constant(0.0))?;
            Ok(Box::new(HybridAttention::new(heads, window, map, entry.scaled, log_gamma)))
        }
        (_, None, Some(entry)) => {
            let map = build_map(resolved, heads, params, prefix)?;
            Ok(Box::new(LinearAttention::new(heads, map, entry.gated, entry.scaled)))
        }
        (_, None, None) => candle_core::bail!("{spec} is not in the registry"),
    }
}

fn build_map(
    resolved: &Resolved,
    heads: Heads,
    params: &mut Params,
    prefix: &str,
) -> Result<Box<dyn feature_map::FeatureMap>> {
    let Some(entry) = map_of(&resolved.spec.name) else {
        candle_core::bail!("variant {} is not in the registry", resolved.spec);
    };
    let shape = feature_map::MapShape {
        n_kv_heads: heads.n_kv_heads,
        head_dim: heads.head_dim,
        feature_dim: resolved.feature_dim.unwrap_or(heads.head_dim),
    };
    (entry.build)(&resolved.spec, shape, params, prefix)
}

/// The feature map of a variant that merges, before it is merged.
///
/// # Errors
/// If parameters cannot be made on the device, or the variant has no map.
pub fn build_unmerged_map(
    resolved: &Resolved,
    heads: Heads,
    params: &mut Params,
    prefix: &str,
) -> Result<Box<dyn feature_map::FeatureMap>> {
    build_map(&unmerged(resolved), heads, params, prefix)
}

/// The same variant with its map apart from the projections.
#[must_use]
pub fn unmerged(resolved: &Resolved) -> Resolved {
    with_merged(resolved, "false")
}

/// The same variant with its map merged into the projections, if it is one that merges.
#[must_use]
pub fn merged(resolved: &Resolved) -> Resolved {
    with_merged(resolved, "true")
}

fn with_merged(resolved: &Resolved, merged: &str) -> Resolved {
    let mut resolved = resolved.clone();
    for (key, value) in &mut resolved.spec.params {
        if key == "merged" {
            merged.clone_into(value);
        }
    }
    resolved
}

/// Whether a resolved variant starts from pre-activations of length m rather than from queries and keys.
#[must_use]
pub fn is_merged(spec: &VariantSpec) -> bool {
    spec.param("merged") == Some("true")
}

/// Whether a resolved variant looks at queries, keys and values at all: what it does not read cannot be trained.
#[must_use]
pub fn reads_inputs(spec: &VariantSpec) -> bool {
    spec.name != "none"
}

/// The tensor library's name for a dtype.
#[must_use]
pub fn tensor_dtype(dtype: DType) -> candle_core::DType {
    match dtype {
        DType::F32 => candle_core::DType::F32,
        DType::F16 => candle_core::DType::F16,
        DType::Bf16 => candle_core::DType::BF16,
    }
}

/// Sizes read off a [`Qkv`], checked against each other and against the heads of the layer.
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) n: usize,
    pub(crate) source: usize,
    pub(crate) value_dim: usize,
}

impl Sizes {
    pub(crate) fn of(qkv: &Qkv, heads: Heads, input_dim: usize) -> Result<Self> {
        let (batch, h, n, d) = qkv.q.dims4()?;
        let (kb, kh, source, kd) = qkv.k.dims4()?;
        let (vb, vh, vn, value_dim) = qkv.v.dims4()?;
        let fits = (h, kh, vh) == (heads.n_heads, heads.n_kv_heads, heads.n_kv_heads);
        if !fits || (kb, vb) != (batch, batch) || vn != source || (d, kd) != (input_dim, input_dim) {
            candle_core::bail!(
                "attention of {heads:?} with input width {input_dim} got q {:?}, k {:?}, v {:?}",
                qkv.q.dims(),
                qkv.k.dims(),
                qkv.v.dims()
            );
        }
        Ok(Self { batch, n, source, value_dim })
    }

    /// A causal layer reads as many keys as it has queries.
    pub(crate) fn require_square(&self) -> Result<()> {
        if self.n != self.source {
            candle_core::bail!("causal attention needs one key per query, got {} and {}", self.source, self.n);
        }
        Ok(())
    }
}
