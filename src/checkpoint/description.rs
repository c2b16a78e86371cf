//! All that a checkpoint says beside its weights: the model, special tokens, and `config.json` in its family's words.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{
    attention,
    error::{CheckpointError, Result},
    family::Family,
    gpt2,
    json::{Keys, read_object},
    llama, own,
};
use crate::model::Setup;

/// Tokens with a meaning for generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Each of them ends a text.
    pub eos: Vec<u32>,
}

/// What a checkpoint is.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The model; feature maps stand apart from projections.
    pub setup: Setup,
    /// Its special tokens.
    pub special: SpecialTokens,
    family: Family,
    /// `config.json` without what is said of attention.
    config: Map<String, Value>,
}

impl Description {
    /// A model of our own making, or one that has no `config.json`: in the layout of the family that has its shape, so that
    /// other programs can read it too, and else in this program's own.
    #[must_use]
    pub fn own(setup: &Setup, special: SpecialTokens) -> Self {
        let (setup, family) = (setup.unmerged(), Family::of_shape(setup));
        let mut config = match family {
            Family::Llama => llama::config(&setup),
            Family::Gpt2 => gpt2::config(&setup),
            Family::Own => own::config(&setup),
        };
        if let Some(bos) = special.bos {
            config.insert("bos_token_id".to_owned(), bos.into());
        }
        if !special.eos.is_empty() {
            config.insert("eos_token_id".to_owned(), special.eos.clone().into());
        }
        Self { setup, special, family, config }
    }

    /// How it is laid out.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// The same with another attention in its layers.
    #[must_use]
    pub fn with_setup(&self, setup: &Setup) -> Self {
        Self { setup: setup.unmerged(), ..self.clone() }
    }

    /// Reads the `config.json` of a folder, and the end-of-text tokens of its `generation_config.json`.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let file = folder.join("config.json");
        let mut config = read_object(&file)?;
        let of_attention = config.remove("t2r").filter(|value| !value.is_null());
        let keys = Keys { file: &file, map: &config };
        let own_keys = match &of_attention {
            None => None,
            Some(Value::Object(map)) => Some(Keys { file: &file, map }),
            Some(_) => return Err(CheckpointError::invalid(&file, "'t2r' is no object")),
        };
        let model_type = match own_keys {
            Some(own) => own.text("model_type")?,
            None => keys.text("model_type")?,
        };
        let (family, mut setup) = match model_type {
            "own" => (Family::Own, own::setup(keys)?),
            "gpt2" => (Family::Gpt2, gpt2::setup(keys)?),
            other if llama::MODEL_TYPES.contains(&other) => (Family::Llama, llama::setup(keys, other)?),
            other => {
                let found = format!("model_type '{other}'");
                let expected = format!("{}, gpt2 or a model written by t2r", llama::MODEL_TYPES.join(", "));
                return Err(CheckpointError::unsupported(&file, found, expected));
            }
        };
        if let Some(own) = own_keys {
            attention::read(own, &mut setup)?;
        }
        let special = special_tokens(folder, keys)?;
        let model_type = model_type.to_owned();
        config.insert("model_type".to_owned(), model_type.into());
        Ok(Self { setup, special, family, config })
    }

    /// `config.json` as it is written, with weights in f32. A model whose attention is not all softmax is no longer what its family's programs
    /// would take it for, so that its model type says so.
    #[must_use]
    pub(super) fn config(&self) -> Map<String, Value> {
        let mut config = self.config.clone();
        for key in ["torch_dtype", "dtype"] {
            if let Some(dtype) = config.get_mut(key) {
                *dtype = "float32".into();
            }
        }
        let is_plain = self.setup.layers.iter().all(|l| l.own == attention::softmax() && l.cross.is_none());
        if self.family == Family::Own || !is_plain {
            let model_type = config.get("model_type").cloned().unwrap_or_else(|| self.family.as_str().into());
            config.insert(
                "t2r".to_owned(),
                json!({ "model_type": model_type, "layers": attention::written(&self.setup) }),
            );
            config.insert("model_type".to_owned(), "t2r".into());
            config.insert("architectures".to_owned(), json!(["T2rModel"]));
        }
        config
    }
}

fn special_tokens(folder: &Path, keys: Keys<'_>) -> Result<SpecialTokens> {
    let bos = keys.ids("bos_token_id")?.first().copied();
    let mut eos = keys.ids("eos_token_id")?;
    let generation = folder.join("generation_config.json");
    if generation.is_file() {
        let map = read_object(&generation)?;
        eos.extend(Keys { file: &generation, map: &map }.ids("eos_token_id")?);
    }
    eos.sort_unstable();
    eos.dedup();
    Ok(SpecialTokens { bos, eos })
}
