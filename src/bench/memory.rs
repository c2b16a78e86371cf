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
    /// Whether the resident set holds nothing that others freed.
    sees_rss: bool,
    rss_peak: Option<u64>,
}

impl Watch {
    /// On a cell's `first` visit the resident set counts, and what cells before it freed goes back to the system. Later ones
    /// take what is kept: a page that goes back and is asked for again costs more than what is done with it.
    pub(super) fn start(device: &Device, first: bool) -> Self {
        if first {
            give_back_freed_memory();
        }
        reset_peak();
        gpu::reset_peak(device);
        let mut watch = Self { device: device.clone(), live_before: live_bytes(), sees_rss: first, rss_peak: None };
        watch.look();
        watch
    }

    /// Looks at the resident set; called between samples, outside of the timing.
    pub(super) fn look(&mut self) {
        if self.sees_rss {
            self.rss_peak = self.rss_peak.max(rss_bytes());
        }
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
