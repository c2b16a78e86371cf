//! The state of a training in one file, so that it goes on as if it had never stopped: variables, moments, and how far it
//! was. Safetensors, with the rest as text in its header; written beside and moved into place, so that a file is whole.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor, Var};
use safetensors::SafeTensors;
use serde::Serialize;

use super::{AdamW, Moments, Progress, Recipe};

/// What the header calls the identity and the progress.
const IDENTITY: &str = "t2r.identity";
const PROGRESS: &str = "t2r.progress";

/// Prefixes of the tensors: parameter, first and second moment.
const PARTS: [&str; 3] = ["parameter/", "first_moment/", "second_moment/"];

/// Why a training cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no snapshot, or not a whole one.
    #[error("{path} is no state of a training: {why}")]
    NotASnapshot {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
    /// It is of another training.
    #[error(
        "{path} is of another training: {what} was {then}, now {now}; give the options of that training, or begin anew with --force"
    )]
    Another {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
        /// Then.
        then: String,
        /// Now.
        now: String,
    },
}

/// What makes a training this one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Identity {
    /// Its settings.
    pub recipe: Recipe,
    /// A name of model and data.
    pub task: String,
}

/// A snapshot that was read.
pub(super) struct Snapshot {
    path: PathBuf,
    /// As it was written: numbers that are read and written again may differ in their last digit.
    identity: String,
    pub(super) progress: Progress,
    tensors: HashMap<String, Tensor>,
}

impl Snapshot {
    /// Writes the state as it is.
    pub(super) fn write(
        path: &Path,
        identity: &Identity,
        progress: Progress,
        vars: &BTreeMap<String, Var>,
        optimiser: &AdamW,
    ) -> anyhow::Result<()> {
        let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
        for (name, var) in vars {
            let Some(Moments { first, second }) = optimiser.moments().get(name) else { continue };
            for (part, tensor) in PARTS.iter().zip([var.as_tensor(), first, second]) {
                tensors.insert(format!("{part}{name}"), tensor.to_device(&Device::Cpu)?.contiguous()?);
            }
        }
        let header = HashMap::from([
            (IDENTITY.to_owned(), serde_json::to_string(identity)?),
            (PROGRESS.to_owned(), serde_json::to_string(&progress)?),
        ]);
        let failed = |source| SnapshotError::File { path: path.to_owned(), source };
        let part = path.with_extension("part");
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        safetensors::serialize_to_file(&tensors, Some(header), &part)?;
        fs::rename(&part, path).map_err(failed)?;
        Ok(())
    }

    /// Reads one.
    pub(super) fn read(path: &Path) -> Result<Self, SnapshotError> {
        let bytes = fs::read(path).map_err(|source| SnapshotError::File { path: path.to_owned(), source })?;
        let refuse = |why: String| SnapshotError::NotASnapshot { path: path.to_owned(), why };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| refuse(e.to_string()))?;
        let texts = header.metadata().clone().unwrap_or_default();
        let text = |name: &str| texts.get(name).ok_or_else(|| refuse(format!("its header has no {name}")));
        let identity = text(IDENTITY)?.clone();
        let progress = serde_json::from_str(text(PROGRESS)?).map_err(|e| refuse(format!("{PROGRESS}: {e}")))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| refuse(e.to_string()))?;
        Ok(Self { path: path.to_owned(), identity, progress, tensors })
    }

    /// Puts variables and moments back.
    pub(super) fn restore(
        &self,
        now: &Identity,
        vars: &BTreeMap<String, Var>,
        optimiser: &mut AdamW,
    ) -> anyhow::Result<()> {
        self.must_be(now)?;
        let mut moments = BTreeMap::new();
        let mut values = Vec::with_capacity(vars.len());
        for (name, var) in vars {
            let [parameter, first, second] = PARTS.map(|part| self.tensor(&format!("{part}{name}"), var));
            values.push((var, parameter?.to_dtype(var.dtype())?));
            moments.insert(name.clone(), Moments { first: first?, second: second? });
        }
        if self.tensors.len() != PARTS.len() * vars.len() {
            let why = format!("it holds {} tensors, and {} are trained", self.tensors.len() / PARTS.len(), vars.len());
            return Err(SnapshotError::NotASnapshot { path: self.path.clone(), why }.into());
        }
        // Nothing is changed before all of it is known to fit.
        for (var, value) in values {
            var.set(&value)?;
        }
        optimiser.restore(self.progress.step, moments);
        Ok(())
    }

    fn tensor(&self, name: &str, var: &Var) -> anyhow::Result<Tensor> {
        let refuse = |why: String| SnapshotError::NotASnapshot { path: self.path.clone(), why };
        let tensor = self.tensors.get(name).ok_or_else(|| refuse(format!("{name} is missing")))?;
        if tensor.shape() != var.shape() {
            let why = format!("{name} has shape {:?}, the model wants {:?}", tensor.dims(), var.dims());
            return Err(refuse(why).into());
        }
        Ok(tensor.to_device(var.device())?)
    }

    /// The first setting that differs is named.
    fn must_be(&self, now: &Identity) -> anyhow::Result<()> {
        if self.identity == serde_json::to_string(now)? {
            return Ok(());
        }
        let (then, now) = (flat(&serde_json::from_str(&self.identity)?), flat(&serde_json::to_value(now)?));
        let differs = |key: &&String| then.get(*key) != now.get(*key);
        let what = then.keys().chain(now.keys()).find(differs).cloned().unwrap_or_default();
        let of = |map: &BTreeMap<String, String>| map.get(&what).cloned().unwrap_or_else(|| "not there".to_owned());
        let (then, now) = (of(&then), of(&now));
        Err(SnapshotError::Another { path: self.path.clone(), what, then, now }.into())
    }
}

/// Leaves of a JSON value by their names.
fn flat(value: &serde_json::Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![(String::new(), value)];
    while let Some((name, value)) = open.pop() {
        match value {
            serde_json::Value::Object(map) => {
                open.extend(
                    map.iter().map(|(key, value)| (format!("{name}.{key}").trim_matches('.').to_owned(), value)),
                );
            }
            leaf => drop(found.insert(name, leaf.to_string())),
        }
    }
    found
}
