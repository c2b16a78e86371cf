//! Fused tensor operations against the plain ones they stand for: values, gradients, and what is frozen.

use candle_core::{Device, Tensor, Var};
use t2r::{
    kernels::{Simd, activation::Activation},
    ops::{
        FeedForward, Linear, Softmax, Targets, activation, affine, embedding, feed_forward, fourier, linear,
        linear_attention, linear_from_heads, linear_to_heads, norm, opposite_softmaxes, projected_cross_entropy,
        rotate, silu_times, softmax_attention,
    },
    params::{Init, draw, named_rng},
    train::token_losses,
};

use crate::layers::flat;

pub(crate) fn var(name: &str, shape: &[usize]) -> Var {
    let numbers = draw(&mut named_rng(3, name), shape.iter().product(), Init::Normal(1.0));
    Var::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

/// A gradient that is not laid out as its tensor: what comes back through a transposition.
fn loss(out: &Tensor) -> Tensor {
    let last = out.rank() - 1;
    let weights = Tensor::arange(0f32, out.elem_count() as f32, &Device::Cpu).unwrap();
    let weights = (weights * 0.37).unwrap().sin().unwrap();
    let turned = out.transpose(0, last).unwrap();
    (turned.flatten_all().unwrap() * weights).unwrap().sum_all().unwrap()
}

#[track_caller]
pub(crate) fn assert_same(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1e-2f32, |m, x| m.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= 2e-5 * scale, "{what}[{i}]: {got}, not {want}");
    }
}

/// An operation and the plain operations that it stands for.
pub(crate) type Forms<'a> = (&'a dyn Fn(&[Tensor]) -> Tensor, &'a dyn Fn(&[Tensor]) -> Tensor);

/// Both give the same value and, whatever is frozen, the same gradients of the rest; of what is frozen they give none.
pub(crate) fn check(what: &str, vars: &[Var], (fused, plain): Forms<'_>) {
    for frozen in 0..1 << vars.len() {
        let operands: Vec<Tensor> = vars
            .iter()
            .enumerate()
            .map(|(i, var)| if frozen >> i & 1 == 1 { var.as_detached_tensor() } else { var.as_tensor().clone() })
            .collect();
        let (out, want) = (fused(&operands), plain(&operands));
        assert_eq!(out.dims(), want.dims(), "{what}");
        assert_same(&flat(&out), &flat(&want), what);
        if frozen + 1 == 1 << vars.len() {
            continue;
        }
        let (grads, plain_grads) = (loss(&out).backward().unwrap(), loss(&want).backward().unwrap());
        for (i, var) in vars.iter().enumerate() {
            let of = format!("{what}, frozen {frozen:b}, operand {i}");
            match (frozen >> i & 1, grads.get(var)) {
                (1, found) => assert!(found.is_none(), "{of}"),
                (_, found) => assert_same(&flat(found.unwrap()), &flat(plain_grads.get(var).unwrap()), &of),
            }
        }
    }
}

#[test]
fn projections() {
    for simd in Simd::levels() {
        for (rows, n_in, n_out) in [(1, 3, 2), (4, 16, 33), (24, 16, 33), (25, 16, 33), (130, 40, 70), (70, 40, 130)] {
            let vars = [var("x", &[2, rows, n_in]), var("w", &[n_out, n_in]), var("b", &[n_out])];
            let product = |t: &[Tensor]| t[0].reshape((2 * rows, n_in)).unwrap().matmul(&t[1].t().unwrap()).unwrap();
            let shape = (2, rows, n_out);
            check(
                &format!("{simd:?} linear {rows} {n_in} {n_out}"),
                &vars,
                (&|t| linear(&t[0], &t[1], Some(&t[2]), simd).unwrap(), &|t| {
                    product(t).broadcast_add(&t[2]).unwrap().reshape(shape).unwrap()
                }),
            );
            check(
                &format!("{simd:?} linear without a bias"),
                &vars[..2],
                (&|t| linear(&t[0], &t[1], None, simd).unwrap(), &|t| product(t).reshape(shape).unwrap()),
            );
        }
    }
}

