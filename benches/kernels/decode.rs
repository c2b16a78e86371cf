//! One token: attention steps, products with weights, feature maps.

use std::{cell::RefCell, hint::black_box};

use candle_core::{D, Device, Tensor};
use t2r::{
    attention::{Heads, ResolveRequest, Token, build, resolve},
    kernels::{
        Kernels, Simd, dense, features as plain_features, for_each_part, for_each_run,
        fused::{self, linear_steps::Tokens},
        linear::{self, Normalizer},
        softmax,
    },
    measure::{Direction, stream_gb_per_s},
    params::Params,
};

use crate::{
    D_HEAD, HEADS, features, numbers,
    race::{Contender, race},
};

const NORMALIZER: Normalizer = Normalizer::ClampMin(1e-2);

/// Runs the cases that are wanted.
pub(crate) fn run(runs: &dyn Fn(&str) -> bool, threads: usize) {
    for (m, batch, states) in [(32, 1, 1), (32, 16, 1), (32, 64, 1), (128, 16, 1), (32, 64, 32)] {
        let case = format!("linear step m={m} batch={batch} states={states}");
        if runs(&case) {
            linear_step(&case, m, batch, states, threads);
        }
    }
    for (t, batch, group) in [(1024, 1, 1), (256, 16, 1), (1024, 1, 3), (1024, 16, 1), (4096, 16, 1)] {
        let case = format!("softmax step t={t} batch={batch} group={group}");
        if runs(&case) {
            softmax_step(&case, t, batch, group, threads);
        }
    }
    for batch in [1, 16] {
        let case = format!("hybrid step w=64 m=32 batch={batch}");
        if runs(&case) {
            hybrid_step(&case, batch, threads);
        }
    }
    for (rows, n_in, n_out) in [(1, 512, 2048), (1, 512, 32_000), (4, 512, 32_000), (16, 512, 32_000)] {
        let case = format!("product rows={rows} {n_in}x{n_out}");
        if runs(&case) {
            product(&case, rows, n_in, n_out, threads);
        }
    }
    for case in ["map elu", "map fourier", "map affine relu", "row gelu", "row layer norm", "row argmax"] {
        if runs(case) {
            small(case);
        }
    }
}

/// The limit for one of `states` that are gone over in turn, of `bytes` together.
fn stream<'a>(bytes: usize, states: usize, direction: Direction, threads: usize) -> Contender<'a> {
    // A stream counts a byte that is read and written twice.
    let moved = if direction == Direction::ReadWrite { 2 * bytes } else { bytes };
    // One thread may be the faster over little.
    let best = move || {
        let alone = stream_gb_per_s(bytes as u64, direction, 1);
        alone.into_iter().chain(stream_gb_per_s(bytes as u64, direction, threads)).reduce(f64::max)
    };
    Contender::limit("limit: stream", moved as f64 / states as f64, best)
}

