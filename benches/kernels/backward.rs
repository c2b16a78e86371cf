//! Gradients of whole causal sequences.

use std::{cell::RefCell, hint::black_box};

use candle_core::{Device, Tensor, Var};
use t2r::{
    attention::{Attention, Heads, Mask, Qkv, ResolveRequest, SoftmaxAttention, build, resolve},
    kernels::{
        Kernels, Simd, for_each_part,
        fused::{linear_backward, softmax_backward, softmax_forward},
        linear::{self, Normalizer},
        softmax::{self, Span},
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
        let case = format!("softmax backward n={n} batch=1");
        if runs(&case) {
            softmax_case(&case, n);
        }
    }
    for (m, n, batch) in [(32, 256, 16), (32, 1024, 1), (128, 1024, 1)] {
        let case = format!("linear backward m={m} n={n} batch={batch}");
        if runs(&case) {
            linear_case(&case, m, n, batch);
        }
    }
    for n in [512, 2048] {
        let case = format!("hybrid backward w=64 m=32 n={n} batch=1");
        if runs(&case) {
            hybrid_case(&case, (64, 32), n);
        }
    }
}

/// A layer of that variant.
fn layer(spec: &VariantSpec, m: usize) -> Box<dyn Attention> {
    let request = ResolveRequest { head_dim: D_HEAD, feature_dim: Some(m), can_merge: true, causal: true };
    let mut params = Params::frozen(&Device::Cpu, candle_core::DType::F32, 1);
    build(&resolve(spec, request).unwrap(), heads(), &mut params, "bench").unwrap()
}

/// A layer of a window and a map as a whole, map included.
fn hybrid_case(case: &str, (window, m): (usize, usize), n: usize) {
    let simd = Simd::detect();
    let made = || layer(&format!("window+t2r:{window}").parse().unwrap(), m);
    let tensor = || Tensor::from_vec(numbers(HEADS * n * D_HEAD), (1, HEADS, n, D_HEAD), &Device::Cpu).unwrap();
    let qkv = Qkv { q: tensor(), k: tensor(), v: tensor(), gate: None };
    let of_forward = made();
    let forward = || _ = black_box(of_forward.forward_by(&qkv, &Mask::Causal, Kernels::Fused(simd)).unwrap());
    let contenders = vec![
        through("fused, forward and backward", made(), (1, n, D_HEAD), Kernels::Fused(simd)),
        // Seven products with w keys, and with m features each of both maps beside.
        sgemm(14 * (window + m) * D_HEAD * n * HEADS),
        Contender::call("fused forward", forward),
        through("candle, forward and backward", made(), (1, n, D_HEAD), Kernels::Plain),
    ];
    race(case, contenders);
}

fn sgemm<'a>(operations: usize) -> Contender<'a> {
    Contender::limit("limit: sgemm(512)", operations as f64, sgemm_gflops)
}

/// Forward and backward through the tensor library's graph.
fn through<'a>(
    name: &str,
    attention: Box<dyn Attention>,
    (batch, n, width): (usize, usize, usize),
    kernels: Kernels,
) -> Contender<'a> {
    let var = |d: usize| Var::from_vec(numbers(batch * HEADS * n * d), (batch, HEADS, n, d), &Device::Cpu).unwrap();
    let vars = [var(width), var(width), var(D_HEAD)];
    let call = move || {
        let [q, k, v] = vars.each_ref().map(|var| var.as_tensor().clone());
        let out = attention.forward_by(&Qkv { q, k, v, gate: None }, &Mask::Causal, kernels).unwrap();
        black_box(out.sum_all().unwrap().backward().unwrap());
    };
    Contender::call(name, call)
}

fn heads() -> Heads {
    Heads { n_heads: HEADS, n_kv_heads: HEADS, head_dim: D_HEAD }
}

