//! Gradients of softmax attention, against differences of the formula in f64.

use t2r::kernels::{
    Simd,
    fused::{softmax_backward, softmax_forward},
    softmax::{self, Gradients, Sequence, Span},
};

use crate::{LENGTHS, WIDTHS, assert_gradient, differences, numbers, ways, wide};

/// What there is: (heads, n, d) queries over (source, d) keys and (source, d_v) values.
#[derive(Debug, Clone, Copy)]
struct Case {
    heads: usize,
    n: usize,
    source: usize,
    d: usize,
    d_v: usize,
    span: Span,
    /// Whether the totals come out too.
    totals: bool,
}

impl Case {
    fn causal(n: usize, d: usize, d_v: usize) -> Self {
        Self { heads: 1, n, source: n, d, d_v, span: Span::Causal { offset: 0, window: None }, totals: false }
    }

    /// Queries, keys, values, the gradient of what comes out and that of the logarithms of the totals.
    fn inputs(self) -> [Vec<f32>; 5] {
        let Self { heads, n, source, d, d_v, totals, .. } = self;
        let large = |x: Vec<f32>| x.iter().map(|x| 2.0 * x).collect();
        [
            large(numbers(heads * n * d, 1)),
            large(numbers(source * d, 2)),
            numbers(source * d_v, 3),
            numbers(heads * n * d_v, 4),
            numbers(if totals { heads * n } else { 0 }, 8),
        ]
    }

    /// `Σ grad · out + Σ grad · ln total` by the formula.
    fn loss(self, q: &[f64], keys: &[f64], values: &[f64], (grad, log_totals): (&[f64], &[f64])) -> f64 {
        let Self { n, source, d, d_v, .. } = self;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let of_query = |(row, (q, grad)): (usize, (&[f64], &[f64]))| {
            let (start, end) = match self.span {
                Span::Full => (0, source),
                Span::Causal { offset, window } => {
                    let end = offset + row % n + 1;
                    (window.map_or(0, |w| end.saturating_sub(w)), end)
                }
            };
            let scores: Vec<f64> = (start..end).map(|j| dot(q, &keys[j * d..][..d]) / (d as f64).sqrt()).collect();
            let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - highest).exp()).collect();
            let along = (start..end).zip(&weights).map(|(j, w)| w * dot(grad, &values[j * d_v..][..d_v])).sum::<f64>();
            let total = weights.iter().sum::<f64>();
            let of_total = log_totals.get(row).map_or(0.0, |grad| grad * total.ln());
            if weights.is_empty() { 0.0 } else { along / total + of_total }
        };
        q.chunks(d).zip(grad.chunks(d_v)).enumerate().map(of_query).sum()
    }

    /// Gradients of q, keys and values; those that are not wanted are empty.
    fn gradients(self, way: Option<Simd>, inputs: &[Vec<f32>; 5], wanted: [bool; 3]) -> [Vec<f32>; 3] {
        let Self { heads, n, source, d, d_v, span, .. } = self;
        let [q, keys, values, grad, log_totals] = inputs;
        let room = |len: usize, wanted: bool| vec![0f32; if wanted { len } else { 0 }];
        let mut dq = room(heads * n * d, wanted[0]);
        let mut dk = room(source * d, wanted[1]);
        let mut dv = room(source * d_v, wanted[2]);
        match way {
            None => {
                for head in 0..heads {
                    let one = head * n * d..(head + 1) * n * d;
                    let grad = &grad[head * n * d_v..][..n * d_v];
                    let log_totals = log_totals.get(head * n..(head + 1) * n).unwrap_or(&[]);
                    let of = Sequence { q: &q[one.clone()], keys, values, grad, log_totals };
                    let dq = if dq.is_empty() { &mut [][..] } else { &mut dq[one] };
                    softmax::backward(of, (n, d), span, Gradients { q: dq, keys: &mut dk, values: &mut dv });
                }
            }
            Some(simd) => {
                let (mut out, mut stats) = (vec![0f32; heads * n * d_v], vec![0f32; heads * n * 2]);
                let mut scratch = vec![f32::NAN; softmax_forward::scratch_len(source, d)];
                softmax_forward::forward(simd, q, keys, values, (n, d), span, &mut scratch, &mut stats, &mut out);
                let mut scratch = vec![f32::NAN; softmax_backward::scratch_len(heads, n, d, d_v)];
                let of = Sequence { q, keys, values, grad, log_totals };
                let into = Gradients { q: &mut dq, keys: &mut dk, values: &mut dv };
                softmax_backward::backward(simd, of, (n, d), span, (&out, &stats), &mut scratch, into);
            }
        }
        [dq, dk, dv]
    }

    fn check(self) {
        let inputs = self.inputs();
        let [q, keys, values, grad, log_totals] = inputs.each_ref().map(|x| wide(x));
        let grads = (&grad[..], &log_totals[..]);
        let want = [
            differences(&q, |q| self.loss(q, &keys, &values, grads)),
            differences(&keys, |keys| self.loss(&q, keys, &values, grads)),
            differences(&values, |values| self.loss(&q, &keys, values, grads)),
        ];
        for way in ways() {
            for ((got, want), of) in self.gradients(way, &inputs, [true; 3]).iter().zip(&want).zip(["q", "k", "v"]) {
                assert_gradient(got, want, 1e-5, &format!("{way:?}, {self:?}, {of}"));
            }
        }
    }
}

