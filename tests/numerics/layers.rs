//! Layers of every variant and random inputs for them, shared by the tests of this binary.

use candle_core::{DType, Device, Tensor};
use t2r::{
    attention::{
        Attention, Heads, Mask, Qkv, ResolveRequest, Resolved, Token, build,
        oracle::{Inputs, Reference, attend},
        resolve, variants, window_of,
    },
    kernels::{Kernels, Simd},
    params::{Init, Params, draw, named_rng},
    spec::VariantSpec,
};

/// Every variant of the registry with every value of its parameters, small windows among them.
pub(crate) fn every_variant() -> Vec<VariantSpec> {
    let mut all = Vec::new();
    for info in variants() {
        all.push(VariantSpec::new(&info.name));
        for (key, values) in info.params {
            all.extend(values.iter().map(|v| format!("{}:{key}={v}", info.name).parse().unwrap()));
        }
    }
    let hybrids: Vec<String> =
        all.iter().filter(|s| s.name.starts_with("window+") && s.params.is_empty()).map(|s| format!("{s}:3")).collect();
    all.extend(hybrids.iter().map(|v| v.parse().unwrap()));
    all.extend(
        ["window:1", "window:5", "window+t2r:1", "taylor:p=3", "cosformer:max_len=300"].map(|v| v.parse().unwrap()),
    );
    all
}

/// Whether the variant can look at a whole source; the others look back only.
pub(crate) fn has_full_form(spec: &VariantSpec) -> bool {
    let request = ResolveRequest { head_dim: 4, feature_dim: None, can_merge: true, causal: false };
    resolve(spec, request).is_ok()
}

/// Whether every parameter counts in sequences of n tokens: a map behind a window that no token leaves does not.
pub(crate) fn all_counts(spec: &VariantSpec, n: usize) -> bool {
    let request = ResolveRequest { head_dim: 4, feature_dim: None, can_merge: true, causal: true };
    !spec.name.starts_with("window+") || window_of(&resolve(spec, request).unwrap().spec).unwrap() < n
}

pub(crate) struct Layer {
    pub(crate) attention: Box<dyn Attention>,
    pub(crate) resolved: Resolved,
    pub(crate) heads: Heads,
    pub(crate) input_dim: usize,
    pub(crate) gated: bool,
}

pub(crate) fn layer_with(spec: &VariantSpec, heads: Heads, feature_dim: usize, params: &mut Params) -> Layer {
    let request =
        ResolveRequest { head_dim: heads.head_dim, feature_dim: Some(feature_dim), can_merge: true, causal: true };
    let resolved = resolve(spec, request).unwrap();
    let attention = build(&resolved, heads, params, "layer").unwrap();
    let input_dim = attention.stepper().unwrap().input_dim();
    let gated = attention.gated();
    Layer { attention, resolved, heads, input_dim, gated }
}

pub(crate) fn layer(spec: &VariantSpec, heads: Heads, feature_dim: usize) -> Layer {
    layer_with(spec, heads, feature_dim, &mut Params::frozen(&Device::Cpu, DType::F32, 7))
}

/// q, k, v of one layer as flat vectors (b, h, n, ·).
#[derive(Clone)]
pub(crate) struct Flat {
    pub(crate) batch: usize,
    pub(crate) n: usize,
    pub(crate) source: usize,
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
    /// Empty for variants without a gate.
    pub(crate) gate: Vec<f32>,
}

impl Layer {
    pub(crate) fn random(&self, batch: usize, n: usize, source: usize, scale: f64, seed: u64) -> Flat {
        let Heads { n_heads, n_kv_heads, head_dim } = self.heads;
        let numbers = |name: &str, n: usize| draw(&mut named_rng(seed, name), n, Init::Normal(scale));
        Flat {
            batch,
            n,
            source,
            q: numbers("q", batch * n_heads * n * self.input_dim),
            k: numbers("k", batch * n_kv_heads * source * self.input_dim),
            v: numbers("v", batch * n_kv_heads * source * head_dim),
            gate: numbers("gate", if self.gated { batch * n_kv_heads * source } else { 0 }),
        }
    }