/// Several states in rotation are more than the caches hold.
fn linear_step(case: &str, m: usize, batch: usize, states: usize, threads: usize) {
    let parts = batch * HEADS;
    let one = m * (D_HEAD + 1);
    let sums = RefCell::new(vec![features(parts * one); states]);
    let (phi, v) = (features(2 * parts * m), numbers(parts * D_HEAD));
    let (phi_q, phi_k) = phi.split_at(parts * m);
    let out = RefCell::new(vec![0.0; parts * D_HEAD]);
    let simd = Simd::detect();
    let turn = RefCell::new(0);
    let step = |fused: bool| {
        let (mut sums, mut out, mut turn) = (sums.borrow_mut(), out.borrow_mut(), turn.borrow_mut());
        *turn = (*turn + 1) % states;
        if fused {
            for_each_run(parts, 2 * parts * one, [&mut sums[*turn], &mut out], |run, [sums, out]| {
                let of = |width: usize| run.start * width..run.end * width;
                let tokens = Tokens { phi_q: &phi_q[of(m)], phi_k: &phi_k[of(m)], v: &v[of(D_HEAD)], decay: &[] };
                fused::linear_steps::steps(simd, run.len(), tokens, sums, NORMALIZER, out);
            });
            return;
        }
        for_each_part(parts, 2 * parts * one, [&mut sums[*turn], &mut out], |i, [sums, out]| {
            let (s, z) = sums.split_at_mut(m * D_HEAD);
            let (phi_q, phi_k, v) = (&phi_q[i * m..][..m], &phi_k[i * m..][..m], &v[i * D_HEAD..][..D_HEAD]);
            linear::step(linear::Token { phi_q, phi_k, v, decay: 1.0 }, s, z, NORMALIZER, out);
        });
    };
    let cpu = &Device::Cpu;
    let tensors = RefCell::new(
        (0..states)
            .map(|_| {
                let s = Tensor::from_vec(features(parts * m * D_HEAD), (parts, m, D_HEAD), cpu).unwrap();
                (s, Tensor::from_vec(features(parts * m), (parts, m, 1), cpu).unwrap())
            })
            .collect::<Vec<_>>(),
    );
    let q = Tensor::from_slice(phi_q, (parts, 1, m), cpu).unwrap();
    let k = Tensor::from_slice(phi_k, (parts, m, 1), cpu).unwrap();
    let v_row = Tensor::from_slice(&v, (parts, 1, D_HEAD), cpu).unwrap();
    let candle = || -> candle_core::Result<Tensor> {
        let (mut tensors, mut turn) = (tensors.borrow_mut(), turn.borrow_mut());
        *turn = (*turn + 1) % states;
        let (s, z) = &mut tensors[*turn];
        *s = (&*s + k.broadcast_mul(&v_row)?)?;
        *z = (&*z + &k)?;
        q.matmul(s)?.broadcast_div(&q.matmul(z)?.maximum(1e-2)?)
    };
    let contenders = vec![
        Contender::call("fused", || step(true)),
        stream(4 * parts * m * D_HEAD * states, states, Direction::ReadWrite, threads),
        Contender::call("plain", || step(false)),
        Contender::call("candle", || _ = black_box(candle().unwrap())),
    ];
    race(case, contenders);
}

fn softmax_step(case: &str, t: usize, batch: usize, group: usize, threads: usize) {
    let parts = batch * HEADS;
    let q = numbers(parts * group * D_HEAD);
    let keys = numbers(parts * t * D_HEAD);
    let values = keys.clone();
    let out = RefCell::new(vec![0.0; parts * group * D_HEAD]);
    let simd = Simd::detect();
    let step = |fused: bool| {
        for_each_part(parts, 2 * parts * t * D_HEAD, [&mut out.borrow_mut()], |i, [out]| {
            let q = &q[i * group * D_HEAD..][..group * D_HEAD];
            let (keys, values) = (&keys[i * t * D_HEAD..][..t * D_HEAD], &values[i * t * D_HEAD..][..t * D_HEAD]);
            if fused {
                fused::softmax_step::step(simd, group, q, keys, values, &mut [], out);
            } else {
                for (q, out) in q.chunks(D_HEAD).zip(out.chunks_mut(D_HEAD)) {
                    softmax::step(q, keys, values, out);
                }
            }
        });
    };
    let tensor = |x: &[f32], rows| Tensor::from_slice(x, (parts, rows, D_HEAD), &Device::Cpu).unwrap();
    let (q_rows, k, v) = (tensor(&q, group), tensor(&keys, t), tensor(&values, t));
    let candle = || -> candle_core::Result<Tensor> {
        let scores = (q_rows.matmul(&k.t()?)? * (1.0 / (D_HEAD as f64).sqrt()))?;
        let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        weights.matmul(&v)?.broadcast_div(&weights.sum_keepdim(D::Minus1)?)
    };
    race(
        case,
        vec![
            Contender::call("fused", || step(true)),
            stream(8 * parts * t * D_HEAD, 1, Direction::Read, threads),
            Contender::call("plain", || step(false)),
            Contender::call("candle", || _ = black_box(candle().unwrap())),
        ],
    );
}

