//! Gradients of linear attention, against differences of the formula in f64.

use t2r::kernels::{
    Simd,
    fused::{linear_backward, linear_source},
    linear::{self, Denominators, Gradients, Normalizer, Sequence},
};

use crate::{assert_close, assert_gradient, differences, numbers, ways, wide};

#[derive(Debug, Clone, Copy)]
struct Case {
    n: usize,
    source: usize,
    m: usize,
    d: usize,
    causal: bool,
    decays: bool,
    normalizer: Normalizer,
    /// Whether denominators come out apart.
    apart: bool,
}

/// φ(q), φ(k), v, log g, the gradient of what comes out, and that of the denominators.
type Inputs = [Vec<f32>; 6];

impl Case {
    fn causal(n: usize, m: usize, d: usize) -> Self {
        let normalizer = Normalizer::ClampMin(1e-2);
        Self { n, source: n, m, d, causal: true, decays: false, normalizer, apart: false }
    }

    fn full(n: usize, source: usize, m: usize, d: usize) -> Self {
        Self { n, source, causal: false, ..Self::causal(n, m, d) }
    }

    /// Features that are positive, or of either sign where the denominator may be.
    fn inputs(self) -> Inputs {
        let Self { n, source, m, d, .. } = self;
        let shift = if matches!(self.normalizer, Normalizer::SignedClamp(_)) { 0.3 } else { 1.1 };
        let features = |len, seed| numbers(len, seed).iter().map(|x| x + shift).collect::<Vec<f32>>();
        let logs = numbers(if self.decays { n } else { 0 }, 4).iter().map(|x| 0.4 * (x - 1.0)).collect();
        [features(n * m, 1), features(source * m, 2), numbers(source * d, 3), logs, numbers(n * d, 5), numbers(n, 6)]
    }

    /// Outputs by the quadratic formula, and the denominators where they stand apart.
    fn outputs(self, [phi_q, phi_k, v, logs]: [&[f64]; 4]) -> (Vec<f64>, Vec<f64>) {
        let Self { n, source, m, d, .. } = self;
        let norm = |den: f64| match self.normalizer {
            Normalizer::AddEpsilon(eps) => den + eps,
            Normalizer::ClampMin(eps) => den.max(eps),
            Normalizer::SignedClamp(eps) => den.abs().max(eps).copysign(den),
        };
        let row = |i: usize| {
            let weight = |j: usize| {
                let dot = (0..m).map(|r| phi_q[i * m + r] * phi_k[j * m + r]).sum::<f64>();
                if self.decays { dot * logs[j + 1..=i].iter().sum::<f64>().exp() } else { dot }
            };
            let weights: Vec<f64> = (0..if self.causal { i + 1 } else { source }).map(weight).collect();
            let sum: f64 = weights.iter().sum();
            let (den, out_den) = if self.apart { (1.0, sum) } else { (norm(sum), 0.0) };
            let column = |c: usize| weights.iter().enumerate().map(|(j, w)| w * v[j * d + c]).sum::<f64>() / den;
            ((0..d).map(column).collect::<Vec<_>>(), out_den)
        };
        let (out, dens): (Vec<_>, Vec<_>) = (0..n).map(row).unzip();
        (out.concat(), dens)
    }

    fn gradients(self, way: Option<Simd>, inputs: &Inputs, wanted: [bool; 4]) -> [Vec<f32>; 4] {
        let Self { n, source, m, d, causal, normalizer, decays, apart } = self;
        let [phi_q, phi_k, v, logs, grad, of_dens] = inputs;
        let [mut dq, mut dk, mut dv, mut dg] =
            [0, 1, 2, 3].map(|i| vec![0f32; if wanted[i] { inputs[i].len() } else { 0 }]);
        let log_decay = decays.then_some(logs.as_slice());
        let denominators = if apart { Denominators::Apart(&of_dens[..]) } else { normalizer.into() };
        let of = Sequence { phi_q, phi_k, v, grad, log_decay, causal, denominators };
        let into = Gradients { phi_q: &mut dq, phi_k: &mut dk, v: &mut dv, log_decay: &mut dg };
        match way {
            None => linear::backward(of, m, into),
            Some(simd) => {
                let (out, _) = self.outputs([&wide(phi_q), &wide(phi_k), &wide(v), &wide(logs)]);
                let out: Vec<f32> = out.iter().map(|x| *x as f32).collect();
                let mut scratch = vec![f32::NAN; linear_backward::scratch_len(n, source, m, d)];
                let out = if apart { &[][..] } else { &out };
                linear_backward::backward(simd, of, m, out, &mut scratch, into);
            }
        }
        [dq, dk, dv, dg]
    }