fn softmax_case(case: &str, n: usize) {
    let (one, simd) = (n * D_HEAD, Simd::detect());
    let span = Span::Causal { offset: 0, window: None };
    let (q, k, v, grad) = (numbers(HEADS * one), numbers(HEADS * one), numbers(HEADS * one), numbers(HEADS * one));
    let (mut out, mut stats) = (vec![0.0; HEADS * one], vec![0.0; HEADS * n * 2]);
    let room = softmax_forward::scratch_len(n, D_HEAD).max(softmax_backward::scratch_len(1, n, D_HEAD, D_HEAD));
    let buffers = RefCell::new([0; 3].map(|_| vec![0f32; HEADS * one]));
    let scratch = RefCell::new(vec![0f32; HEADS * room]);
    let forward = |out: &mut [f32], stats: &mut [f32]| {
        let buffers = [out, stats, &mut scratch.borrow_mut()];
        for_each_part(HEADS, n * HEADS * one, buffers, |i, [out, stats, scratch]| {
            let (q, k, v) = (&q[i * one..][..one], &k[i * one..][..one], &v[i * one..][..one]);
            softmax_forward::forward(simd, q, k, v, (n, D_HEAD), span, scratch, stats, out);
        });
    };
    forward(&mut out, &mut stats);
    let (kept_out, kept_stats) = (out.clone(), stats.clone());
    let backward = |fused: bool, out: &[f32], stats: &[f32]| {
        let [dq, dk, dv] = &mut *buffers.borrow_mut();
        let buffers = [&mut dq[..], dk, dv, &mut scratch.borrow_mut()];
        for_each_part(HEADS, n * HEADS * one, buffers, |i, [dq, dk, dv, scratch]| {
            let at = i * one..(i + 1) * one;
            let (q, keys, values) = (&q[at.clone()], &k[at.clone()], &v[at.clone()]);
            let of = softmax::Sequence { q, keys, values, grad: &grad[at.clone()], log_totals: &[] };
            let into = softmax::Gradients { q: dq, keys: dk, values: dv };
            if fused {
                let kept = (&out[at], &stats[i * n * 2..][..n * 2]);
                softmax_backward::backward(simd, of, (n, D_HEAD), span, kept, scratch, into);
            } else {
                softmax::backward(of, (n, D_HEAD), span, into);
            }
        });
    };
    let layer = || Box::new(SoftmaxAttention::full(heads()));
    let mut contenders = vec![
        Contender::call("fused", || backward(true, &kept_out, &kept_stats)),
        sgemm(5 * n * n * D_HEAD * HEADS),
        Contender::call("fused forward", || forward(&mut out, &mut stats)),
        through("fused, forward and backward", layer(), (1, n, D_HEAD), Kernels::Fused(simd)),
        through("candle, forward and backward", layer(), (1, n, D_HEAD), Kernels::Plain),
    ];
    if n <= 256 {
        contenders.push(Contender::call("plain", || backward(false, &[], &[])));
    }
    race(case, contenders);
}

fn linear_case(case: &str, m: usize, n: usize, batch: usize) {
    let (parts, simd) = (batch * HEADS, Simd::detect());
    let (phi_q, phi_k) = (features(parts * n * m), features(parts * n * m));
    let (v, grad, out) = (numbers(parts * n * D_HEAD), numbers(parts * n * D_HEAD), numbers(parts * n * D_HEAD));
    let room = linear_backward::scratch_len(n, n, m, D_HEAD);
    let buffers = RefCell::new([vec![0f32; parts * n * m], vec![0f32; parts * n * m], vec![0f32; parts * n * D_HEAD]]);
    let scratch = RefCell::new(vec![0f32; parts * room]);
    let backward = |fused: bool| {
        let [dq, dk, dv] = &mut *buffers.borrow_mut();
        let buffers = [&mut dq[..], dk, dv, &mut scratch.borrow_mut()];
        for_each_part(parts, parts * n * m * D_HEAD, buffers, |i, [dq, dk, dv, scratch]| {
            let (of_phi, of_v) = (i * n * m..(i + 1) * n * m, i * n * D_HEAD..(i + 1) * n * D_HEAD);
            let of = linear::Sequence {
                phi_q: &phi_q[of_phi.clone()],
                phi_k: &phi_k[of_phi],
                v: &v[of_v.clone()],
                grad: &grad[of_v.clone()],
                log_decay: None,
                causal: true,
                denominators: Normalizer::ClampMin(1e-2).into(),
            };
            let into = linear::Gradients { phi_q: dq, phi_k: dk, v: dv, log_decay: &mut [] };
            if fused {
                linear_backward::backward(simd, of, m, &out[of_v], scratch, into);
            } else {
                linear::backward(of, m, into);
            }
        });
    };
    let spec = VariantSpec { name: "t2r".to_owned(), params: vec![("merged".to_owned(), "true".to_owned())] };
    let mut contenders = vec![
        Contender::call("fused", || backward(true)),
        sgemm(10 * m * D_HEAD * n * parts),
        through("fused, forward and backward", layer(&spec, m), (batch, n, m), Kernels::Fused(simd)),
        through("candle, forward and backward", layer(&spec, m), (batch, n, m), Kernels::Plain),
    ];
    if n <= 256 {
        contenders.push(Contender::call("plain", || backward(false)));
    }
    race(case, contenders);
}
