//! A GGUF file of the llama architecture: its metadata as a configuration, its tensors dequantised.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use candle_core::{
    Device, Tensor,
    quantized::gguf_file::{Content, Value},
};

use super::{
    attention::softmax_layers,
    description::{Description, SpecialTokens},
    error::{CheckpointError, Result, unpanicked},
    family::{Place, of_block},
    json::MAX_SIZE,
    llama,
};
use crate::{
    attention::Heads,
    model::{Conventions, Setup},
    spec::{Activation, ModelShape, Norm, Positions, without_backtrace},
};

/// What the tensor library says of a file it cannot read, for people.
fn damage(e: &candle_core::Error) -> String {
    let said = e.to_string();
    match without_backtrace(&said) {
        "failed to fill whole buffer" => "the file ends too early".to_owned(),
        said => said.to_owned(),
    }
}

/// An opened file.
pub(super) struct Gguf {
    pub(super) file: PathBuf,
    pub(super) content: Content,
}

impl Gguf {
    /// Reads metadata and the list of tensors.
    pub(super) fn open(file: &Path) -> Result<Self> {
        let mut reader = BufReader::new(File::open(file).map_err(|e| CheckpointError::unreadable(file, e))?);
        let damaged = |message: String| CheckpointError::invalid(file, format!("no GGUF file, or damaged: {message}"));
        let content = unpanicked(|| Content::read(&mut reader)).map_err(damaged)?.map_err(|e| damaged(damage(&e)))?;
        Ok(Self { file: file.to_owned(), content })
    }

