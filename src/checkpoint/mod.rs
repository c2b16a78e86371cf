//! Checkpoints: models read from where they lie, and written so that they can be read again. Knows files, families and
//! tokenizers, not what is done with a model.
//!
//! A checkpoint is opened by its path, whatever it is: a Hugging Face folder of the Llama family or of GPT-2, a folder
//! that this module wrote, or a GGUF file of the llama architecture. Opening reads the description and the headers of all
//! files; weights are read as a model is built:
//!
//! ```no_run
//! use candle_core::{DType, Device};
//! use t2r::{checkpoint::Checkpoint, model::Decoder, params::Params};
//! # fn main() -> anyhow::Result<()> {
//! let checkpoint = Checkpoint::open("smollm2".as_ref())?;
//! // To train: every parameter carries a gradient, feature maps stand apart from projections.
//! let setup = checkpoint.setup().clone();
//! let params = Params::trainable(&Device::Cpu, DType::F32, 0);
//! let mut params = params.from_source(checkpoint.source_of(&setup));
//! let model = Decoder::new(&setup, &mut params)?;
//! // … train, and keep what came of it:
//! checkpoint.description().with_setup(&setup).save("out".as_ref(), &params, Some(&checkpoint.tokenizer()?))?;
//! // For inference: frozen, feature maps merged into projections where that is exact.
//! let (model, _) = checkpoint.decoder(&Device::Cpu, DType::F32)?;
//! # Ok(())
//! # }
//! ```

mod attention;
mod convert;
mod description;
mod error;
mod family;
mod gguf;
mod gguf_tokenizer;
mod gpt2;
mod json;
mod llama;
mod own;
mod safetensors;
mod source;
mod tokenizer;
mod write;

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use candle_core::{DType, Device, Tensor};

pub use convert::{Conversion, LayerChoice, break_even, sequence_bytes};
pub use description::{Description, SpecialTokens};
pub use error::{CheckpointError, Result};
pub use family::Family;
pub use tokenizer::{TextStream, Tokenizer};

use crate::{
    attention::Heads,
    model::{Decoder, Setup, Translator},
    params::{Params, Source},
};
use xxhash_rust::xxh3::Xxh3Default;

use self::safetensors::Safetensors;
use family::Place;
use gguf::Gguf;
use source::Stored;

/// A checkpoint that was opened: what it says of itself, and where its weights are.
pub struct Checkpoint {
    path: PathBuf,
    description: Description,
    weights: Arc<Weights>,
}

impl Checkpoint {
    /// Opens the folder or file at `path`; all headers are read, no weight is.
    ///
    /// # Errors
    /// Where there is no checkpoint, one of a kind that is not supported, or one whose files are damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let facts = path.metadata().map_err(|e| CheckpointError::unreadable(path, e))?;
        let (description, weights) = if facts.is_dir() {
            let description = Description::read(path)?;
            let files = Safetensors::open(path)?;
            let prefixed = files.shape(&format!("{}wte.weight", gpt2::PREFIX)).is_some();
            let prefix = if description.family() == Family::Gpt2 && prefixed { gpt2::PREFIX } else { "" };
            let family = description.family();
            (description, Weights::Safetensors { files, family, prefix })
        } else if path.extension().is_some_and(|e| e == "gguf") {
            let gguf = Gguf::open(path)?;
            let description = gguf.describe()?;
            let heads = description.setup.heads;
            (description, Weights::Gguf { gguf, heads })
        } else {
            return Err(CheckpointError::NotOne { path: path.display().to_string(), found: "another file".to_owned() });
        };
        Ok(Self { path: path.to_owned(), description, weights: Arc::new(weights) })
    }

    /// The folder or file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name for people and columns: the last part of its path, without `.gguf`.
    #[must_use]
    pub fn name(&self) -> String {
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let name = match path.extension() {
            Some(extension) if extension == "gguf" => path.file_stem(),
            _ => path.file_name(),
        };
        name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// Its name and a short hash of its files, which equal checkpoints share on every machine: `smollm2@1f2e3d4c`. Of large
    /// files the length, the beginning and the end are hashed.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn key(&self) -> Result<String> {
        let mut hash = Xxh3Default::new();
        hash.update(format!("{:?}", self.setup()).as_bytes());
        let files: Vec<&Path> = match &*self.weights {
            Weights::Gguf { gguf, .. } => vec![&gguf.file],
            Weights::Safetensors { files, .. } => files.files().iter().map(PathBuf::as_path).collect(),
        };
        for file in files {
            hash_ends(file, &mut hash).map_err(|e| CheckpointError::unreadable(file, e))?;
        }
        Ok(format!("{}@{:08x}", self.name(), hash.digest() >> 32))
    }

    /// What it says of itself.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The model: sizes, conventions and the attention of each layer, feature maps apart from projections.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.description.setup
    }

    /// Where [`Params`] find the parameters of `setup`: this model, or one with another attention in some layers. What
    /// those layers add is drawn; whatever else is missing or has another shape is an error that names file and tensor.
    #[must_use]
    pub fn source_of(&self, setup: &Setup) -> Box<dyn Source> {
        Box::new(Stored { weights: Arc::clone(&self.weights), new: new_parameters(self.setup(), setup) })
    }

    /// The model for inference, frozen, with feature maps merged where that is exact, and its parameters by name.
    ///
    /// # Errors
    /// Where a tensor is missing or damaged, the device has no room, or the model wants a source (see
    /// [`Checkpoint::translator`]).
    pub fn decoder(&self, device: &Device, dtype: DType) -> candle_core::Result<(Decoder, Params)> {
        if self.setup().has_encoder() {
            candle_core::bail!("{}: an encoder-decoder, expected a language model", self.path.display());
        }
        let setup = self.setup().merged();
        let mut params = Params::frozen(device, dtype, 0).from_source(self.source_of(&setup));
        Ok((Decoder::new(&setup, &mut params)?, params))
    }

    /// The same for an encoder-decoder.
    ///
    /// # Errors
    /// As [`Checkpoint::decoder`], and for a model without an encoder.
    pub fn translator(&self, device: &Device, dtype: DType) -> candle_core::Result<(Translator, Params)> {
        if !self.setup().has_encoder() {
            candle_core::bail!("{}: a language model, expected an encoder-decoder", self.path.display());
        }
        let setup = self.setup().merged();
        let mut params = Params::frozen(device, dtype, 0).from_source(self.source_of(&setup));
        Ok((Translator::new(&setup, &mut params)?, params))
    }

    /// The tokenizer in the checkpoint.
    ///
    /// # Errors
    /// Where there is none, it is damaged, or it knows more tokens than the model.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let tokenizer = match &*self.weights {
            Weights::Gguf { gguf, .. } => gguf_tokenizer::read(gguf)?,
            Weights::Safetensors { .. } => Tokenizer::open(&self.path.join(tokenizer::FILE))?,
        };
        tokenizer.must_fit(&self.path, self.setup().shape.vocab_size)?;
        Ok(tokenizer)
    }
}

