//! From the fields of one sweep to its cells. Knows which axes a workload has and which shapes cannot be, not in what
//! order cells run.

use super::{fields::SweepFields, plan::PlanError, plan::RunFacts};
use crate::{
    attention::{ResolveRequest, Resolved, has_fused_form, looks_back_only, resolve},
    spec::{
        Activation, CacheMode, Cell, DType, DeviceKind, Implementation, ModelShape, Norm, Positions, SizeList,
        VariantSpec, Workload,
    },
};

/// Largest memory that any cell may come to on paper, in bytes; beyond it a size is a slip of the pen, and arithmetic
/// on sizes stays far from overflow.
const ABSURD_BYTES: u128 = 1 << 50;

/// Variants of a sweep that names none.
const DEFAULT_VARIANTS: [&str; 4] = ["softmax", "elu", "rfa", "t2r"];

/// What one sweep measures, every default filled in; the axes are still lists.
struct Axes {
    workloads: Vec<Workload>,
    variants: Vec<VariantSpec>,
    implementations: Option<Vec<Implementation>>,
    batches: Vec<usize>,
    seq_lens: Vec<usize>,
    feature_dims: Vec<Option<usize>>,
    dtypes: Vec<DType>,
    caches: Vec<CacheMode>,
    causal: bool,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    n_prompt: Option<usize>,
    cross_feature_dim: Option<usize>,
    n_gen: usize,
    model: ModelShape,
    checkpoint: Option<String>,
}

/// Every cell of a sweep, in the order of its lists: workload, cache, dtype, batch, length, implementation, variant,
/// feature size. Equal cells may occur.
pub(super) fn expand(fields: &SweepFields, facts: &RunFacts) -> Result<Vec<Cell>, PlanError> {
    let axes = Axes::of(fields)?;
    let mut cells = Vec::new();
    for &workload in &axes.workloads {
        let caches: Vec<Option<CacheMode>> =
            if has_cache(workload) { axes.caches.iter().copied().map(Some).collect() } else { vec![None] };
        for cache in caches {
            for &dtype in &axes.dtypes {
                for &batch_size in &axes.batches {
                    for &seq_len in &axes.seq_lens {
                        let place = Place { workload, cache, dtype, batch_size, seq_len };
                        axes.cells_at(place, facts, &mut cells)?;
                    }
                }
            }
        }
    }
    Ok(cells)
}

/// Whether that workload runs a whole model.
pub(super) fn has_model(workload: Workload) -> bool {
    !matches!(workload, Workload::Attention | Workload::Forward)
}

fn has_cache(workload: Workload) -> bool {
    !has_model(workload)
}

/// A point on the axes that variants share.
#[derive(Clone, Copy)]
struct Place {
    workload: Workload,
    cache: Option<CacheMode>,
    dtype: DType,
    batch_size: usize,
    seq_len: usize,
}

impl Axes {
    fn of(f: &SweepFields) -> Result<Self, PlanError> {
        let d_model = f.d_model.unwrap_or(512);
        let n_heads = f.n_heads.unwrap_or(8);
        let sizes = |list: &Option<SizeList>, built_in: usize| list.clone().map_or(vec![built_in], |l| l.0);
        let axes = Self {
            workloads: f.workload.clone().unwrap_or_else(|| vec![Workload::Attention]),
            variants: f
                .variants
                .clone()
                .unwrap_or_else(|| DEFAULT_VARIANTS.iter().map(|name| VariantSpec::new(name)).collect()),
            implementations: f.implementation.clone(),
            batches: sizes(&f.batch, 1),
            seq_lens: sizes(&f.seq_len, 1024),
            feature_dims: f.feature_dim.clone().map_or(vec![None], |list| list.0.into_iter().map(Some).collect()),
            dtypes: f.dtype.clone().unwrap_or_else(|| vec![DType::F32]),
            caches: f.cache.clone().unwrap_or_else(|| vec![CacheMode::Cold]),
            causal: f.causal.unwrap_or(true),
            n_heads,
            n_kv_heads: f.n_kv_heads.unwrap_or(n_heads),
            head_dim: head_dim(f, d_model, n_heads)?,
            n_prompt: f.n_prompt,
            cross_feature_dim: f.cross_feature_dim,
            n_gen: f.n_gen.unwrap_or(32),
            model: ModelShape {
                n_layers: f.n_layers.unwrap_or(6),
                d_model,
                ffn_dim: f.ffn_dim.unwrap_or(2048),
                vocab_size: f.vocab_size.unwrap_or(32_000),
                norm: f.norm.unwrap_or(Norm::LayerNorm),
                positions: f.positions.unwrap_or(Positions::Learned),
                activation: f.activation.unwrap_or(Activation::Gelu),
                tied_output: f.tied_output.unwrap_or(true),
            },
            checkpoint: f.model.clone(),
        };
        axes.refuse_what_cannot_be(f)?;
        Ok(axes)
    }

