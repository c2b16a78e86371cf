//! Fused tensor operations against the plain ones they stand for: values, gradients, and what is frozen.

use candle_core::{Device, Tensor, Var};
use t2r::{
    kernels::{Simd, activation::Activation},
    ops::{
        Linear, Softmax, Targets, activation, affine_relu, fourier, linear, linear_attention, merge_heads, norm,
        projected_cross_entropy, silu_times, softmax_attention, split_heads,
    },
    params::{Init, draw, named_rng},
    train::token_losses,
};

use crate::layers::flat;

fn var(name: &str, shape: &[usize]) -> Var {
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
fn assert_same(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1e-2f32, |m, x| m.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= 2e-5 * scale, "{what}[{i}]: {got}, not {want}");
    }
}

/// An operation and the plain operations that it stands for.
type Forms<'a> = (&'a dyn Fn(&[Tensor]) -> Tensor, &'a dyn Fn(&[Tensor]) -> Tensor);

/// Both give the same value and, whatever is frozen, the same gradients of the rest; of what is frozen they give none.
fn check(what: &str, vars: &[Var], (fused, plain): Forms<'_>) {
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
        for (rows, n_in, n_out) in [(1, 3, 2), (4, 16, 33), (5, 16, 33), (130, 40, 70), (70, 40, 130)] {
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
fn activations_and_heads() {
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
    let (wide, apart) = ([var("x", &[2, 7, 12])], [var("x", &[2, 3, 7, 4])]);
    check(
        "split heads",
        &wide,
        (&|t| split_heads(&t[0], 3).unwrap(), &|t| t[0].reshape((2, 7, 3, 4)).unwrap().transpose(1, 2).unwrap()),
    );
    check(
        "merge heads",
        &apart,
        (&|t| merge_heads(&t[0]).unwrap(), &|t| t[0].transpose(1, 2).unwrap().reshape((2, 7, 12)).unwrap()),
    );
    assert!(split_heads(wide[0].as_tensor(), 5).is_err());
}

#[test]
fn an_affine_map_a_head() {
    let simd = Simd::detect();
    let vars = [var("x", &[2, 3, 50, 8]), var("w", &[3, 5, 8]), var("b", &[3, 5])];
    let plain = |t: &[Tensor]| {
        let weight = t[1].t().unwrap().unsqueeze(0).unwrap().contiguous().unwrap();
        let pre = (&t[0] * 0.3).unwrap().broadcast_matmul(&weight).unwrap();
        pre.broadcast_add(&t[2].unsqueeze(1).unwrap().unsqueeze(0).unwrap()).unwrap().relu().unwrap()
    };
    check("affine relu", &vars, (&|t| affine_relu(&t[0], 0.3, &t[1], &t[2], simd).unwrap(), &plain));
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
