//! Devices: which there are, and opening the one that was asked for. Never falls back to another.

use candle_core::Device;

use crate::spec::{DType, DeviceKind, DeviceSpec};

/// A device that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// As `--device` takes it.
    pub spec: DeviceSpec,
    /// Name for people; the CPU's is its model.
    pub name: String,
}

/// An opened device.
pub struct OpenDevice {
    /// What was asked for.
    pub spec: DeviceSpec,
    /// The tensor library's handle.
    pub device: Device,
}

/// Opens the device.
///
/// # Errors
/// A reason for people: not built in, or not there.
pub fn open(spec: DeviceSpec) -> Result<OpenDevice, String> {
    let built = match spec.kind {
        DeviceKind::Cpu => true,
        DeviceKind::Cuda => cfg!(feature = "cuda"),
        DeviceKind::Metal => cfg!(feature = "metal"),
    };
    if !built {
        let kind = spec.kind;
        return Err(format!("device {spec}: this binary was built without it; rebuild with --features {kind}"));
    }
    let opened = match spec.kind {
        DeviceKind::Cpu => Ok(Device::Cpu),
        DeviceKind::Cuda => Device::new_cuda(spec.index),
        DeviceKind::Metal => Device::new_metal(spec.index),
    };
    match opened {
        Ok(device) => Ok(OpenDevice { spec, device }),
        Err(e) => Err(format!("device {spec} cannot be had: {e}; `t2r list devices` shows what there is")),
    }
}

/// The driver's name of a device, or how it was asked for.
fn name(opened: &OpenDevice) -> String {
    super::facts(&opened.device).name.unwrap_or_else(|| opened.spec.to_string())
}

/// Every device this binary can open now; the CPU is always the first.
#[must_use]
pub fn devices(cpu_name: &str) -> Vec<DeviceInfo> {
    let cpu = DeviceInfo { spec: DeviceSpec { kind: DeviceKind::Cpu, index: 0 }, name: cpu_name.to_owned() };
    let gpus = [DeviceKind::Cuda, DeviceKind::Metal].into_iter().flat_map(|kind| {
        (0..16)
            .map(move |index| DeviceSpec { kind, index })
            .map_while(|spec| open(spec).ok())
            .map(|opened| DeviceInfo { spec: opened.spec, name: name(&opened) })
    });
    std::iter::once(cpu).chain(gpus).collect()
}

/// Whether the device computes in the dtype: f32 everywhere, 16-bit types on GPUs.
///
/// # Errors
/// The reason why not.
pub(super) fn computes_in(kind: DeviceKind, dtype: DType) -> Result<(), String> {
    match (kind, dtype) {
        (DeviceKind::Cpu, DType::F16 | DType::Bf16) => {
            Err(format!("the CPU has no {dtype} arithmetic here: it would widen to f32; use --dtype f32 or a GPU"))
        }
        _ => Ok(()),
    }
}
