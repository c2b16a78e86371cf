//! Whole causal sequences.

use std::{cell::RefCell, hint::black_box};

use candle_core::{Device, Tensor};
use t2r::{
    attention::{Attention, Heads, Mask, Qkv, ResolveRequest, SoftmaxAttention, build, resolve},
    kernels::{
        Simd, for_each_part,
        fused::{
            self,
            softmax_forward::{self, Span},
        },
        linear::{self, Normalizer},
        softmax,
    },
    measure::sgemm_gflops,
    params::Params,
    spec::VariantSpec,
};

use crate::{
    D_HEAD, HEADS, features, numbers,
    race::{Contender, race},
};

/// Runs the cases that are wanted.
pub(crate) fn run(runs: &dyn Fn(&str) -> bool) {
    for n in [256, 1024, 4096] {
        let case = format!("softmax forward n={n} batch=1");
        if runs(&case) {
            softmax_forward(&case, n);
        }
    }
    for (m, n, batch) in [(32, 256, 16), (32, 1024, 1), (64, 1024, 1), (128, 1024, 1), (128, 4096, 1)] {
        let case = format!("linear forward m={m} n={n} batch={batch}");
        if runs(&case) {
            linear_forward(&case, m, n, batch);
        }
    }
}

/// Attention by tensor operations on (batch, heads, n, width).
fn candle<'a>(attention: Box<dyn Attention>, batch: usize, n: usize, width: usize) -> Contender<'a> {
    let tensor =
        |d: usize| Tensor::from_vec(numbers(batch * HEADS * n * d), (batch, HEADS, n, d), &Device::Cpu).unwrap();
    let qkv = Qkv { q: tensor(width), k: tensor(width), v: tensor(D_HEAD), gate: None };
    Contender::call("candle", move || _ = black_box(attention.forward(&qkv, &Mask::Causal).unwrap()))
}

fn heads() -> Heads {
    Heads { n_heads: HEADS, n_kv_heads: HEADS, head_dim: D_HEAD }
}

/// The share of sgemm(512) on useful operations.
fn sgemm<'a>(operations: usize) -> Contender<'a> {
    Contender::limit("limit: sgemm(512)", operations as f64, sgemm_gflops)
}

fn softmax_forward(case: &str, n: usize) {
    let one = n * D_HEAD;
    let (q, k, v) = (numbers(HEADS * one), numbers(HEADS * one), numbers(HEADS * one));
    let buffers = RefCell::new((vec![0.0; HEADS * one], vec![0.0; HEADS * softmax_forward::scratch_len(n, D_HEAD)]));
    let simd = Simd::detect();
    let forward = |fused: bool| {
        let (out, scratch) = &mut *buffers.borrow_mut();
        for_each_part(HEADS, n * HEADS * one, [out, scratch], |i, [out, scratch]| {
            let (q, k, v) = (&q[i * one..][..one], &k[i * one..][..one], &v[i * one..][..one]);
            if fused {
                let span = Span::Causal { offset: 0, window: None };
                softmax_forward::forward(simd, q, k, v, (n, D_HEAD), span, scratch, &mut [], out);
            } else {
                for (t, (q, out)) in q.chunks(D_HEAD).zip(out.chunks_mut(D_HEAD)).enumerate() {
                    softmax::step(q, &k[..(t + 1) * D_HEAD], &v[..(t + 1) * D_HEAD], out);
                }
            }
        });
    };
    race(
        case,
        vec![
            Contender::call("fused", || forward(true)),
            sgemm(2 * n * n * D_HEAD * HEADS),
            Contender::call("plain", || forward(false)),
            candle(Box::new(SoftmaxAttention::full(heads())), 1, n, D_HEAD),
        ],
    );
}

fn linear_forward(case: &str, m: usize, n: usize, batch: usize) {
    let parts = batch * HEADS;
    let (phi_q, phi_k, v) = (features(parts * n * m), features(parts * n * m), numbers(parts * n * D_HEAD));
    let buffers = RefCell::new((vec![0.0; parts * n * D_HEAD], vec![0.0; parts * m * (D_HEAD + 1)]));
    let (simd, normalizer) = (Simd::detect(), Normalizer::ClampMin(1e-2));
    let forward = |fused: bool| {
        let (out, sums) = &mut *buffers.borrow_mut();
        for_each_part(parts, parts * n * m * D_HEAD, [out, sums], |i, [out, sums]| {
            sums.fill(0.0);
            let (s, z) = sums.split_at_mut(m * D_HEAD);
            let (q, k, v) =
                (&phi_q[i * n * m..][..n * m], &phi_k[i * n * m..][..n * m], &v[i * n * D_HEAD..][..n * D_HEAD]);
            if fused {
                fused::linear::forward(simd, q, k, v, None, s, z, normalizer, out);
            } else {
                for (t, out) in out.chunks_mut(D_HEAD).enumerate() {
                    let (phi_q, phi_k) = (&q[t * m..][..m], &k[t * m..][..m]);
                    let token = linear::Token { phi_q, phi_k, v: &v[t * D_HEAD..][..D_HEAD], decay: 1.0 };
                    linear::step(token, s, z, normalizer, out);
                }
            }
        });
    };
    let spec = VariantSpec { name: "t2r".to_owned(), params: vec![("merged".to_owned(), "true".to_owned())] };
    let request = ResolveRequest { head_dim: D_HEAD, feature_dim: Some(m), can_merge: true, causal: true };
    let resolved = resolve(&spec, request).unwrap();
    let mut params = Params::frozen(&Device::Cpu, candle_core::DType::F32, 1);
    let attention = build(&resolved, heads(), &mut params, "bench").unwrap();
    race(
        case,
        vec![
            Contender::call("fused", || forward(true)),
            sgemm(4 * m * D_HEAD * n * parts),
            Contender::call("plain", || forward(false)),
            candle(attention, batch, n, m),
        ],
    );
}
