//! The crossing of sweeping and computing: turns a cell into timed calls on tensors and slices.

mod device;

pub use device::{DeviceInfo, OpenDevice, devices, open};

use candle_core::Device;

use crate::{
    spec::Cell,
    sweep::{CheckReport, Executor, Measured, Prediction, VisitError, VisitRequest},
};

/// Runs cells on one device.
pub struct Bench {
    device: Device,
    dump: Option<std::path::PathBuf>,
    stop: Box<dyn Fn() -> bool>,
}

impl Bench {
    /// On an opened device; `dump` is a folder that receives what the checks saw, `stop` says when the user has asked
    /// to end.
    #[must_use]
    pub fn new(device: Device, dump: Option<std::path::PathBuf>, stop: Box<dyn Fn() -> bool>) -> Self {
        Self { device, dump, stop }
    }
}

impl Executor for Bench {
    fn predict(&self, _cell: &Cell) -> Result<Prediction, String> {
        let _ = (&self.device, &self.dump, &self.stop);
        Err("not yet".to_owned())
    }

    fn check(&mut self, _cell: &Cell) -> Result<CheckReport, VisitError> {
        Err(VisitError::Failed("not yet".to_owned()))
    }

    fn visit(&mut self, _unit: &[&Cell], _request: &VisitRequest) -> Result<Vec<Measured>, VisitError> {
        Err(VisitError::Failed("not yet".to_owned()))
    }
}