#[test]
fn norms() {
    let simd = Simd::detect();
    for (rows, width) in [(1, 5), (9, 64), (37, 40)] {
        let vars = [var("x", &[rows, 1, width]), var("gain", &[width]), var("bias", &[width])];
        let normal = |x: &Tensor, centred: bool| {
            let x = if centred { x.broadcast_sub(&x.mean_keepdim(2).unwrap()).unwrap() } else { x.clone() };
            let root = (x.sqr().unwrap().mean_keepdim(2).unwrap() + 1e-5).unwrap().sqrt().unwrap();
            x.broadcast_div(&root).unwrap()
        };
        check(
            "layer norm",
            &vars,
            (&|t| norm(&t[0], &t[1], Some(&t[2]), 1e-5, simd).unwrap(), &|t| {
                normal(&t[0], true).broadcast_mul(&t[1]).unwrap().broadcast_add(&t[2]).unwrap()
            }),
        );
        check(
            "rms norm",
            &vars[..2],
            (&|t| norm(&t[0], &t[1], None, 1e-5, simd).unwrap(), &|t| {
                normal(&t[0], false).broadcast_mul(&t[1]).unwrap()
            }),
        );
    }
}

#[test]
fn activations() {
    let simd = Simd::detect();
    for n in [3, 5000] {
        let vars = [var("gate", &[n, 2]), var("up", &[n, 2])];
        check("relu", &vars[..1], (&|t| activation(&t[0], Activation::Relu, simd).unwrap(), &|t| t[0].relu().unwrap()));
        check("gelu", &vars[..1], (&|t| activation(&t[0], Activation::Gelu, simd).unwrap(), &|t| t[0].gelu().unwrap()));
        check(
            "swiglu",
            &vars,
            (&|t| silu_times(&t[0], &t[1], simd).unwrap(), &|t| (t[0].silu().unwrap() * &t[1]).unwrap()),
        );
    }
}

#[test]
fn projections_to_heads_and_from_them() {
    let simd = Simd::detect();
    let [w, b] = [var("w", &[12, 12]), var("b", &[12])];
    for n in [1, 2, 7] {
        let [wide, apart] = [var("x", &[2, n, 12]), var("x", &[2, 3, n, 4])];
        let product = |x: &Tensor, w: &Tensor| {
            x.reshape((2 * n, 12)).unwrap().matmul(&w.t().unwrap()).unwrap().reshape((2, n, 12)).unwrap()
        };
        let split = |y: Tensor| y.reshape((2, n, 3, 4)).unwrap().transpose(1, 2).unwrap();
        let joined = |x: &Tensor| x.transpose(1, 2).unwrap().reshape((2, n, 12)).unwrap();
        check(
            "to heads",
            &[wide.clone(), w.clone(), b.clone()],
            (&|t| linear_to_heads(&t[0], &t[1], Some(&t[2]), 3, simd).unwrap(), &|t| {
                split(product(&t[0], &t[1]).broadcast_add(&t[2]).unwrap())
            }),
        );
        check(
            "to heads without a bias",
            &[wide.clone(), w.clone()],
            (&|t| linear_to_heads(&t[0], &t[1], None, 3, simd).unwrap(), &|t| split(product(&t[0], &t[1]))),
        );
        check(
            "from heads",
            &[apart.clone(), w.clone(), b.clone()],
            (&|t| linear_from_heads(&t[0], &t[1], Some(&t[2]), simd).unwrap(), &|t| {
                product(&joined(&t[0]), &t[1]).broadcast_add(&t[2]).unwrap()
            }),
        );
        assert!(linear_to_heads(wide.as_tensor(), w.as_tensor(), None, 5, simd).is_err());
        assert!(linear_from_heads(var("x", &[2, 3, n, 5]).as_tensor(), w.as_tensor(), None, simd).is_err());
    }
}

#[test]
fn a_feed_forward_sublayer() {
    // Few rows and many are multiplied in different ways.
    for n in [7, 30] {
        feed_forward_of(n);
    }
}

