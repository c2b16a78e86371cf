//! What weighs a pair of tokens in linear attention beside φ(q)·φ(k): gates that let the past decay, and the running
//! maximum of features that are written against a scale. Both are kept as logarithms, so that no product over many
//! tokens under- or overflows: the pair (i, j) weighs exp(row_i + column_j), which is at most 1 for j ≤ i.

use candle_core::{DType, Device, Result, Tensor};

/// A logarithm that no exponential survives, finite so that no difference of two is NaN.
pub(super) const NOTHING: f64 = -1e30;

/// How the weights of a sequence of n tokens move.
pub(super) enum Pace {
    /// They do not.
    Still,
    /// log g and log(1 − g) of every token, (b, h_kv, n).
    Gate { keep: Tensor, take: Tensor },
    /// Log scales of the keys, (b, h_kv, n).
    RunningMaximum { scales: Tensor },
}

/// The weights of a chunk of the sequence.
pub(super) struct Chunk {
    /// (b, h_kv, len, 1).
    row: Tensor,
    /// (b, h_kv, 1, len).
    column: Tensor,
    /// Logarithm of what the sums before the chunk weigh at each token, (b, h_kv, len, 1).
    past: Tensor,
    /// The level of the sums after the chunk.
    level: Option<Tensor>,
}

impl Pace {
    /// g = sigmoid(x) from pre-activations (b, h_kv, n).
    pub(super) fn gate(x: &Tensor) -> Result<Self> {
        let (keep, take) = log_gate(x)?;
        Ok(Self::Gate { keep, take })
    }

    /// Tokens `first..first + len`, whose past has `level`.
    pub(super) fn chunk(&self, first: usize, len: usize, level: Option<&Tensor>) -> Result<Option<Chunk>> {
        let part = |t: &Tensor| t.narrow(2, first, len)?.contiguous();
        let (row, column, past, level) = match (self, level) {
            (Self::Still, _) => return Ok(None),
            (Self::Gate { keep, take }, _) => {
                let sums = running_sum(&part(keep)?)?;
                (sums.clone(), (part(take)? - &sums)?, sums, None)
            }
            (Self::RunningMaximum { scales }, level) => {
                let scales = part(scales)?;
                let (batch, heads, _) = scales.dims3()?;
                let before = match level {
                    Some(level) => level.clone(),
                    None => Tensor::full(NOTHING as f32, (batch, heads, 1), scales.device())?,
                };
                let maxima = running_maximum(&scales)?.broadcast_maximum(&before)?;
                let row = maxima.neg()?;
                let past = row.broadcast_add(&before)?;
                (row, scales, past, Some(maxima.narrow(2, len - 1, 1)?))
            }
        };
        Ok(Some(Chunk { row: row.unsqueeze(3)?, column: column.unsqueeze(2)?, past: past.unsqueeze(3)?, level }))
    }
}

/// log g and log(1 − g) of g = sigmoid(x), in f32.
pub(super) fn log_gate(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let x = x.to_dtype(DType::F32)?;
    let (nothing, down) = (x.zeros_like()?, x.neg()?);
    // log sigmoid(x) = min(x, 0) − log(1 + exp(−|x|)). Chosen by cases: the slopes of a relu or a modulus at 0 are anybody's.
    let above = x.ge(0f32)?;
    let small = (above.where_cond(&down, &x)?.exp()? + 1.0)?.log()?;
    Ok((above.where_cond(&nothing, &x)?.sub(&small)?, above.where_cond(&down, &nothing)?.sub(&small)?))
}

impl Chunk {
    /// Weights of all pairs, (b, h_kv, len, len); those above the diagonal mean nothing, but are finite.
    pub(super) fn pairs(&self) -> Result<Tensor> {
        // Rounding aside only pairs above the diagonal are beyond 0.
        self.row.broadcast_add(&self.column)?.minimum(0f32)?.exp()
    }

    /// What the sums before the chunk weigh at each token, (b, h_kv, len, 1).
    pub(super) fn past(&self) -> Result<Tensor> {
        self.past.exp()
    }

    /// What the sums before the chunk weigh after it, (b, h_kv, 1, 1).
    pub(super) fn past_at_end(&self) -> Result<Tensor> {
        self.past.narrow(2, self.past.dim(2)? - 1, 1)?.exp()
    }

    /// What each key weighs after the chunk, (b, h_kv, len, 1).
    pub(super) fn keys_at_end(&self) -> Result<Tensor> {
        let last = self.row.narrow(2, self.row.dim(2)? - 1, 1)?;
        self.column.broadcast_add(&last)?.minimum(0f32)?.exp()?.transpose(2, 3)
    }