    pub(crate) fn tensors(&self, x: &Flat) -> Qkv {
        let Heads { n_heads, n_kv_heads, head_dim } = self.heads;
        let tensor = |data: &Vec<f32>, shape: (usize, usize, usize, usize)| {
            Tensor::from_vec(data.clone(), shape, &Device::Cpu).unwrap()
        };
        Qkv {
            q: tensor(&x.q, (x.batch, n_heads, x.n, self.input_dim)),
            k: tensor(&x.k, (x.batch, n_kv_heads, x.source, self.input_dim)),
            v: tensor(&x.v, (x.batch, n_kv_heads, x.source, head_dim)),
            gate: self
                .gated
                .then(|| Tensor::from_slice(&x.gate, (x.batch, n_kv_heads, x.source), &Device::Cpu).unwrap()),
        }
    }

    pub(crate) fn forward(&self, x: &Flat, mask: &Mask) -> Vec<f32> {
        flat(&self.attention.forward(&self.tensors(x), mask).unwrap())
    }

    pub(crate) fn oracle(&self, x: &Flat, mask: &Mask) -> Reference {
        let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect();
        let stepper = self.attention.stepper().unwrap();
        let inputs = Inputs {
            batch: x.batch,
            n: x.n,
            source: x.source,
            input_dim: self.input_dim,
            value_dim: self.heads.head_dim,
            q: wide(&x.q),
            k: wide(&x.k),
            v: wide(&x.v),
            gate: wide(&x.gate),
        };
        attend(&stepper.weights(), self.heads, &inputs, mask)
    }

    /// The forward by fused kernels.
    pub(crate) fn infer(&self, x: &Flat, mask: &Mask, simd: Simd) -> Vec<f32> {
        flat(&self.attention.forward_by(&self.tensors(x), mask, Kernels::Fused(simd)).unwrap())
    }

    /// The step folded over the whole sequence, laid out as the forward is: (b, h, n, d).
    pub(crate) fn folded(&self, x: &Flat) -> Vec<f32> {
        self.folded_by(x, Kernels::Plain)
    }

    /// The same by kernels of choice.
    pub(crate) fn folded_by(&self, x: &Flat, kernels: Kernels) -> Vec<f32> {
        let stepper = self.attention.stepper_by(kernels).unwrap();
        let Heads { n_heads, n_kv_heads, head_dim } = self.heads;
        let mut state = stepper.state(x.batch, x.n);
        let mut scratch = vec![0.0; stepper.scratch_len(x.batch)];
        let mut step_out = vec![0.0; x.batch * n_heads * head_dim];
        let mut out = vec![0.0; x.batch * n_heads * x.n * head_dim];
        for t in 0..x.n {
            let at = |data: &[f32], parts: usize, width: usize| -> Vec<f32> {
                (0..parts).flat_map(|p| data[(p * x.n + t) * width..][..width].to_vec()).collect()
            };
            let (q, k) = (at(&x.q, x.batch * n_heads, self.input_dim), at(&x.k, x.batch * n_kv_heads, self.input_dim));
            let v = at(&x.v, x.batch * n_kv_heads, head_dim);
            let gate = if self.gated { at(&x.gate, x.batch * n_kv_heads, 1) } else { Vec::new() };
            stepper.step(Token { q: &q, k: &k, v: &v, gate: &gate }, &mut state, &mut scratch, &mut step_out).unwrap();
            for (p, row) in step_out.chunks(head_dim).enumerate() {
                out[(p * x.n + t) * head_dim..][..head_dim].copy_from_slice(row);
            }
        }
        out
    }
}

pub(crate) fn flat(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// Rows of `width` agree with the reference to `tolerance` times the row's condition, relative to the largest output.
pub(crate) fn assert_close(what: &str, got: &[f32], want: &Reference, width: usize, tolerance: f64) {
    assert_eq!(got.len(), want.out.len(), "{what}: length");
    let scale = want.out.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
    for (row, (got, (want, condition))) in
        got.chunks(width).zip(want.out.chunks(width).zip(&want.condition)).enumerate()
    {
        for (g, w) in got.iter().zip(want) {
            let error = (f64::from(*g) - w).abs();
            let allowed = tolerance * scale * condition;
            assert!(error <= allowed, "{what}: row {row}: {g} against {w}, error {error:e} > {allowed:e}");
        }
    }
}
