//! Tensors in one safetensors file or in several that an index lists. Knows headers and bytes, not what tensors are for.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, Metadata};
use serde_json::Value;

use super::{
    error::{CheckpointError, Result},
    json::{Keys, read_object},
};

/// The name of a checkpoint's only file of tensors.
pub(super) const SINGLE: &str = "model.safetensors";

/// The name of the list of its files where there are several.
const INDEX: &str = "model.safetensors.index.json";

/// Headers beyond this are damage.
const MAX_HEADER: u64 = 100_000_000;

/// Where one tensor lies.
#[derive(Debug)]
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    start: u64,
    bytes: usize,
}

/// The tensors of a folder by name.
#[derive(Debug)]
pub(super) struct Safetensors {
    files: Vec<PathBuf>,
    entries: BTreeMap<String, Entry>,
}

impl Safetensors {
    /// Reads all headers of `model.safetensors`, or of the files that `model.safetensors.index.json` lists.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
        if single.is_file() {
            return Self::of_files(vec![single]);
        }
        if !index.is_file() {
            return Err(CheckpointError::NotOne {
                path: folder.display().to_string(),
                found: format!("neither {SINGLE} nor {INDEX}"),
            });
        }
        let object = read_object(&index)?;
        let keys = Keys { file: &index, map: &object };
        let Some(map) = keys.optional_object("weight_map")? else {
            return Err(CheckpointError::invalid(&index, "'weight_map' is missing, expected an object"));
        };
        let mut names: Vec<&str> = Vec::new();
        for (tensor, file) in map.map {
            match file {
                // A name that leads elsewhere would be no file of this folder.
                Value::String(name) if !name.contains(['/', '\\']) && name != ".." => names.push(name),
                other => {
                    let message = format!("'{tensor}' is said to be in {other}, expected a file name");
                    return Err(CheckpointError::invalid(&index, message));
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        let all = Self::of_files(names.iter().map(|name| folder.join(name)).collect())?;
        match map.map.keys().find(|name| !all.entries.contains_key(*name)) {
            None => Ok(all),
            Some(name) => Err(CheckpointError::invalid(&index, format!("tensor '{name}' is in none of its files"))),
        }
    }

    fn of_files(files: Vec<PathBuf>) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (i, path) in files.iter().enumerate() {
            for (name, entry) in header(path, i)? {
                if entries.insert(name.clone(), entry).is_some() {
                    return Err(CheckpointError::invalid(path, format!("tensor '{name}' is in another file too")));
                }
            }
        }
        Ok(Self { files, entries })
    }

    /// Shape of a tensor as the file has it.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| entry.shape.as_slice())
    }

    /// The file that holds a tensor, or the first where none does.
    pub(super) fn file_of(&self, name: &str) -> &Path {
        let i = self.entries.get(name).map_or(0, |entry| entry.file);
        self.files.get(i).map_or(Path::new(SINGLE), PathBuf::as_path)
    }

    /// Every file.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// One tensor, on the CPU.
    pub(super) fn read(&self, name: &str) -> Result<Tensor> {
        let path = self.file_of(name);
        let Some(entry) = self.entries.get(name) else {
            return Err(CheckpointError::invalid(path, format!("no tensor '{name}'")));
        };
        let dtype = match entry.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::F64 => DType::F64,
            other => {
                return Err(CheckpointError::Tensor {
                    file: path.display().to_string(),
                    tensor: name.to_owned(),
                    expected: "numbers in F32, F16, BF16 or F64".to_owned(),
                    found: other.to_string(),
                });
            }
        };
        let mut bytes = vec![0; entry.bytes];
        let mut file = File::open(path).map_err(|e| CheckpointError::unreadable(path, e))?;
        let read = file.seek(SeekFrom::Start(entry.start)).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|e| CheckpointError::unreadable(path, e))?;
        Tensor::from_raw_buffer(&bytes, dtype, &entry.shape, &Device::Cpu)
            .map_err(|e| CheckpointError::invalid(path, format!("tensor '{name}': {e}")))
    }
}

/// Name and place of every tensor of a file, which must be as long as its header says.
fn header(path: &Path, file: usize) -> Result<Vec<(String, Entry)>> {
    let unreadable = |e| CheckpointError::unreadable(path, e);
    let mut reader = File::open(path).map_err(unreadable)?;
    let len = reader.metadata().map_err(unreadable)?.len();
    let mut size = [0; 8];
    if len < 8 {
        return Err(CheckpointError::invalid(path, format!("truncated: {len} bytes, expected a header of at least 8")));
    }
    reader.read_exact(&mut size).map_err(unreadable)?;
    let size = u64::from_le_bytes(size);
    if size > MAX_HEADER || size > len - 8 {
        let message = format!("no safetensors file, or truncated: its header would be {size} bytes of {len}");
        return Err(CheckpointError::invalid(path, message));
    }
    let mut text = vec![0; size as usize];
    reader.read_exact(&mut text).map_err(unreadable)?;
    let metadata: Metadata = serde_json::from_slice(&text)
        .map_err(|e| CheckpointError::invalid(path, format!("damaged safetensors header: {e}")))?;
    let begin = 8 + size;
    let expected = begin.checked_add(metadata.data_len() as u64);
    if expected != Some(len) {
        let expected = expected.map_or_else(|| "more than any file has".to_owned(), |n| n.to_string());
        return Err(CheckpointError::invalid(path, format!("truncated: expected {expected} bytes, found {len}")));
    }
    let entry = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let (start, end) = info.data_offsets;
        let entry = Entry {
            file,
            dtype: info.dtype,
            shape: info.shape.clone(),
            start: begin + start as u64,
            bytes: end - start,
        };
        (name, entry)
    };
    Ok(metadata.tensors().into_iter().map(entry).collect())
}