    /// The level of the sums after the chunk.
    pub(super) fn level(&self) -> Option<Tensor> {
        self.level.clone()
    }

    /// The level that each token's sums are written against, (b, h_kv, len): 0 but for running maxima.
    pub(super) fn levels(&self) -> Result<Option<Tensor>> {
        self.level.as_ref().map(|_| self.row.squeeze(3)?.neg()).transpose()
    }
}

/// Σ_{l≤i} x_l over the last dimension of (b, h_kv, len), differentiable; len is a chunk, so a product will do.
fn running_sum(x: &Tensor) -> Result<Tensor> {
    let (batch, heads, len) = x.dims3()?;
    let rows = x.reshape((batch * heads, len))?;
    rows.matmul(&upper_triangle(len, x.device())?)?.reshape((batch, heads, len))
}

/// 1 on and above the diagonal.
fn upper_triangle(len: usize, device: &Device) -> Result<Tensor> {
    let ones = (0..len).flat_map(|i| (0..len).map(move |j| if j >= i { 1f32 } else { 0.0 })).collect::<Vec<_>>();
    Tensor::from_vec(ones, (len, len), device)
}

/// max_{l≤i} x_l over the last dimension of (b, h_kv, len): doubling the span until it covers all. Carries no gradient.
pub(super) fn running_maximum(x: &Tensor) -> Result<Tensor> {
    let mut x = x.detach();
    let len = x.dim(2)?;
    let mut span = 1;
    while span < len {
        let head = x.narrow(2, 0, span)?;
        let tail = x.narrow(2, span, len - span)?.maximum(&x.narrow(2, 0, len - span)?)?;
        x = Tensor::cat(&[&head, &tail], 2)?;
        span *= 2;
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(x: &[f32]) -> Tensor {
        Tensor::from_slice(x, (1, 1, x.len()), &Device::Cpu).unwrap()
    }

    fn flat(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn running_sums_and_maxima_by_hand() {
        let x = row(&[1.0, -2.0, 5.0, 3.0, 4.0]);
        assert_eq!(flat(&running_sum(&x).unwrap()), [1.0, -1.0, 4.0, 7.0, 11.0]);
        assert_eq!(flat(&running_maximum(&x).unwrap()), [1.0, 1.0, 5.0, 5.0, 5.0]);
    }

    #[test]
    fn a_gate_weighs_pairs_by_the_product_of_what_lies_between() {
        // g = sigmoid(ln 3) = 3/4 and sigmoid(0) = 1/2: w_10 = (1 − ¾)·½, the past (¾)·½ at the end.
        let pace = Pace::gate(&row(&[3f32.ln(), 0.0])).unwrap();
        let chunk = pace.chunk(0, 2, None).unwrap().unwrap();
        let pairs = flat(&chunk.pairs().unwrap());
        assert!((pairs[0] - 0.25).abs() < 1e-6 && (pairs[2] - 0.125).abs() < 1e-6 && (pairs[3] - 0.5).abs() < 1e-6);
        assert!((flat(&chunk.past_at_end().unwrap())[0] - 0.375).abs() < 1e-6);
        let keys = flat(&chunk.keys_at_end().unwrap());
        assert!((keys[0] - 0.125).abs() < 1e-6 && (keys[1] - 0.5).abs() < 1e-6);
    }

    #[test]
    fn the_slopes_of_a_gate_are_those_of_its_formula_and_at_zero_too() {
        let x = candle_core::Var::new(&[[[0f32, -0.0, 1.5, -2.0, 90.0, -90.0]]], &Device::Cpu).unwrap();
        let (keep, take) = log_gate(x.as_tensor()).unwrap();
        let slopes = |of: &Tensor| flat(of.sum_all().unwrap().backward().unwrap().get(&x).unwrap());
        for (x, (keep, take)) in flat(x.as_tensor()).iter().zip(slopes(&keep).iter().zip(&slopes(&take))) {
            let g = 1.0 / (1.0 + (-f64::from(*x)).exp());
            assert!(
                (f64::from(*keep) - (1.0 - g)).abs() < 1e-6 && (f64::from(*take) + g).abs() < 1e-6,
                "{x}: {keep} {take}"
            );
        }
    }

    #[test]
    fn a_saturated_gate_is_finite_in_value_and_weight() {
        for x in [-200.0, 200.0] {
            let chunk = Pace::gate(&row(&[x; 70])).unwrap().chunk(0, 64, None).unwrap().unwrap();
            assert!(flat(&chunk.pairs().unwrap()).iter().all(|w| w.is_finite() && *w <= 1.0));
        }
    }
}
