//! The kernels on slices against formulas in f64, each plain twin and each level of vector instructions alike.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod dense;
mod features;
mod hybrid;
mod linear;
mod linear_backward;
mod operations;
mod softmax;
mod softmax_backward;

use t2r::kernels::Simd;

/// Widths of heads: one number, less than a vector, not a multiple of one, one and several vectors.
const WIDTHS: [usize; 7] = [1, 3, 8, 33, 64, 80, 128];
/// Numbers of tokens around the sizes of blocks.
const LENGTHS: [usize; 7] = [0, 1, 15, 16, 17, 64, 130];

/// Every way to run a kernel: the plain twin (`None`), and the fused one at each level.
fn ways() -> Vec<Option<Simd>> {
    std::iter::once(None).chain(Simd::levels().into_iter().map(Some)).collect()
}

/// Numbers in -1..1 that depend on nothing but the seed (SplitMix64).
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// The gradient of a function of f64 by central differences, its relative error about 1e-9.
fn differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    let slope = |i: usize| {
        let at = |by: f64| {
            let mut moved = x.to_vec();
            moved[i] += by;
            f(&moved)
        };
        (at(step) - at(-step)) / (2.0 * step)
    };
    (0..x.len()).map(slope).collect()
}

/// Fails where a gradient is further from what it should be than `tolerance` of the largest number among them.
#[track_caller]
fn assert_gradient(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(0.1f64, |m, x| m.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(error <= tolerance * scale, "{what}: gradient {i} is {got}, not {want}");
    }
}

/// `Σ a_i b_i` in f64.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Fails where a number is further from its formula than `tolerance`, of 1 or of its own size.
#[track_caller]
fn assert_close(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(error <= tolerance * want.abs().max(1.0), "{what}: number {i} is {got}, not {want}");
    }
}
