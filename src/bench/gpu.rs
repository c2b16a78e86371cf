//! What a GPU says of itself: its name, its memory, and the peak of what a visit had in use. Blank on the CPU, and on
//! Metal, whose counter the tensor library does not pass on.

use candle_core::Device;

/// Name and memory of an opened device, as far as it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuFacts {
    /// Name, as the driver gives it.
    pub name: Option<String>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
}

/// Name and memory of the device.
#[must_use]
pub fn facts(device: &Device) -> GpuFacts {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => {
            let stream = cuda.cuda_stream();
            let context = stream.context();
            GpuFacts { name: context.name().ok(), memory_bytes: context.total_mem().ok().map(|b| b as u64) }
        }
        _ => GpuFacts::default(),
    }
}

/// Starts the peak anew from what is in use now.
pub(super) fn reset_peak(device: &Device) {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = device {
        pool::reset_high(cuda);
    }
    let _ = device;
}

/// Bytes in use now, and all that there are.
#[must_use]
pub fn memory_in_use(device: &Device) -> Option<(u64, u64)> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => Some((pool::in_use(cuda)?, facts(device).memory_bytes?)),
        _ => None,
    }
}

/// Most bytes in use since [`reset_peak`].
pub(super) fn peak_bytes(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => pool::high(cuda),
        _ => None,
    }
}

/// CUDA's default memory pool, from which the tensor library allocates: what is in use, not what is reserved.
#[cfg(feature = "cuda")]
mod pool {
    use candle_core::{
        CudaDevice,
        cuda_backend::cudarc::driver::{
            result::{device::get_default_mem_pool, mem_pool},
            sys::{CUmemPool_attribute, CUmemoryPool},
        },
    };

    const HIGH: CUmemPool_attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    const NOW: CUmemPool_attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT;

    fn of(cuda: &CudaDevice) -> Option<CUmemoryPool> {
        let stream = cuda.cuda_stream();
        // SAFETY: the context, and with it the device, lives as long as `stream`.
        unsafe { get_default_mem_pool(stream.context().cu_device()) }.ok()
    }

    pub(super) fn high(cuda: &CudaDevice) -> Option<u64> {
        read(cuda, HIGH)
    }

    pub(super) fn in_use(cuda: &CudaDevice) -> Option<u64> {
        read(cuda, NOW)
    }

    fn read(cuda: &CudaDevice, attribute: CUmemPool_attribute) -> Option<u64> {
        let mut bytes = 0u64;
        // SAFETY: the value of both attributes is one 64-bit number, which `bytes` is.
        unsafe { mem_pool::get_attribute(of(cuda)?, attribute, (&raw mut bytes).cast()) }.ok().map(|()| bytes)
    }

    pub(super) fn reset_high(cuda: &CudaDevice) {
        let mut zero = 0u64;
        if let Some(pool) = of(cuda) {
            // SAFETY: as in `high`; zero is the one value the driver takes. Where it refuses, the peak is of the process.
            let _ = unsafe { mem_pool::set_attribute(pool, HIGH, (&raw mut zero).cast()) };
        }
    }
}
