//! Linear attention: the decode step and the causal forward.

use t2r::kernels::{
    Simd,
    fused::{self, linear_steps::Tokens},
    linear::{self, Denominators, Normalizer},
};

use crate::{LENGTHS, WIDTHS, assert_close, dot, numbers, ways};

const NORMALIZER: Normalizer = Normalizer::ClampMin(1e-2);

/// Sums of one key head: S (m, d_v) and z (m).
struct Sums {
    s: Vec<f32>,
    z: Vec<f32>,
}

impl Sums {
    fn new(m: usize, d: usize) -> Self {
        Self { s: numbers(m * d, 7), z: numbers(m, 8).iter().map(|x| x + 1.5).collect() }
    }

    /// The sums after a token, in f64.
    fn after(&self, phi_k: &[f32], v: &[f32], decay: f64) -> (Vec<f64>, Vec<f64>) {
        let d = v.len();
        let s = self
            .s
            .iter()
            .enumerate()
            .map(|(i, s)| decay * f64::from(*s) + f64::from(phi_k[i / d]) * f64::from(v[i % d]));
        let z = self.z.iter().zip(phi_k).map(|(z, k)| decay * f64::from(*z) + f64::from(*k));
        (s.collect(), z.collect())
    }
}

/// `φ(q)ᵀ S / max(φ(q)·z, 0.01)`.
fn read_out(phi_q: &[f32], s: &[f64], z: &[f64]) -> Vec<f64> {
    let (m, d) = (z.len(), s.len() / z.len());
    let den = (0..m).map(|i| f64::from(phi_q[i]) * z[i]).sum::<f64>().max(0.01);
    (0..d).map(|c| (0..m).map(|i| f64::from(phi_q[i]) * s[i * d + c]).sum::<f64>() / den).collect()
}

/// Features: some are zero, none is negative.
fn features(n: usize, seed: u64) -> Vec<f32> {
    numbers(n, seed).iter().map(|x| (x + 0.3).max(0.0)).collect()
}

fn step(way: Option<Simd>, phi: (&[f32], &[f32]), v: &[f32], decay: f32, sums: &mut Sums, out: &mut [f32]) {
    match way {
        Some(simd) => {
            fused::linear::step(simd, phi.0, phi.1, v, decay, &mut sums.s, &mut sums.z, NORMALIZER, out);
        }
        None => {
            let token = linear::Token { phi_q: phi.0, phi_k: phi.1, v, decay };
            linear::step(token, &mut sums.s, &mut sums.z, NORMALIZER, out);
        }
    }
}

