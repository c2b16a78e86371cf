//! The fused operation of hybrids against plain tensor operations that hold all n × M weights.

use candle_core::{D, DType, Device, Tensor};
use t2r::{
    kernels::{Simd, linear::Normalizer},
    ops::{Hybrid, hybrid_attention, hybrid_attention_after},
};

use crate::{
    layers::flat,
    operations::{assert_same, check, var},
};

/// n queries at the end of held + n keys, and what is left beside the operands.
#[derive(Debug, Clone, Copy)]
struct Case {
    n: usize,
    held: usize,
    window: usize,
    decays: bool,
    simd: Simd,
}

const BATCH: usize = 2;
const KV: usize = 2;
const GROUP: usize = 3;
const WIDTH: usize = 5;
const VALUE_DIM: usize = 7;
const M: usize = 4;

impl Case {
    fn source(self) -> usize {
        self.held + self.n
    }

    fn log_decay(self) -> Option<Tensor> {
        let logs = var("decay", &[BATCH, KV, self.source()]).as_detached_tensor().abs().unwrap().neg().unwrap();
        self.decays.then_some(logs)
    }

    fn hybrid<'a>(self, t: &'a [Tensor], log_decay: Option<&'a Tensor>) -> Hybrid<'a> {
        let normalizer = Normalizer::ClampMin(1e-30);
        let [q, k, v, phi_q, phi_k, shares] = t else { panic!("six operands") };
        Hybrid { q, k, v, phi_q, phi_k, log_decay, shares, window: self.window, normalizer }
    }

    /// 1 where a query that stands so far behind a key sees it so.
    fn mask(self, sees: impl Fn(usize) -> bool) -> Tensor {
        let ones: Vec<f32> = (0..self.n)
            .flat_map(|i| (0..self.source()).map(move |j| (self.held + i).checked_sub(j)))
            .map(|back| f32::from(u8::from(back.is_some_and(&sees))))
            .collect();
        Tensor::from_vec(ones, (self.n, self.source()), &Device::Cpu).unwrap()
    }

    /// What the weights before the window have lost since their key: (b, kv, 1, n, M).
    fn faded(self) -> Tensor {
        let (n, source) = (self.n, self.source());
        let Some(logs) = self.log_decay() else {
            return Tensor::ones((BATCH, KV, 1, n, source), DType::F32, &Device::Cpu).unwrap();
        };
        let all: Vec<f32> = flat(&logs)
            .chunks(source)
            .flat_map(|logs| {
                let last = move |i: usize| (self.held + i + 1).saturating_sub(self.window);
                let logs = logs.to_vec();
                (0..n * source).map(move |x| (x / source, x % source)).map(move |(i, j)| {
                    let between = logs.get(j + 1..last(i)).unwrap_or(&[]);
                    between.iter().sum::<f32>().exp()
                })
            })
            .collect();
        Tensor::from_vec(all, (BATCH, KV, 1, n, source), &Device::Cpu).unwrap()
    }

    fn plain(self, t: &[Tensor]) -> Tensor {
        let (n, source) = (self.n, self.source());
        let of_queries = |x: &Tensor, width: usize| x.reshape((BATCH, KV, GROUP, n, width)).unwrap();
        let of_keys = |x: &Tensor, width: usize| {
            let x = x.unsqueeze(2).unwrap().broadcast_as((BATCH, KV, GROUP, source, width)).unwrap();
            x.contiguous().unwrap()
        };
        let products = |q: &Tensor, k: &Tensor, width: usize| {
            let (q, k) = (of_queries(q, width).unsqueeze(4).unwrap(), of_keys(k, width).unsqueeze(3).unwrap());
            q.broadcast_mul(&k).unwrap().sum(D::Minus1).unwrap()
        };
        let near = self.mask(|back| back < self.window);
        let scores = (products(&t[0], &t[1], WIDTH) / (WIDTH as f64).sqrt()).unwrap();
        let hidden = near.affine(1e30, -1e30).unwrap();
        let scores = scores.broadcast_mul(&near).unwrap().broadcast_add(&hidden).unwrap();
        let largest = scores.max_keepdim(D::Minus1).unwrap();
        let near = scores.broadcast_sub(&largest).unwrap().exp().unwrap().broadcast_mul(&near).unwrap();
        let far = self.mask(|back| back >= self.window);
        let far = products(&t[3], &t[4], M).broadcast_mul(&far).unwrap().broadcast_mul(&self.faded()).unwrap();
        let share = |i: usize| of_queries(&t[5], 2).narrow(4, i, 1).unwrap();
        let near = near.broadcast_mul(&share(0)).unwrap();
        let weights = (near + far.broadcast_mul(&share(1)).unwrap()).unwrap();
        let values = of_keys(&t[2], VALUE_DIM).unsqueeze(3).unwrap();
        let sums = weights.unsqueeze(5).unwrap().broadcast_mul(&values).unwrap().sum(4).unwrap();
        let out = sums.broadcast_div(&weights.sum_keepdim(D::Minus1).unwrap()).unwrap();
        out.reshape((BATCH, KV * GROUP, n, VALUE_DIM)).unwrap()
    }

