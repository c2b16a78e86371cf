//! Memory around a visit: what the allocator handed out, and the resident set at its peak.

use candle_core::Device;

use super::gpu;
use crate::{
    measure::{give_back_freed_memory, live_bytes, peak_bytes, reset_peak, rss_bytes},
    sweep::MemoryReading,
};

/// Watches from its making to [`Watch::reading`].
pub(super) struct Watch {
    device: Device,
    live_before: Option<u64>,
    rss_peak: Option<u64>,
}

impl Watch {
    pub(super) fn start(device: &Device) -> Self {
        // What cells before this one freed is not this one's.
        give_back_freed_memory();
        reset_peak();
        gpu::reset_peak(device);
        Self { device: device.clone(), live_before: live_bytes(), rss_peak: rss_bytes() }
    }

    /// Looks at the resident set; called between samples, outside of the timing.
    pub(super) fn look(&mut self) {
        self.rss_peak = self.rss_peak.max(rss_bytes());
    }

    pub(super) fn reading(mut self, state_bytes: Option<u64>) -> MemoryReading {
        self.look();
        let alloc_peak_bytes = peak_bytes().zip(self.live_before).map(|(peak, before)| peak.saturating_sub(before));
        MemoryReading {
            state_bytes,
            alloc_peak_bytes,
            rss_peak_bytes: self.rss_peak,
            device_peak_bytes: gpu::peak_bytes(&self.device),
        }
    }
}

/// Bytes that are live after `make` and were not before.
pub(super) fn allocated_by<T>(make: impl FnOnce() -> T) -> (T, Option<u64>) {
    let before = live_bytes();
    let made = make();
    let bytes = live_bytes().zip(before).map(|(after, before)| after.saturating_sub(before));
    (made, bytes)
}
