//! A GGUF file of every type of numbers that the tensor library dequantises: a model of it is the model of its dequantised numbers.

use std::fs::File;

use candle_core::{
    Device, Tensor,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{self, Value},
    },
};
use t2r::params::draw;

use crate::{decoder, open};

/// Widths that a block of every type divides.
const WIDTH: usize = 256;

fn tensor(name: &str, shape: (usize, usize), dtype: GgmlDType) -> QTensor {
    let values = draw(&mut t2r::params::named_rng(1, name), shape.0 * shape.1, t2r::params::Init::Normal(0.1));
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
    QTensor::quantize(&tensor, dtype).unwrap()
}

#[test]
fn every_type_is_dequantised() {
    let types = [
        GgmlDType::F32,
        GgmlDType::F16,
        GgmlDType::BF16,
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q5_0,
        GgmlDType::Q5_1,
        GgmlDType::Q8_0,
        GgmlDType::Q2K,
        GgmlDType::Q3K,
        GgmlDType::Q4K,
        GgmlDType::Q5K,
        GgmlDType::Q6K,
    ];
    for dtype in types {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one.gguf");
        let matrices = [
            ("token_embd.weight", (8, WIDTH)),
            ("blk.0.attn_q.weight", (WIDTH, WIDTH)),
            ("blk.0.attn_k.weight", (WIDTH, WIDTH)),
            ("blk.0.attn_v.weight", (WIDTH, WIDTH)),
            ("blk.0.attn_output.weight", (WIDTH, WIDTH)),
            ("blk.0.ffn_gate.weight", (WIDTH, WIDTH)),
            ("blk.0.ffn_up.weight", (WIDTH, WIDTH)),
            ("blk.0.ffn_down.weight", (WIDTH, WIDTH)),
        ];
        let mut tensors: Vec<(String, QTensor)> =
            matrices.iter().map(|(name, shape)| ((*name).to_owned(), tensor(name, *shape, dtype))).collect();
        for name in ["output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"] {
            let ones = Tensor::ones(WIDTH, candle_core::DType::F32, &Device::Cpu).unwrap();
            tensors.push((name.to_owned(), QTensor::quantize(&ones, GgmlDType::F32).unwrap()));
        }
        let sizes = [
            ("llama.embedding_length", WIDTH),
            ("llama.block_count", 1),
            ("llama.context_length", 64),
            ("llama.feed_forward_length", WIDTH),
            ("llama.attention.head_count", 4),
        ];
        let architecture = ("general.architecture", Value::String("llama".to_owned()));
        let sizes: Vec<(&str, Value)> =
            sizes.iter().map(|(key, n)| (*key, Value::U32(*n as u32))).chain([architecture]).collect();
        let metadata: Vec<(&str, &Value)> = sizes.iter().map(|(key, value)| (*key, value)).collect();
        let written: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
        gguf_file::write(&mut File::create(&path).unwrap(), &metadata, &written).unwrap();

        let model = decoder(&open(&path));
        let want = |i: usize| tensors[i].1.dequantize(&Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
        let block = &model.blocks()[0];
        let of = |t: &Tensor| t.to_vec2::<f32>().unwrap();
        assert_eq!(of(&block.attention.v.weight), want(3), "{dtype:?}");
        // Row 2i + j of a head of 64 is row 32·j + i of the model.
        let (q, stored) = (of(&block.attention.q.weight), want(1));
        for (head, j, i) in [(0, 0, 0), (1, 1, 5), (3, 0, 31), (2, 1, 31)] {
            assert_eq!(q[64 * head + 32 * j + i], stored[64 * head + 2 * i + j], "{dtype:?}");
        }
    }
}