    fn refuse_what_cannot_be(&self, f: &SweepFields) -> Result<(), PlanError> {
        let m = &self.model;
        let zero = [
            ("n_heads", self.n_heads),
            ("n_kv_heads", self.n_kv_heads),
            ("head_dim", self.head_dim),
            ("n_prompt", self.n_prompt.unwrap_or(1)),
            ("cross_feature_dim", self.cross_feature_dim.unwrap_or(1)),
            ("n_gen", self.n_gen),
            ("n_layers", m.n_layers),
            ("d_model", m.d_model),
            ("ffn_dim", m.ffn_dim),
            ("vocab_size", m.vocab_size),
        ];
        if let Some((name, _)) = zero.iter().find(|(_, value)| *value == 0) {
            return Err(PlanError::Shape(format!("{name} is 0; give at least 1")));
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            let (h, kv) = (self.n_heads, self.n_kv_heads);
            return Err(PlanError::Shape(format!(
                "n_kv_heads {kv} does not divide n_heads {h}; give a divisor of {h}"
            )));
        }
        let with_model = self.workloads.iter().copied().any(has_model);
        if with_model && m.positions == Positions::Rotary && !self.head_dim.is_multiple_of(2) {
            let d = self.head_dim;
            return Err(PlanError::Shape(format!(
                "rotary positions turn pairs: head_dim {d} is odd; give an even one"
            )));
        }
        if let (false, Some(w)) = (self.causal, self.workloads.iter().find(|w| **w != Workload::Forward)) {
            return Err(PlanError::Shape(format!(
                "causal = false is for workload forward alone: {w} goes through a sequence one token at a time"
            )));
        }
        if f.cross_feature_dim.is_some() && !self.workloads.contains(&Workload::Translate) {
            return Err(PlanError::Shape(
                "cross_feature_dim is for encoder-decoders, and no workload of this sweep has one; leave it out"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// The implementations that the sweep names; else the fused one where all of the sweep has it, so that no variant is
    /// compared with another's better code.
    fn implementations_at(&self, place: Place, facts: &RunFacts) -> Vec<Implementation> {
        let fused = facts.device_kind == DeviceKind::Cpu
            // The CPU has no arithmetic in bf16, so that only fused steps, which widen weights as they read them, have it.
            && place.dtype != DType::F16
            && self.variants.iter().all(has_fused_form);
        let default = if fused { Implementation::Fused } else { Implementation::Reference };
        self.implementations.clone().unwrap_or_else(|| vec![default])
    }

    fn cells_at(&self, place: Place, facts: &RunFacts, cells: &mut Vec<Cell>) -> Result<(), PlanError> {
        for implementation in self.implementations_at(place, facts) {
            for variant in &self.variants {
                for &feature_dim in &self.feature_dims {
                    cells.push(self.cell(place, implementation, variant, feature_dim, facts)?);
                    if cells.len() > super::plan::MAX_CELLS {
                        return Err(PlanError::TooManyCells);
                    }
                }
            }
        }
        Ok(())
    }

    fn cell(
        &self,
        place: Place,
        implementation: Implementation,
        variant: &VariantSpec,
        feature_dim: Option<usize>,
        facts: &RunFacts,
    ) -> Result<Cell, PlanError> {
        let Place { workload, cache, dtype, batch_size, seq_len } = place;
        let model = has_model(workload).then_some(self.model);
        let request = ResolveRequest {
            head_dim: self.head_dim,
            feature_dim,
            // Training learns φ apart from the projections: merging is for inference.
            can_merge: workload != Workload::Train && model.is_none_or(|m| m.positions != Positions::Rotary),
            causal: self.causal,
        };
        let resolved = self.resolved(variant, request, model.is_some())?;
        let cell = Cell {
            workload,
            variant: resolved.spec,
            implementation,
            causal: self.causal,
            dtype,
            device_kind: facts.device_kind,
            model,
            checkpoint: self.checkpoint.clone().filter(|_| model.is_some()),
            batch_size,
            seq_len,
            n_prompt: match workload {
                Workload::Generate => Some(self.n_prompt.unwrap_or(1)),
                Workload::Translate => self.n_prompt,
                _ => None,
            },
            n_gen: (workload == Workload::Decode).then_some(self.n_gen),
            n_heads: self.n_heads,
            n_kv_heads: self.n_kv_heads,
            head_dim: self.head_dim,
            feature_dim: resolved.feature_dim,
            cross_feature_dim: self.cross_feature_dim(workload, variant, request)?,
            cache,
            n_threads: facts.n_threads,
            seed: facts.seed,
        };
        refuse_absurd(&cell)?;
        Ok(cell)
    }

    /// A variant with its defaults. What a checkpoint has in its layers is its own affair.
    fn resolved(&self, variant: &VariantSpec, request: ResolveRequest, has_model: bool) -> Result<Resolved, PlanError> {
        if !variant.is_as_is() {
            return resolve(variant, request).map_err(PlanError::Variant);
        }
        match has_model && self.checkpoint.is_some() && variant.params.is_empty() {
            true => Ok(Resolved { spec: variant.clone(), feature_dim: None }),
            false => Err(PlanError::Variant(format!(
                "'{variant}': as-is is a whole model as its checkpoint has it; give --model PATH and a workload of whole models"
            ))),
        }
    }

    /// Length of φ in cross-attention: what the sweep gives, else as in self-attention.
    fn cross_feature_dim(
        &self,
        workload: Workload,
        variant: &VariantSpec,
        request: ResolveRequest,
    ) -> Result<Option<usize>, PlanError> {
        if !has_cross(workload, variant) {
            return Ok(None);
        }
        let mut variant = variant.clone();
        if self.cross_feature_dim.is_some() {
            // A length written with the variant is that of self-attention.
            variant.params.retain(|(key, _)| !key.is_empty() && key != "feature_dim");
        }
        let feature_dim = self.cross_feature_dim.or(request.feature_dim);
        let request = ResolveRequest { feature_dim, causal: false, ..request };
        Ok(resolve(&variant, request).map_err(PlanError::Variant)?.feature_dim)
    }
}

/// Whether a workload has cross-attention, and a variant a form of it.
fn has_cross(workload: Workload, variant: &VariantSpec) -> bool {
    workload == Workload::Translate && !looks_back_only(variant) && !variant.is_as_is()
}

fn head_dim(f: &SweepFields, d_model: usize, n_heads: usize) -> Result<usize, PlanError> {
    match f.head_dim {
        Some(given) => Ok(given),
        None if n_heads == 0 => Err(PlanError::Shape("n_heads is 0; give at least 1".to_owned())),
        None if !d_model.is_multiple_of(n_heads) => Err(PlanError::Shape(format!(
            "d_model {d_model} is not a multiple of n_heads {n_heads}; change one of them or give head_dim"
        ))),
        None => Ok(d_model / n_heads),
    }
}

/// Holds the products that memory and work are made of against [`ABSURD_BYTES`].
fn refuse_absurd(cell: &Cell) -> Result<(), PlanError> {
    let m = cell.model;
    let product = |factors: &[usize]| {
        factors.iter().try_fold(8_u128, |acc, f| acc.checked_mul(*f as u128)).is_some_and(|p| p <= ABSURD_BYTES)
    };
    let n_layers = m.map_or(1, |m| m.n_layers);
    let positions = cell.seq_len.saturating_add(cell.n_prompt.unwrap_or(0)).saturating_add(cell.n_gen.unwrap_or(0));
    let feature_dim = cell.feature_dim.unwrap_or(1);
    let width = m.map_or(1, |m| m.d_model.max(m.ffn_dim).max(m.vocab_size));
    let ok = product(&[n_layers, cell.batch_size, positions, cell.n_heads, cell.head_dim])
        && product(&[n_layers, cell.batch_size, cell.n_heads, cell.head_dim, feature_dim])
        && product(&[cell.batch_size, positions, cell.n_heads, feature_dim])
        && product(&[cell.n_heads, cell.head_dim, m.map_or(1, |m| m.d_model), n_layers])
        && m.is_none_or(|m| product(&[m.d_model, width, n_layers, 4]))
        && product(&[cell.batch_size, width])
        && product(&[positions, m.map_or(1, |m| m.d_model)]);
    if ok {
        return Ok(());
    }
    Err(PlanError::Shape(format!("{} comes to more than a pebibyte; a size must be mistyped", cell.label())))
}