/// Of 2n rows.
fn feed_forward_of(n: usize) {
    let simd = Simd::detect();
    let (d, hidden) = (10, 18);
    let names = ["x", "gain", "norm_bias", "up", "up_bias", "down", "down_bias", "gate", "gate_bias"];
    let shapes: [&[usize]; 9] =
        [&[2, n, d], &[d], &[d], &[hidden, d], &[hidden], &[d, hidden], &[d], &[hidden, d], &[hidden]];
    let vars: Vec<Var> = names.iter().zip(shapes).map(|(name, shape)| var(name, shape)).collect();
    let project = |x: &Tensor, w: &Tensor, b: &Tensor| x.matmul(&w.t().unwrap()).unwrap().broadcast_add(b).unwrap();
    let plain = |t: &[Tensor], act: &dyn Fn(&Tensor) -> Tensor| {
        let x = t[0].reshape((2 * n, d)).unwrap();
        let centred = x.broadcast_sub(&x.mean_keepdim(1).unwrap()).unwrap();
        let root = (centred.sqr().unwrap().mean_keepdim(1).unwrap() + 1e-5).unwrap().sqrt().unwrap();
        let y = centred.broadcast_div(&root).unwrap().broadcast_mul(&t[1]).unwrap().broadcast_add(&t[2]).unwrap();
        let up = project(&y, &t[3], &t[4]);
        let gated = t.get(7).map(|w| project(&y, w, &t[8]).silu().unwrap());
        let middle = gated.map_or_else(|| act(&up), |gate| (gate * &up).unwrap());
        (x + project(&middle, &t[5], &t[6])).unwrap().reshape((2, n, d)).unwrap()
    };
    let fused = |t: &[Tensor], activation| {
        let of = FeedForward {
            norm: (&t[1], Some(&t[2])),
            epsilon: 1e-5,
            up: (&t[3], Some(&t[4])),
            gate: t.get(7).map(|w| (w, Some(&t[8]))),
            down: (&t[5], Some(&t[6])),
            activation,
        };
        feed_forward(&t[0], of, simd).unwrap()
    };
    check("gelu", &vars[..7], (&|t| fused(t, Activation::Gelu), &|t| plain(t, &|x| x.gelu().unwrap())));
    check("relu", &vars[..7], (&|t| fused(t, Activation::Relu), &|t| plain(t, &|x| x.relu().unwrap())));
    check("swiglu", &vars, (&|t| fused(t, Activation::Gelu), &|t| plain(t, &|x| x.clone())));
    let t: Vec<&Tensor> = vars.iter().map(|v| v.as_tensor()).collect();
    let of = FeedForward {
        norm: (t[1], None),
        epsilon: 1e-5,
        up: (t[3], None),
        gate: Some((t[7], None)),
        down: (t[5], None),
        activation: Activation::Relu,
    };
    // RMS norm, no bias anywhere.
    let (x, w) = (t[0].reshape((2 * n, d)).unwrap(), |i: usize| t[i].t().unwrap());
    let root = (x.sqr().unwrap().mean_keepdim(1).unwrap() + 1e-5).unwrap().sqrt().unwrap();
    let y = x.broadcast_div(&root).unwrap().broadcast_mul(t[1]).unwrap();
    let middle = (y.matmul(&w(7)).unwrap().silu().unwrap() * y.matmul(&w(3)).unwrap()).unwrap();
    let want = (&x + middle.matmul(&w(5)).unwrap()).unwrap();
    assert_same(&flat(&feed_forward(t[0], of, simd).unwrap()), &flat(&want), "rms norm");
    assert!(feed_forward(t[0], FeedForward { down: (t[3], None), ..of }, simd).is_err());
}