    fn check(self) {
        let inputs = self.inputs();
        let x = inputs.each_ref().map(|x| wide(x));
        let loss = |which: usize, moved: &[f64]| {
            let mut of = [&x[0][..], &x[1], &x[2], &x[3]];
            of[which] = moved;
            let (out, dens) = self.outputs(of);
            let along = |out: &[f64], grad: &[f64]| out.iter().zip(grad).map(|(out, grad)| out * grad).sum::<f64>();
            along(&out, &x[4]) + along(&dens, &x[5])
        };
        let want = [0, 1, 2, 3].map(|which| differences(&x[which], |moved| loss(which, moved)));
        for way in ways() {
            for (i, (got, want)) in self.gradients(way, &inputs, [true; 4]).iter().zip(&want).enumerate() {
                assert_gradient(got, want, 2e-5, &format!("{way:?}, {self:?}, {}", ["q", "k", "v", "g"][i]));
            }
        }
    }
}

#[test]
fn they_are_the_differences_of_the_formula_at_every_width() {
    for (m, d) in [(1, 1), (2, 3), (7, 8), (8, 33), (33, 16), (16, 65)] {
        Case::causal(6, m, d).check();
        Case { apart: true, ..Case::causal(6, m, d) }.check();
        Case::full(3, 7, m, d).check();
        Case { decays: true, ..Case::causal(6, m, d) }.check();
    }
}

#[test]
fn they_are_the_differences_of_the_formula_at_lengths_around_the_blocks() {
    for n in [1, 2, 3, 63, 64, 65, 130] {
        Case::causal(n, 2, 2).check();
        Case { decays: true, ..Case::causal(n, 2, 2) }.check();
        Case { decays: true, apart: true, ..Case::causal(n, 2, 2) }.check();
        Case::full(n, 66, 2, 2).check();
        Case { apart: true, ..Case::full(n, 66, 2, 2) }.check();
    }
}

#[test]
fn a_denominator_that_is_held_carries_no_gradient() {
    for normalizer in [Normalizer::AddEpsilon(0.5), Normalizer::ClampMin(1e3), Normalizer::SignedClamp(1.5)] {
        for causal in [true, false] {
            Case { normalizer, causal, ..Case::causal(20, 4, 5) }.check();
        }
    }
}

#[test]
fn long_sequences_are_their_plain_twin() {
    for (n, m, d) in [(300, 32, 64), (257, 64, 40), (190, 9, 128)] {
        for decays in [false, true] {
            let causal = Case { decays, ..Case::causal(n, m, d) };
            for case in [causal, Case { apart: true, ..causal }, Case::full(n / 2, n, m, d)] {
                let inputs = case.inputs();
                let plain = case.gradients(None, &inputs, [true; 4]);
                for simd in Simd::levels() {
                    for (i, (got, want)) in
                        case.gradients(Some(simd), &inputs, [true; 4]).iter().zip(&plain).enumerate()
                    {
                        assert_gradient(got, &wide(want), 1e-4, &format!("{simd:?}, {case:?}, {i}"));
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_not_wanted_changes_nothing_else() {
    for case in [Case { decays: true, ..Case::causal(70, 12, 9) }, Case::full(20, 70, 12, 9)] {
        let inputs = case.inputs();
        for way in ways() {
            let all = case.gradients(way, &inputs, [true; 4]);
            for mask in 0..16 {
                let wanted = [mask & 1 > 0, mask & 2 > 0, mask & 4 > 0, mask & 8 > 0];
                for (i, got) in case.gradients(way, &inputs, wanted).iter().enumerate() {
                    let want: &[f32] = if wanted[i] { &all[i] } else { &[] };
                    assert_eq!(got, want, "{way:?}, {wanted:?}");
                }
            }
        }
    }
}

#[test]
fn a_source_is_absorbed_and_read_by_the_formula() {
    for (m, d) in [(1, 1), (4, 3), (32, 64), (33, 80), (7, 130)] {
        for (n, source) in [(1, 1), (7, 5), (50, 70), (100, 47)] {
            let case = Case::full(n, source, m, d);
            let [phi_q, phi_k, v, ..] = case.inputs();
            let (want, _) = case.outputs([&wide(&phi_q), &wide(&phi_k), &wide(&v), &[]]);
            for simd in Simd::levels() {
                let (mut s, mut z, mut out) = (vec![0f32; m * d], vec![0f32; m], vec![f32::NAN; n * d]);
                linear_source::absorb(simd, &phi_k, &v, &mut s, &mut z);
                linear_source::read(simd, &phi_q, &s, &z, case.normalizer, &mut out);
                assert_close(&out, &want, 1e-5, &format!("{simd:?}, {case:?}"));
            }
        }
    }
}