/// A step of a layer of a window and a map as a whole, map included, at a depth beyond the window.
fn hybrid_step(case: &str, batch: usize, threads: usize) {
    let heads = Heads { n_heads: HEADS, n_kv_heads: HEADS, head_dim: D_HEAD };
    let request = ResolveRequest { head_dim: D_HEAD, feature_dim: Some(32), can_merge: false, causal: true };
    let resolved = resolve(&"window+t2r:64".parse().unwrap(), request).unwrap();
    let mut params = Params::frozen(&Device::Cpu, candle_core::DType::F32, 1);
    let layer = build(&resolved, heads, &mut params, "bench").unwrap();
    let x = numbers(3 * batch * HEADS * D_HEAD);
    let (q, rest) = x.split_at(batch * HEADS * D_HEAD);
    let (k, v) = rest.split_at(batch * HEADS * D_HEAD);
    let step = |kernels: Kernels| {
        let stepper = layer.stepper_by(kernels).unwrap();
        let mut state = stepper.state(batch, 4096);
        state.fill(1000, &x[..1000]);
        let (mut scratch, mut out) = (vec![0.0; stepper.scratch_len(batch)], vec![0.0; q.len()]);
        move || stepper.step(Token { q, k, v, gate: &[] }, &mut state, &mut scratch, &mut out).unwrap()
    };
    let bytes = 4 * batch * HEADS * (2 * 64 * D_HEAD + 32 * (D_HEAD + 1));
    race(
        case,
        vec![
            Contender::call("fused", step(Kernels::Fused(Simd::detect()))),
            stream(bytes, 1, Direction::Read, threads),
            Contender::call("plain", step(Kernels::Plain)),
        ],
    );
}

fn product(case: &str, rows: usize, n_in: usize, n_out: usize, threads: usize) {
    let (x, bias) = (numbers(rows * n_in), numbers(n_out));
    let weight = numbers(n_in * n_out);
    let (mut y, mut plain) = (vec![0.0; rows * n_out], vec![0.0; rows * n_out]);
    let simd = Simd::detect();
    let x_tensor = Tensor::from_slice(&x, (rows, n_in), &Device::Cpu).unwrap();
    let w_tensor = Tensor::from_slice(&weight, (n_out, n_in), &Device::Cpu).unwrap().t().unwrap();
    let b_tensor = Tensor::from_slice(&bias, n_out, &Device::Cpu).unwrap();
    let candle = || x_tensor.matmul(&w_tensor)?.broadcast_add(&b_tensor);
    race(
        case,
        vec![
            Contender::call("fused", || fused::product::product(simd, &x, &weight, &bias, n_in, &mut y)),
            stream(4 * n_in * n_out, 1, Direction::Read, threads),
            Contender::call("plain, one thread", || dense::product(&x, &weight, &bias, n_in, &mut plain)),
            Contender::call("candle", || _ = black_box(candle().unwrap())),
        ],
    );
}

type Call<'a> = Box<dyn FnMut() + 'a>;

/// Kernels of one row, on one thread.
fn small(case: &str) {
    let (d, m, n) = (64, 32, 4096);
    let (x, weight) = (numbers(n), numbers(m * d));
    let (mut out, mut slow) = (vec![0.0; n], vec![0.0; n]);
    let simd = Simd::detect();
    let (fast, twin): (Call<'_>, Call<'_>) = match case {
        "map elu" => (
            Box::new(|| fused::features::elu_plus_one(simd, &x, &mut out)),
            Box::new(|| plain_features::elu_plus_one(&x, &mut slow)),
        ),
        "map fourier" => (
            Box::new(|| fused::features::fourier(simd, &x[..d], &weight, 1e-3, &mut out[..2 * m])),
            Box::new(|| plain_features::fourier(&x[..d], &weight, 1e-3, &mut slow[..2 * m])),
        ),
        "map affine relu" => (
            Box::new(|| fused::features::affine_relu(simd, &x[..d], 0.125, &weight, &x[..m], &mut out[..m])),
            Box::new(|| plain_features::affine_relu(&x[..d], 0.125, &weight, &x[..m], &mut slow[..m])),
        ),
        "row gelu" => (
            Box::new(|| {
                out.copy_from_slice(&x);
                fused::rows::gelu(simd, &mut out);
            }),
            Box::new(|| {
                slow.copy_from_slice(&x);
                dense::gelu(&mut slow);
            }),
        ),
        "row layer norm" => (
            Box::new(|| fused::rows::layer_norm(simd, &x, &x, &x, 1e-5, &mut out)),
            Box::new(|| dense::layer_norm(&x, &x, &x, 1e-5, &mut slow)),
        ),
        _ => (
            Box::new(|| _ = black_box(fused::rows::argmax(simd, black_box(&x)))),
            Box::new(|| _ = black_box(dense::argmax(black_box(&x)))),
        ),
    };
    race(case, vec![Contender::call("fused", fast), Contender::call("plain", twin)]);
}
