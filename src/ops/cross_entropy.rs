//! The loss of a language model together with the product that makes its logits, a few positions at a time: no (b · n,
//! vocab) tensor is ever there, neither of logits nor of gradients.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor};

use super::{made, numbers};
use crate::kernels::{
    Simd, for_each_part,
    fused::loss::cross_entropy,
    gemm::{Matrix, multiply},
};

/// Logits that are at hand together: as many as the last cache holds, but enough rows for products of matrices to be fast,
/// which 128 are not yet (a fifth slower than 512 at a vocabulary of 4096).
const LOGITS: usize = 1 << 21;
const MIN_ROWS: usize = 256;

/// What rows of hidden states should be followed by.
#[derive(Debug, Clone)]
pub struct Targets {
    /// An id of every row.
    pub ids: Vec<u32>,
    /// What each row counts in the sum; 0 leaves it out.
    pub weights: Vec<f32>,
    /// ε of label smoothing (Szegedy et al. 2016): the share of the target that is spread over the vocabulary.
    pub smoothing: f32,
}

impl Targets {
    /// Every id as much as the others, all together 1, and no smoothing: the mean of cross-entropies.
    ///
    /// # Errors
    /// If the ids cannot be read back.
    pub fn mean(ids: &Tensor) -> Result<Self> {
        let ids: Vec<u32> = ids.flatten_all()?.to_vec1()?;
        let weights = vec![1.0 / ids.len() as f32; ids.len()];
        Ok(Self { ids, weights, smoothing: 0.0 })
    }
}

/// `Σ_i weight_i (ln Σ_v exp(x_i·w_v) − (1−ε) x_i·w_target − ε mean_v x_i·w_v)`: x (…, d), weight (vocab, d), and a target
/// of every row; a scalar.
///
/// The gradients are made along with the loss, since both want the same logits.
///
/// # Errors
/// On shapes that do not fit together, on a target beyond the vocabulary, and on anything but f32 on the CPU.
pub fn projected_cross_entropy(x: &Tensor, weight: &Tensor, targets: &Targets, simd: Simd) -> Result<Tensor> {
    let ((vocab, d), n) = (weight.dims2()?, targets.ids.len());
    if d == 0 || n == 0 || x.dims().last() != Some(&d) || x.elem_count() != n * d || targets.weights.len() != n {
        candle_core::bail!("{n} targets of x {:?} with weights {:?}", x.dims(), weight.dims());
    }
    if let Some(id) = targets.ids.iter().find(|id| **id as usize >= vocab) {
        candle_core::bail!("target {id} is beyond the vocabulary of {vocab}");
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let wanted = [x.track_op(), weight.track_op()];
    x.apply_op2(&weight, Loss { targets: targets.clone(), simd, wanted, gradients: OnceLock::new() })
}

struct Loss {
    targets: Targets,
    simd: Simd,
    /// Whether x and the weight carry gradients.
    wanted: [bool; 2],
    gradients: OnceLock<[Option<Tensor>; 2]>,
}

impl CustomOp2 for Loss {
    fn name(&self) -> &'static str {
        "projected-cross-entropy"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (numbers(x, x_layout)?, numbers(weight, weight_layout)?);
        let (rows, d) = (self.targets.ids.len(), weight_layout.dims()[1]);
        let vocab = weight_layout.dims()[0];
        let wanted = |of: usize, len: usize| vec![0f32; if self.wanted[of] { len } else { 0 }];
        let (mut dx, mut dw) = (wanted(0, x.len()), wanted(1, weight.len()));
        let part = (LOGITS / vocab).max(MIN_ROWS).min(rows);
        let (mut logits, mut losses) = (vec![0f32; part * vocab], vec![0f32; part]);
        let mut total = 0f64;
        for (i, targets) in self.targets.ids.chunks(part).enumerate() {
            let n = targets.len();
            let weights = &self.targets.weights[i * part..][..n];
            let (logits, losses) = (&mut logits[..n * vocab], &mut losses[..n]);
            let at = i * part * d..(i * part + n) * d;
            let (x, w) = (Matrix::new(&x[at.clone()], d), Matrix::new(weight, d));
            multiply(x, w.transposed(), false, logits);
            for_each_part(n, 4 * logits.len(), [logits, losses], |r, [logits, loss]| {
                let (target, smoothing) = (targets[r] as usize, self.targets.smoothing);
                loss[0] = weights[r] * cross_entropy(self.simd, logits, target, smoothing, weights[r]);
            });
            total += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
            let slopes = Matrix::new(logits, vocab);
            if self.wanted[0] {
                multiply(slopes, w, false, &mut dx[at]);
            }
            if self.wanted[1] {
                multiply(slopes.transposed(), x, true, &mut dw);
            }
        }
        let tensor = |wanted: bool, numbers: Vec<f32>, shape: &Shape| {
            if wanted { Tensor::from_vec(numbers, shape, &Device::Cpu).map(Some) } else { Ok(None) }
        };
        let dx = tensor(self.wanted[0], dx, x_layout.shape())?;
        let dw = tensor(self.wanted[1], dw, weight_layout.shape())?;
        // An operation runs once; should it run again, the first gradients are the same.
        let _ = self.gradients.set([dx, dw]);
        made(vec![total as f32], ())
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some([dx, dw]) = self.gradients.get() else { candle_core::bail!("a backward before its forward") };
        let factor = f64::from(grad.to_scalar::<f32>()?);
        let scaled = |of: &Option<Tensor>| match of {
            // As it is for a loss that nothing is made of.
            Some(of) if factor == 1.0 => Ok(Some(of.clone())),
            Some(of) => (of * factor).map(Some),
            None => Ok(None),
        };
        Ok((scaled(dx)?, scaled(dw)?))
    }
}