/// Bytes of a file's beginning and end that are hashed.
const HASHED: u64 = 1 << 20;

fn hash_ends(file: &Path, hash: &mut Xxh3Default) -> io::Result<()> {
    let mut reader = File::open(file)?;
    let len = reader.metadata()?.len();
    hash.update(&len.to_le_bytes());
    for start in [0, len.saturating_sub(HASHED)] {
        let mut bytes = Vec::new();
        reader.seek(SeekFrom::Start(start))?;
        (&mut reader).take(HASHED).read_to_end(&mut bytes)?;
        hash.update(&bytes);
    }
    Ok(())
}

/// Beginnings of the names of parameters that a model with the attention of `to` has and one with that of `from` has not.
fn new_parameters(from: &Setup, to: &Setup) -> Vec<String> {
    let (from, to) = (from.unmerged(), to.unmerged());
    let mut new = Vec::new();
    for (i, after) in to.layers.iter().enumerate() {
        let before = from.layers.get(i);
        let mut add = |prefix: String| new.extend(["attention", "gate"].map(|part| format!("{prefix}.{part}.")));
        if before.is_none_or(|before| before.own != after.own) {
            add(format!("blocks.{i}"));
        }
        if after.cross.is_some() && before.is_none_or(|before| before.cross != after.cross) {
            add(format!("blocks.{i}.cross"));
        }
    }
    new
}

/// The tensors of a checkpoint.
enum Weights {
    Safetensors { files: Safetensors, family: Family, prefix: &'static str },
    Gguf { gguf: Gguf, heads: Heads },
}

impl Weights {
    /// Where a parameter of the model is kept; `None` for one that such a model does not have.
    fn place(&self, parameter: &str) -> Option<Place> {
        match self {
            Self::Gguf { gguf: _, heads } => gguf::place(parameter, *heads),
            Self::Safetensors { family, prefix, .. } => {
                let place = family.place(parameter)?;
                // The output stands beside what has the prefix.
                let prefix = if parameter == "output.weight" { "" } else { *prefix };
                Some(Place { tensor: format!("{prefix}{}", place.tensor), ..place })
            }
        }
    }

    fn shape(&self, tensor: &str) -> Option<&[usize]> {
        match self {
            Self::Gguf { gguf, .. } => gguf.shape(tensor),
            Self::Safetensors { files, .. } => files.shape(tensor),
        }
    }

    fn file_of(&self, tensor: &str) -> String {
        match self {
            Self::Gguf { gguf, .. } => gguf.file.display().to_string(),
            Self::Safetensors { files, .. } => files.file_of(tensor).display().to_string(),
        }
    }

    fn read(&self, tensor: &str) -> Result<Tensor> {
        match self {
            Self::Gguf { gguf, .. } => gguf.read(tensor),
            Self::Safetensors { files, .. } => files.read(tensor),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Gguf { .. } => "GGUF llama",
            Self::Safetensors { family, .. } => family.as_str(),
        }
    }
}
