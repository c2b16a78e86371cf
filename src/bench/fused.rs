//! `implementation = fused`: what there is of it, and which kernels a cell runs.

use crate::{
    attention::has_fused_form,
    kernels::{Kernels, Simd},
    spec::{Cell, DType, DeviceKind, Implementation},
};

/// The kernels of a cell.
pub(super) fn kernels(cell: &Cell) -> Kernels {
    match cell.implementation {
        Implementation::Reference => Kernels::Plain,
        Implementation::Fused => Kernels::Fused(Simd::detect()),
    }
}

/// Whether the cell has a fused form, if it asks for one.
///
/// # Errors
/// The reason why not.
pub(super) fn has_form(cell: &Cell) -> Result<(), String> {
    let name = &cell.variant.name;
    if cell.implementation != Implementation::Fused {
        return Ok(());
    }
    if cell.device_kind != DeviceKind::Cpu || cell.dtype != DType::F32 {
        return Err("fused kernels are f32 on the CPU; use --implementation reference".to_owned());
    }
    if !has_fused_form(&cell.variant) {
        return Err(format!("{name} has no fused form; use --implementation reference"));
    }
    Ok(())
}
