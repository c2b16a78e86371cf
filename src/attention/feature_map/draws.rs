//! Random projections that are orthogonal in blocks: less variance than independent ones at the same cost.

use candle_core::{Result, Tensor};
use rand_chacha::ChaCha8Rng;

use super::MapShape;
use crate::{
    kernels::dot,
    params::{Init, Params, draw},
};

/// Draws that are orthogonal in blocks of d, with the norms of independent normal vectors (Yu et al. 2016).
/// (h_kv, n, d), remembered as the fixed parameter `name`.
pub(super) fn orthogonal(shape: MapShape, n: usize, params: &mut Params, name: &str) -> Result<Tensor> {
    let MapShape { n_kv_heads, head_dim: d, .. } = shape;
    params.fixed_from(name, (n_kv_heads, n, d), |rng| {
        let mut rows = Vec::with_capacity(n_kv_heads * n * d);
        for _ in 0..n_kv_heads {
            let mut left = n;
            while left > 0 {
                let block = left.min(d);
                for direction in orthonormal_rows(rng, block, d) {
                    let norm = draw(rng, d, Init::Normal(1.0)).iter().map(|x| x * x).sum::<f32>().sqrt();
                    rows.extend(direction.iter().map(|x| x * norm));
                }
                left -= block;
            }
        }
        rows
    })
}

/// `n` ≤ d orthonormal vectors: normal draws through Gram–Schmidt, a draw that is nearly dependent is drawn again.
fn orthonormal_rows(rng: &mut ChaCha8Rng, n: usize, d: usize) -> Vec<Vec<f32>> {
    let mut rows: Vec<Vec<f32>> = Vec::with_capacity(n);
    while rows.len() < n {
        let mut row = draw(rng, d, Init::Normal(1.0));
        let drawn = dot(&row, &row).sqrt();
        for _ in 0..2 {
            for other in &rows {
                let along = dot(&row, other);
                row.iter_mut().zip(other).for_each(|(x, o)| *x -= along * o);
            }
        }
        let norm = dot(&row, &row).sqrt();
        if norm > 1e-3 * drawn {
            row.iter_mut().for_each(|x| *x /= norm);
            rows.push(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthogonal_rows_are_orthonormal() {
        let rows = orthonormal_rows(&mut crate::params::named_rng(1, "rows"), 8, 8);
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate() {
                assert!((dot(a, b) - f32::from(u8::from(i == j))).abs() < 1e-5);
            }
        }
    }
}