    fn check(self) {
        let (n, source) = (self.n, self.source());
        let operands = [
            var("q", &[BATCH, KV * GROUP, n, WIDTH]),
            var("k", &[BATCH, KV, source, WIDTH]),
            var("v", &[BATCH, KV, source, VALUE_DIM]),
            var("phi_q", &[BATCH, KV * GROUP, n, M]),
            var("phi_k", &[BATCH, KV, source, M]),
            var("shares", &[BATCH, KV * GROUP, n, 2]),
        ];
        for operand in &operands[3..] {
            operand.set(&operand.as_tensor().abs().unwrap()).unwrap();
        }
        let decay = self.log_decay();
        let fused = |t: &[Tensor]| hybrid_attention(self.hybrid(t, decay.as_ref()), self.simd).unwrap();
        check(&format!("{self:?}"), &operands, (&fused, &|t| self.plain(t)));
    }
}

#[test]
fn it_is_the_plain_operations_and_so_are_its_gradients() {
    for simd in Simd::levels() {
        // Something leaves each window, and none holds one key alone: gradients would be 0 against rounding.
        for (n, held, window) in [(1, 2, 2), (5, 0, 2), (10, 0, 9), (6, 3, 3), (4, 1, 3), (70, 0, 33)] {
            for decays in [false, true] {
                Case { n, held, window, decays, simd }.check();
            }
        }
    }
}

#[test]
fn what_comes_after_goes_on_from_the_sums() {
    for simd in Simd::levels() {
        for (n, first, window) in [(9, 4, 3), (9, 2, 5), (30, 29, 4)] {
            for decays in [false, true] {
                let whole = Case { n, held: 0, window, decays, simd };
                let names = ["q", "k", "v", "phi_q", "phi_k", "shares"];
                let shape = |i: usize| [KV * GROUP, KV, KV, KV * GROUP, KV, KV * GROUP][i];
                let width = |i: usize| [WIDTH, WIDTH, VALUE_DIM, M, M, 2][i];
                let all: Vec<Tensor> = (0..6)
                    .map(|i| var(names[i], &[BATCH, shape(i), n, width(i)]).as_detached_tensor().abs().unwrap())
                    .collect();
                let decay = whole.log_decay();
                let want = hybrid_attention(whole.hybrid(&all, decay.as_ref()), simd).unwrap();
                let mut sums = Tensor::zeros((BATCH, KV, M, VALUE_DIM + 1), DType::F32, &Device::Cpu).unwrap();
                let mut outs = Vec::new();
                for (from, to) in [(0, first), (first, n)] {
                    let held = from.min(window);
                    let (queries, keys) = ((from, to - from), (from - held, to - from + held));
                    let cut = |i: usize| if [1, 2, 4].contains(&i) { keys } else { queries };
                    let part: Vec<Tensor> = (0..6).map(|i| all[i].narrow(2, cut(i).0, cut(i).1).unwrap()).collect();
                    let decay = decay.as_ref().map(|decay| decay.narrow(2, keys.0, keys.1).unwrap());
                    let of = Case { n: to - from, held, ..whole }.hybrid(&part, decay.as_ref());
                    let (out, after) = hybrid_attention_after(&sums, of, simd).unwrap();
                    outs.push(out);
                    sums = after;
                }
                assert_same(&flat(&Tensor::cat(&outs, 2).unwrap()), &flat(&want), &format!("{whole:?}, {first}"));
            }
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let simd = Simd::detect();
    let of = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let good = [
        of(&[1, 4, 3, 8]),
        of(&[1, 2, 5, 8]),
        of(&[1, 2, 5, 6]),
        of(&[1, 4, 3, 2]),
        of(&[1, 2, 5, 2]),
        of(&[1, 4, 3, 2]),
    ];
    let case = Case { n: 3, held: 2, window: 2, decays: false, simd };
    assert!(hybrid_attention(case.hybrid(&good, None), simd).is_ok());
    // More is held than the window.
    assert!(hybrid_attention(Case { window: 1, ..case }.hybrid(&good, None), simd).is_err());
    for (i, shape) in [(0, [1, 4, 6, 8]), (2, [1, 2, 4, 6]), (3, [1, 4, 3, 3]), (4, [1, 2, 3, 2]), (5, [1, 4, 3, 1])] {
        let mut bad = good.clone();
        bad[i] = of(&shape);
        assert!(hybrid_attention(case.hybrid(&bad, None), simd).is_err(), "{i}");
    }
    assert!(hybrid_attention(case.hybrid(&good, Some(&of(&[1, 2, 3]))), simd).is_err());
    assert!(hybrid_attention_after(&of(&[1, 2, 2, 6]), case.hybrid(&good, None), simd).is_err());
}