#[test]
fn the_step_is_its_formula_at_every_size() {
    for d in WIDTHS {
        for m in [1, 2, 7, 32, 33] {
            for group in [1, 2, 3, 7] {
                for decay in [1.0, 0.75] {
                    let (phi_q, phi_k, v) = (features(group * m, 1), features(m, 2), numbers(d, 3));
                    for way in ways() {
                        let mut sums = Sums::new(m, d);
                        let (s, z) = sums.after(&phi_k, &v, f64::from(decay));
                        let want: Vec<f64> = phi_q.chunks(m).flat_map(|q| read_out(q, &s, &z)).collect();
                        let mut out = vec![f32::NAN; group * d];
                        step(way, (&phi_q, &phi_k), &v, decay, &mut sums, &mut out);
                        let what = format!("{way:?}, group {group}, m {m}, d {d}, decay {decay}");
                        assert_close(&out, &want, 1e-5, &what);
                        assert_close(&sums.s, &s, 1e-6, &what);
                        assert_close(&sums.z, &z, 1e-6, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn the_steps_of_several_heads_are_those_of_each() {
    // A number behind S and z of every head stays as it is.
    let (heads, group, m, d) = (3, 2, 5, 18);
    let width = m * (d + 1) + 1;
    let (phi_q, phi_k, v) = (features(heads * group * m, 1), features(heads * m, 2), numbers(heads * d, 3));
    for decay in [&[] as &[f32], &[0.5, 1.0, 0.75]] {
        for simd in Simd::levels() {
            let before = features(heads * width, 4);
            let (mut sums, mut out) = (before.clone(), vec![f32::NAN; heads * group * d]);
            let tokens = Tokens { phi_q: &phi_q, phi_k: &phi_k, v: &v, decay };
            fused::linear_steps::steps(simd, heads, tokens, &mut sums, NORMALIZER, &mut out);
            for i in 0..heads {
                let (s, z) = before[i * width..][..m * (d + 1)].split_at(m * d);
                let mut of_head = Sums { s: s.to_vec(), z: z.to_vec() };
                let mut want = vec![f32::NAN; group * d];
                let phi = (&phi_q[i * group * m..][..group * m], &phi_k[i * m..][..m]);
                let decay = decay.get(i).copied().unwrap_or(1.0);
                step(Some(simd), phi, &v[i * d..][..d], decay, &mut of_head, &mut want);
                let after = &sums[i * width..][..width];
                assert_eq!(out[i * group * d..][..group * d], want, "{simd:?}, {i}");
                assert_eq!((&after[..m * d], &after[m * d..m * (d + 1)]), (&*of_head.s, &*of_head.z), "{simd:?}, {i}");
                assert_eq!(after[width - 1], before[(i + 1) * width - 1], "{simd:?}, {i}");
            }
        }
    }
}

/// Sums and denominators apart are the step's and the forward's, whose fraction they are.
#[test]
fn denominators_may_stand_apart() {
    for (m, d, group) in [(1, 1, 1), (7, 5, 2), (32, 64, 3), (33, 80, 7)] {
        let (phi_q, phi_k, v) = (features(group * m, 1), features(m, 2), numbers(d, 3));
        for way in ways() {
            let (mut sums, mut out, mut dens) = (Sums::new(m, d), vec![f32::NAN; group * d], vec![f32::NAN; group]);
            let (s, z) = sums.after(&phi_k, &v, 0.75);
            let read = |q: &[f32]| {
                let den = (0..m).map(|i| f64::from(q[i]) * z[i]).sum::<f64>();
                (read_out(q, &s, &z).iter().map(|x| x * den.max(0.01)).collect::<Vec<_>>(), den)
            };
            let (want, want_dens): (Vec<_>, Vec<_>) = phi_q.chunks(m).map(read).unzip();
            let apart = Denominators::Apart(&mut dens[..]);
            match way {
                Some(simd) => {
                    fused::linear::step(simd, &phi_q, &phi_k, &v, 0.75, &mut sums.s, &mut sums.z, apart, &mut out);
                }
                None => {
                    let token = linear::Token { phi_q: &phi_q, phi_k: &phi_k, v: &v, decay: 0.75 };
                    linear::step(token, &mut sums.s, &mut sums.z, apart, &mut out);
                }
            }
            assert_close(&out, &want.concat(), 1e-5, &format!("{way:?}, m {m}, d {d}, group {group}"));
            assert_close(&dens, &want_dens, 1e-5, &format!("{way:?}, m {m}, d {d}, group {group}, denominators"));
        }
        for (simd, n) in Simd::levels().into_iter().flat_map(|simd| LENGTHS.map(|n| (simd, n))) {
            let (phi_q, phi_k, v) = (features(n * m, 1), features(n * m, 2), numbers(n * d, 3));
            let run = |denominators: Denominators<&mut [f32]>| {
                let (mut sums, mut out) = (Sums::new(m, d), vec![f32::NAN; n * d]);
                let (s, z) = (&mut sums.s, &mut sums.z);
                fused::linear::forward(simd, &phi_q, &phi_k, &v, None, s, z, denominators, &mut out);
                out
            };
            let mut dens = vec![f32::NAN; n];
            let whole: Vec<f64> = run(NORMALIZER.into()).iter().map(|x| f64::from(*x)).collect();
            let mut out = run(Denominators::Apart(&mut dens));
            for (out, den) in out.chunks_mut(d).zip(dens) {
                out.iter_mut().for_each(|out| *out /= den.max(0.01));
            }
            assert_close(&out, &whole, 1e-6, &format!("{simd:?}, m {m}, d {d}, n {n}"));
        }
    }
}

#[test]
fn features_that_are_all_zero_give_zero() {
    for way in ways() {
        let mut sums = Sums { s: vec![0.0; 8 * 5], z: vec![0.0; 8] };
        let mut out = [f32::NAN; 10];
        step(way, (&[0.0; 16], &[0.0; 8]), &[1.0; 5], 1.0, &mut sums, &mut out);
        assert_eq!(out, [0.0; 10], "{way:?}");
    }
}

#[test]
fn every_normalizer_is_applied() {
    for (normalizer, want) in [
        (Normalizer::AddEpsilon(0.5), -2.0 / (-1.0 + 0.5)),
        (Normalizer::ClampMin(0.5), -2.0 / 0.5),
        (Normalizer::SignedClamp(4.0), -2.0 / -4.0),
    ] {
        for simd in Simd::levels() {
            // φ(q) = -1, φ(k) = 1, v = 2: φ(q)·z = -1, φ(q)ᵀS = -2.
            let mut out = [0.0];
            fused::linear::step(simd, &[-1.0], &[1.0], &[2.0], 1.0, &mut [0.0], &mut [0.0], normalizer, &mut out);
            assert_eq!(out, [want], "{simd:?}, {normalizer:?}");
        }
    }
}

#[test]
fn the_forward_is_its_steps_from_one_state_to_the_next() {
    for simd in Simd::levels() {
        for (m, d) in [(1, 1), (4, 3), (32, 64), (33, 80), (16, 130)] {
            for n in LENGTHS {
                for gated in [false, true] {
                    let (phi_q, phi_k, v) = (features(n * m, 1), features(n * m, 2), numbers(n * d, 3));
                    let decay: Vec<f32> = numbers(n, 4).iter().map(|x| 0.75 + 0.25 * x).collect();
                    let (mut sums, mut slow) = (Sums::new(m, d), Sums::new(m, d));
                    let (mut out, mut want) = (vec![f32::NAN; n * d], Vec::new());
                    for t in 0..n {
                        let mut row = vec![0.0; d];
                        let phi = (&phi_q[t * m..][..m], &phi_k[t * m..][..m]);
                        step(None, phi, &v[t * d..][..d], if gated { decay[t] } else { 1.0 }, &mut slow, &mut row);
                        want.extend(row.iter().map(|x| f64::from(*x)));
                    }
                    let decay = gated.then_some(decay.as_slice());
                    let (s, z) = (&mut sums.s, &mut sums.z);
                    fused::linear::forward(simd, &phi_q, &phi_k, &v, decay, s, z, NORMALIZER, &mut out);
                    let what = format!("{simd:?}, m {m}, d {d}, n {n}, gated {gated}");
                    assert_close(&out, &want, 2e-5, &what);
                    let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
                    assert_close(&sums.s, &wide(&slow.s), 1e-5, &what);
                    assert_close(&sums.z, &wide(&slow.z), 1e-5, &what);
                }
            }
        }
    }
}

#[test]
fn the_forward_is_the_quadratic_formula() {
    let (n, m, d) = (67, 12, 20);
    let (phi_q, phi_k, v) = (features(n * m, 1), features(n * m, 2), numbers(n * d, 3));
    let row = |i: usize| {
        let weights: Vec<f64> = (0..=i).map(|j| dot(&phi_q[i * m..][..m], &phi_k[j * m..][..m])).collect();
        let total = weights.iter().sum::<f64>().max(0.01);
        let column = |c: usize| (0..=i).map(|j| weights[j] * f64::from(v[j * d + c])).sum::<f64>() / total;
        (0..d).map(column).collect::<Vec<_>>()
    };
    let want: Vec<f64> = (0..n).flat_map(row).collect();
    for simd in Simd::levels() {
        let (mut s, mut z, mut out) = (vec![0.0; m * d], vec![0.0; m], vec![0.0; n * d]);
        fused::linear::forward(simd, &phi_q, &phi_k, &v, None, &mut s, &mut z, NORMALIZER, &mut out);
        assert_close(&out, &want, 1e-5, &format!("{simd:?}"));
    }
}
