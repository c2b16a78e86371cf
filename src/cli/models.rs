//! What the commands on checkpoints share: where a model runs, opening one, reading a text.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use candle_core::{DType, Device};
use clap::Args;

use super::{Answer, Failure, setup};
use crate::{
    bench::open,
    checkpoint::Checkpoint,
    model::Decoder,
    spec::{self, DeviceKind, DeviceSpec},
};

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(super) struct Place {
    /// Device: cpu, cuda, cuda:1, metal.
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec { kind: DeviceKind::Cpu, index: 0 })]
    device: DeviceSpec,
    /// Threads [default: the cores this process may use].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl Place {
    /// Fixes the number of threads and opens the device.
    pub(super) fn open(self) -> Answer<Device> {
        setup::set_threads(setup::threads(self.threads)?);
        Ok(open(self.device).map_err(anyhow::Error::msg)?.device)
    }
}

/// A language model in f32, for inference, whose weights are kept in f32 or bf16.
pub(super) fn decoder(checkpoint: &Checkpoint, device: &Device, weights: spec::DType) -> Answer<Decoder> {
    match (weights, device) {
        (spec::DType::F16, _) => Err(Failure::Usage("--dtype f16: weights can be kept in f32 or bf16".into())),
        (spec::DType::Bf16, Device::Cpu) => {
            let (model, _) = checkpoint.decoder(device, DType::F32)?;
            Ok(model.with_weights_in_bf16().map_err(|e| anyhow::anyhow!("--dtype bf16: {e}; leave it out"))?)
        }
        (spec::DType::Bf16, _) => Err(Failure::Usage("--dtype bf16: on the CPU alone; leave it out".into())),
        (spec::DType::F32, _) => Ok(checkpoint.decoder(device, DType::F32)?.0),
    }
}

/// Files one after the other as one text; `-` is stdin.
pub(super) fn text(files: &[PathBuf]) -> Answer<String> {
    files.iter().map(|file| one_text(file)).collect()
}

fn one_text(file: &Path) -> Answer<String> {
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(file)
    };
    let bytes = bytes.map_err(|e| anyhow::Error::new(e).context(format!("text {}", file.display())))?;
    // A byte order mark is no part of a text.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").map_or_else(|| bytes.clone(), <[u8]>::to_vec);
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Failure::CouldNotRun(anyhow::anyhow!("text {}: byte {at} is not UTF-8, expected text", file.display()))
    })
}