#[test]
fn embeddings_of_tokens_and_places() {
    // One id more than once, so that its gradient is a sum.
    let ids = Tensor::new(&[[4u32, 0, 4], [1, 4, 2]], &Device::Cpu).unwrap();
    let vars = [var("table", &[5, 6]), var("positions", &[8, 6])];
    let rows = |t: &Tensor| t.index_select(&ids.flatten_all().unwrap(), 0).unwrap().reshape((2, 3, 6)).unwrap();
    check("tokens", &vars[..1], (&|t| embedding(&t[0], None, &ids, 2).unwrap(), &|t| rows(&t[0])));
    check(
        "tokens and places",
        &vars,
        (&|t| embedding(&t[0], Some(&t[1]), &ids, 2).unwrap(), &|t| {
            rows(&t[0]).broadcast_add(&t[1].narrow(0, 2, 3).unwrap()).unwrap()
        }),
    );
    let [table, positions] = vars.each_ref().map(|v| v.as_tensor().clone());
    assert!(embedding(&table, Some(&positions), &ids, 6).is_err());
    assert!(embedding(&table, Some(&table.narrow(1, 0, 4).unwrap()), &ids, 0).is_err());
    assert!(embedding(&table, None, &(ids.clone() + 1.0).unwrap(), 0).is_err());
}

#[test]
fn rotations() {
    let vars = [var("x", &[2, 3, 7, 6])];
    let angles = var("angles", &[7, 3]);
    let (cos, sin) = (angles.cos().unwrap().detach(), angles.sin().unwrap().detach());
    let plain = |t: &[Tensor]| {
        let (a, b) = (t[0].narrow(3, 0, 3).unwrap(), t[0].narrow(3, 3, 3).unwrap());
        let by = |x: &Tensor, factor: &Tensor| x.broadcast_mul(factor).unwrap();
        let (first, second) = ((by(&a, &cos) - by(&b, &sin)).unwrap(), (by(&b, &cos) + by(&a, &sin)).unwrap());
        Tensor::cat(&[first, second], 3).unwrap()
    };
    check("rotation", &vars, (&|t| rotate(&t[0], &cos, &sin).unwrap(), &plain));
    assert!(rotate(vars[0].as_tensor(), &cos, &sin.narrow(0, 0, 6).unwrap()).is_err());
}

#[test]
fn an_affine_map_a_head() {
    let simd = Simd::detect();
    let vars = [var("x", &[2, 3, 50, 8]), var("w", &[3, 5, 8]), var("b", &[3, 5])];
    let plain = |t: &[Tensor]| {
        let weight = t[1].t().unwrap().unsqueeze(0).unwrap().contiguous().unwrap();
        let pre = (&t[0] * 0.3).unwrap().broadcast_matmul(&weight).unwrap();
        pre.broadcast_add(&t[2].unsqueeze(1).unwrap().unsqueeze(0).unwrap()).unwrap()
    };
    check("affine", &vars, (&|t| affine(&t[0], (0.3, f32::NEG_INFINITY), &t[1], &t[2], simd).unwrap(), &plain));
    let relu = |t: &[Tensor]| plain(t).relu().unwrap();
    check("affine relu", &vars, (&|t| affine(&t[0], (0.3, 0.0), &t[1], &t[2], simd).unwrap(), &relu));
}

#[test]
fn two_softmaxes_of_opposite_signs() {
    let softmax = |x: &Tensor| {
        let e = x.broadcast_sub(&x.max_keepdim(2).unwrap().detach()).unwrap().exp().unwrap();
        e.broadcast_div(&e.sum_keepdim(2).unwrap()).unwrap()
    };
    for (rows, n) in [(1, 1), (7, 5), (70, 8), (3, 33), (40, 64)] {
        let plain = |t: &[Tensor]| Tensor::cat(&[softmax(&t[0]), softmax(&t[0].neg().unwrap())], 2).unwrap();
        for simd in Simd::levels() {
            let fused = |t: &[Tensor]| opposite_softmaxes(&t[0], simd).unwrap();
            check(&format!("{simd:?} {rows} {n}"), &[var("x", &[2, rows, n])], (&fused, &plain));
        }
    }
    // Far apart, and the same everywhere.
    for x in [[-3e38f32, 0.0, 3e38], [1e9; 3]] {
        let x = Tensor::new(&[x], &Device::Cpu).unwrap();
        let out = flat(&opposite_softmaxes(&x, Simd::detect()).unwrap());
        let sums = [out[..3].iter().sum::<f32>(), out[3..].iter().sum()];
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6), "{out:?}");
    }
}