#[test]
fn they_are_the_differences_of_the_formula_at_every_width() {
    for d in WIDTHS {
        Case::causal(9, d, d).check();
        Case { totals: true, ..Case::causal(9, d, d) }.check();
        Case { span: Span::Full, source: 5, ..Case::causal(3, d, 7) }.check();
    }
}

#[test]
fn they_are_the_differences_of_the_formula_at_lengths_around_the_blocks() {
    for n in [1, 5, 6, 7, 16, 47, 48, 49, 97] {
        Case::causal(n, 2, 3).check();
        Case { totals: true, ..Case::causal(n, 2, 3) }.check();
    }
}

#[test]
fn windows_groups_offsets_and_sources() {
    for window in [1, 2, 7, 48, 200] {
        let span = Span::Causal { offset: 0, window: Some(window) };
        Case { span, ..Case::causal(60, 3, 2) }.check();
        Case { span, totals: true, heads: 2, ..Case::causal(60, 3, 2) }.check();
        let span = Span::Causal { offset: 50, window: Some(window) };
        Case { span, source: 59, ..Case::causal(9, 3, 2) }.check();
    }
    Case { heads: 3, ..Case::causal(53, 4, 3) }.check();
    Case { heads: 2, source: 70, span: Span::Full, ..Case::causal(11, 4, 3) }.check();
}

/// At sizes where differences would take too long: every way is the plain twin, whose gradient along a direction is the
/// difference along it.
#[test]
fn long_sequences() {
    let sizes = [(130, 64, 64, None), (200, 33, 80, Some(70)), (193, 128, 20, None)];
    for ((n, d, d_v, window), totals) in sizes.into_iter().flat_map(|size| [(size, false), (size, true)]) {
        let case = Case { heads: 2, span: Span::Causal { offset: 0, window }, totals, ..Case::causal(n, d, d_v) };
        let inputs = case.inputs();
        let plain = case.gradients(None, &inputs, [true; 3]);
        for way in ways() {
            for (got, want) in case.gradients(way, &inputs, [true; 3]).iter().zip(&plain) {
                assert_gradient(got, &wide(want), 2e-5, &format!("{way:?}, {case:?}"));
            }
        }
        let [q, keys, values, grad, log_totals] = inputs.each_ref().map(|x| wide(x));
        let at = |by: f64| {
            let moved = |x: &[f64], seed| -> Vec<f64> {
                x.iter().zip(numbers(x.len(), seed)).map(|(x, way)| x + by * f64::from(way)).collect()
            };
            case.loss(&moved(&q, 5), &moved(&keys, 6), &moved(&values, 7), (&grad, &log_totals))
        };
        let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
        let along = |gradient: &[f32], seed| crate::dot(gradient, &numbers(gradient.len(), seed));
        let analytic = along(&plain[0], 5) + along(&plain[1], 6) + along(&plain[2], 7);
        assert!((numeric - analytic).abs() < 1e-4 * numeric.abs().max(1.0), "{case:?}: {analytic}, not {numeric}");
    }
}

#[test]
fn what_is_not_wanted_changes_nothing_else() {
    let case = Case { heads: 2, ..Case::causal(70, 12, 9) };
    let inputs = case.inputs();
    for way in ways() {
        let all = case.gradients(way, &inputs, [true; 3]);
        for mask in 0..8 {
            let wanted = [mask & 1 > 0, mask & 2 > 0, mask & 4 > 0];
            for (i, got) in case.gradients(way, &inputs, wanted).iter().enumerate() {
                let want: &[f32] = if wanted[i] { &all[i] } else { &[] };
                assert_eq!(got, want, "{way:?}, {wanted:?}");
            }
        }
    }
}

#[test]
fn nothing_in_nothing_out_and_huge_scores_stay_finite() {
    for n in LENGTHS {
        let case = Case { source: 0, span: Span::Full, ..Case::causal(n, 4, 4) };
        for way in ways() {
            assert!(case.gradients(way, &case.inputs(), [true; 3])[0].iter().all(|x| *x == 0.0), "{way:?}");
        }
    }
    let case = Case::causal(60, 16, 8);
    let mut inputs = case.inputs();
    inputs[0].iter_mut().for_each(|x| *x *= 1e4);
    for way in ways() {
        let all = case.gradients(way, &inputs, [true; 3]);
        assert!(all.iter().flatten().all(|x| x.is_finite()), "{way:?}");
    }
}
