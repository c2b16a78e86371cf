//! `implementation = fused`: what there is of it, and which kernels a cell runs.

use crate::{
    attention::has_fused_form,
    kernels::{Kernels, Simd},
    spec::{Cell, DType, DeviceKind, Implementation, Workload},
};

/// The kernels of a cell.
pub(super) fn kernels(cell: &Cell) -> Kernels {
    match cell.implementation {
        Implementation::Reference => Kernels::Plain,
        Implementation::Fused => Kernels::Fused(Simd::detect()),
    }
}

/// Whether the cell's model keeps its weights in bf16 and computes in f32, as fused steps on the CPU do.
pub(super) fn weights_in_bf16(cell: &Cell) -> bool {
    cell.implementation == Implementation::Fused && cell.device_kind == DeviceKind::Cpu && cell.dtype == DType::Bf16
}

/// What the cell's arithmetic and states are in.
pub(super) fn computed_in(cell: &Cell) -> DType {
    if weights_in_bf16(cell) { DType::F32 } else { cell.dtype }
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
    if cell.device_kind != DeviceKind::Cpu || cell.dtype == DType::F16 {
        return Err(
            "fused kernels are for the CPU, in f32 or with weights in bf16; use --implementation reference".to_owned()
        );
    }
    if weights_in_bf16(cell) {
        if !matches!(cell.workload, Workload::Decode | Workload::Generate) {
            let workload = cell.workload;
            return Err(format!("weights in bf16 are for decode and generate; use --dtype f32 for {workload}"));
        }
        let inner = cell.n_heads * cell.head_dim;
        let widths = cell.model.map_or([inner; 3], |model| [model.d_model, model.ffn_dim, inner]);
        if let Some(odd) = widths.iter().find(|width| *width % 2 == 1) {
            return Err(format!("weights in bf16 lie in pairs, and this model has rows of {odd}; use --dtype f32"));
        }
    }
    if !has_fused_form(&cell.variant) {
        return Err(format!("{name} has no fused form; use --implementation reference"));
    }
    Ok(())
}