#[test]
fn random_fourier_features() {
    let simd = Simd::detect();
    let vars = [var("x", &[2, 3, 50, 8]), var("w", &[3, 5, 8])];
    let plain = |t: &[Tensor]| {
        let norm = (t[0].sqr().unwrap().sum_keepdim(3).unwrap().sqrt().unwrap() + 1e-3).unwrap();
        let weight = t[1].t().unwrap().unsqueeze(0).unwrap().contiguous().unwrap();
        let angles = t[0].broadcast_div(&norm).unwrap().broadcast_matmul(&weight).unwrap();
        let both = Tensor::cat(&[angles.sin().unwrap(), angles.cos().unwrap()], 3).unwrap();
        (both * 0.2f64.sqrt()).unwrap()
    };
    check("fourier", &vars, (&|t| fourier(&t[0], &t[1], 1e-3, simd).unwrap(), &plain));
}

#[test]
fn the_loss_of_a_projection() {
    let simd = Simd::detect();
    for (batch, n, d, vocab) in [(1, 1, 3, 2), (2, 150, 16, 40), (1, 5, 8, 9000)] {
        let ids: Vec<u32> = (0..batch * n).map(|i| (i * i + 3) as u32 % vocab as u32).collect();
        let ids = Tensor::from_vec(ids, (batch, n), &Device::Cpu).unwrap();
        let vars = [var("x", &[batch, n, d]), var("w", &[vocab, d])];
        let logits =
            |t: &[Tensor]| t[0].broadcast_matmul(&t[1].t().unwrap().unsqueeze(0).unwrap().contiguous().unwrap());
        let fused = |t: &[Tensor]| {
            projected_cross_entropy(&t[0], &t[1], &Targets::mean(&ids).unwrap(), simd).unwrap().reshape(1).unwrap()
        };
        let plain = |t: &[Tensor]| {
            token_losses(&logits(t).unwrap(), &ids, 0.0).unwrap().mean_all().unwrap().reshape(1).unwrap()
        };
        check("projected cross-entropy", &vars, (&fused, &plain));
        let far = Targets { ids: vec![vocab as u32; batch * n], ..Targets::mean(&ids).unwrap() };
        assert!(projected_cross_entropy(vars[0].as_tensor(), vars[1].as_tensor(), &far, simd).is_err());
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let simd = Simd::detect();
    let of = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(linear(&of(&[2, 3]), &of(&[4, 5]), None, simd).is_err());
    assert!(linear(&of(&[2, 5]), &of(&[4, 5]), Some(&of(&[5])), simd).is_err());
    assert!(norm(&of(&[2, 3]), &of(&[4]), None, 1e-5, simd).is_err());
    assert!(silu_times(&of(&[2, 3]), &of(&[3, 2]), simd).is_err());
    let half = of(&[2, 5]).to_dtype(candle_core::DType::BF16).unwrap();
    assert!(linear(&half, &of(&[4, 5]).to_dtype(candle_core::DType::BF16).unwrap(), None, simd).is_err());
    let seen = |lengths| Softmax { span: t2r::kernels::softmax::Span::Full, lengths };
    let (q, k) = (of(&[2, 4, 3, 8]), of(&[2, 2, 5, 8]));
    assert!(softmax_attention(&q, &k, &k, seen(None), simd).is_ok());
    assert!(softmax_attention(&q, &k, &k, seen(Some(vec![5])), simd).is_err());
    assert!(softmax_attention(&q, &k, &k, seen(Some(vec![5, 6])), simd).is_err());
    assert!(softmax_attention(&q, &of(&[2, 3, 5, 8]), &of(&[2, 3, 5, 8]), seen(None), simd).is_err());
    let how = |causal| Linear { causal, normalizer: t2r::kernels::linear::Normalizer::ClampMin(1e-2), lengths: None };
    assert!(linear_attention(&q, &k, &k, None, how(false), simd).is_ok());
    assert!(linear_attention(&q, &k, &k, None, how(true), simd).is_err());
    assert!(linear_attention(&q, &k, &k, Some(&of(&[2, 2, 5])), how(false), simd).is_err());
}