    /// Shape of a tensor as the file has it, rows first.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.content.tensor_infos.get(name).map(|info| info.shape.dims())
    }

    /// One tensor in f32, on the CPU.
    pub(super) fn read(&self, name: &str) -> Result<Tensor> {
        let mut reader = File::open(&self.file).map_err(|e| CheckpointError::unreadable(&self.file, e))?;
        let damaged = |message: String| CheckpointError::invalid(&self.file, format!("tensor '{name}': {message}"));
        let values = unpanicked(|| self.content.tensor(&mut reader, name, &Device::Cpu)?.dequantize(&Device::Cpu));
        values.map_err(damaged)?.map_err(|e| damaged(damage(&e)))
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.content.metadata.get(key)
    }

    fn wrong(&self, key: &str, expected: &str) -> CheckpointError {
        let found = match self.value(key) {
            None => "nothing".to_owned(),
            Some(Value::Array(_)) => "a list".to_owned(),
            Some(value) => format!("{value:?}"),
        };
        CheckpointError::invalid(&self.file, format!("metadata '{key}' is {found}, expected {expected}"))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    fn integer(&self, key: &str) -> Result<Option<u64>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::I32(n)) if *n >= 0 => Ok(Some(*n as u64)),
            Some(value) => value.to_u64().map(Some).map_err(|_e| self.wrong(key, "a whole number")),
        }
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        let Some(n) = self.integer(key)? else { return Ok(None) };
        let size = usize::try_from(n).ok().filter(|n| (1..=MAX_SIZE).contains(n));
        size.map(Some).ok_or_else(|| self.wrong(key, "a positive size"))
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| self.wrong(key, "a positive size"))
    }

    fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        let number = match self.value(key) {
            None => return Ok(default),
            Some(Value::F32(x)) => f64::from(*x),
            Some(Value::F64(x)) => *x,
            Some(_) => f64::NAN,
        };
        if number.is_finite() && number > 0.0 { Ok(number) } else { Err(self.wrong(key, "a positive number")) }
    }

    fn id(&self, key: &str) -> Result<Option<u32>> {
        let Some(n) = self.integer(key)? else { return Ok(None) };
        u32::try_from(n).map(Some).map_err(|_e| self.wrong(key, "a token id"))
    }

    /// What the file says of its model, in the words of the llama family.
    pub(super) fn describe(&self) -> Result<Description> {
        let architecture = self.text("general.architecture")?.unwrap_or("nothing");
        if architecture != "llama" {
            let found = format!("architecture '{architecture}'");
            return Err(CheckpointError::unsupported(&self.file, found, "'llama'"));
        }
        self.refuse_scaled_positions()?;
        let (d_model, n_heads) = (self.size("llama.embedding_length")?, self.size("llama.attention.head_count")?);
        let n_kv_heads = self.optional_size("llama.attention.head_count_kv")?.unwrap_or(n_heads);
        let head_dim = match self.optional_size("llama.attention.key_length")? {
            Some(given) => given,
            None => llama::head_dim(&self.file, d_model, n_heads)?,
        };
        let turned = self.optional_size("llama.rope.dimension_count")?.unwrap_or(head_dim);
        if turned != head_dim {
            let found = format!("rotary positions on {turned} of {head_dim} dimensions of a head");
            return Err(CheckpointError::unsupported(&self.file, found, "all of them"));
        }
        let vocab_size = match self.shape("token_embd.weight") {
            Some([rows, _]) => *rows,
            _ => self.size("llama.vocab_size")?,
        };
        let heads = Heads { n_heads, n_kv_heads, head_dim };
        llama::check_heads(&self.file, heads)?;
        let n_layers = self.size("llama.block_count")?;
        let has = |name: &str| self.shape(name).is_some();
        let shape = ModelShape {
            n_layers,
            d_model,
            ffn_dim: self.size("llama.feed_forward_length")?,
            vocab_size,
            norm: Norm::RmsNorm,
            positions: Positions::Rotary,
            activation: Activation::Swiglu,
            tied_output: !has("output.weight"),
        };
        let conventions = Conventions {
            norm_epsilon: self.number_or("llama.attention.layer_norm_rms_epsilon", 1e-5)?,
            rotary_base: self.number_or("llama.rope.freq_base", 10_000.0)?,
            qkv_bias: has("blk.0.attn_q.bias"),
            out_bias: has("blk.0.attn_output.bias"),
            ffn_bias: has("blk.0.ffn_up.bias"),
        };
        let layers = softmax_layers(&self.file, n_layers)?;
        let setup = Setup { shape, heads, layers, conventions, max_len: self.size("llama.context_length")? };
        let special = SpecialTokens {
            bos: self.id("tokenizer.ggml.bos_token_id")?,
            eos: self.id("tokenizer.ggml.eos_token_id")?.into_iter().collect(),
        };
        Ok(Description::own(&setup, special))
    }

    fn refuse_scaled_positions(&self) -> Result<()> {
        let scaling = self.text("llama.rope.scaling.type")?.unwrap_or("none");
        let found = match (scaling, self.shape("rope_freqs.weight")) {
            ("none", None) => return Ok(()),
            ("none", Some(_)) => "RoPE scaling by 'rope_freqs.weight'".to_owned(),
            (other, _) => format!("RoPE scaling '{other}'"),
        };
        Err(CheckpointError::unsupported(&self.file, found, "rotary positions without scaling"))
    }
}

/// Where a parameter is kept. Rows of queries and keys stand as rotary pairs in files of this architecture.
pub(super) fn place(parameter: &str, heads: Heads) -> Option<Place> {
    let whole = match parameter {
        "embedding" => Some("token_embd.weight"),
        "final_norm.weight" => Some("output_norm.weight"),
        "output.weight" => Some("output.weight"),
        _ => None,
    };
    if let Some(name) = whole {
        return Some(Place::of(name));
    }
    let (layer, part) = of_block(parameter)?;
    let (module, kind) = part.rsplit_once('.')?;
    let (name, paired_heads) = match module {
        "attention_norm" => ("attn_norm", None),
        "q" => ("attn_q", Some(heads.n_heads)),
        "k" => ("attn_k", Some(heads.n_kv_heads)),
        "v" => ("attn_v", None),
        "out" => ("attn_output", None),
        "ffn_norm" => ("ffn_norm", None),
        "ffn.gate" => ("ffn_gate", None),
        "ffn.up" => ("ffn_up", None),
        "ffn.down" => ("ffn_down", None),
        _ => return None,
    };
    Some(Place { paired_heads, ..Place::of(format!("blk.{layer}.{name}.{kind}")) })
}
