//! Checkpoints: what `transformers` computes with them, what is written reads back, and what damage is said of.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod conversion;
mod damage;
mod families;
mod gguf_types;
mod own;
mod using;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use t2r::{
    checkpoint::Checkpoint,
    kernels::{Kernels, Simd},
    model::{Decoder, Session},
};

/// The checkpoints that `make.py` made.
pub(crate) const FAMILIES: [&str; 4] = ["llama", "qwen2", "gpt2", "gguf/tiny.gguf"];

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/fixtures").join(name)
}

pub(crate) fn open(path: &Path) -> Checkpoint {
    Checkpoint::open(path).unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) fn decoder(checkpoint: &Checkpoint) -> Decoder {
    checkpoint.decoder(&Device::Cpu, DType::F32).unwrap_or_else(|e| panic!("{e}")).0
}

/// Logits (n · vocab) of ids by the differentiable forward, the fused forward, and steps of both kinds.
pub(crate) fn logits(model: &Decoder, ids: &[u32]) -> Vec<(&'static str, Vec<f32>)> {
    let fused = Kernels::Fused(Simd::detect());
    let sequence = Tensor::from_slice(ids, (1, ids.len()), &Device::Cpu).unwrap();
    let flat = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let stepped = |kernels: Kernels| {
        let mut session = Session::by(model, 1, ids.len(), kernels).unwrap();
        ids.iter().flat_map(|id| flat(session.step(&[*id]).unwrap())).collect::<Vec<f32>>()
    };
    vec![
        ("forward", flat(model.forward(&sequence).unwrap())),
        ("fused forward", flat(model.forward_by(&sequence, None, fused).unwrap())),
        ("steps", stepped(Kernels::Plain)),
        ("fused steps", stepped(fused)),
    ]
}

/// Largest difference over the largest number.
pub(crate) fn distance(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    got.iter().zip(want).fold(0f32, |m, (g, w)| if (g - w).abs() <= m { m } else { (g - w).abs() }) / scale
}

/// A copy of a fixture's folder that may be damaged.
pub(crate) fn copy_of(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fixture(name).read_dir().unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}
