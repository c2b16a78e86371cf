//! Operations of more operands than the tensor library passes to one: the others ride on a number that nobody reads.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::made;

/// Gradients on their way from the operation that made them to the operands that they are of.
#[derive(Clone, Default)]
pub(super) struct Shelf(Arc<Mutex<Vec<Option<Tensor>>>>);

impl Shelf {
    /// Of all operands, in their order.
    pub(super) fn put(&self, gradients: Vec<Option<Tensor>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = gradients;
    }

    fn take(&self, i: usize) -> Option<Tensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(i).and_then(Option::take)
    }
}

/// A scalar that depends on all operands: the operation that it is passed to [`Shelf::put`]s their gradients when it goes
/// back, gives the scalar any gradient of its shape, and each operand then finds its own.
pub(super) fn carried(operands: &[&Tensor], shelf: &Shelf) -> Result<Tensor> {
    let [first, others @ ..] = operands else { candle_core::bail!("an operation of no operands") };
    let mut last = first.apply_op1(Rider { shelf: shelf.clone(), i: 0 })?;
    for (i, operand) in others.iter().enumerate() {
        last = operand.apply_op2(&last, Rider { shelf: shelf.clone(), i: i + 1 })?;
    }
    Ok(last)
}

struct Rider {
    shelf: Shelf,
    i: usize,
}

impl CustomOp1 for Rider {
    fn name(&self) -> &'static str {
        "rider"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        made(vec![0.0], ())
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.shelf.take(self.i))
    }
}

impl CustomOp2 for Rider {
    fn name(&self) -> &'static str {
        "riders"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        made(vec![0.0], ())
    }

    fn bwd(&self, _: &Tensor, last: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.shelf.take(self.i), last.track_op().then(|| grad.clone())))
    }
}
