//! `convert`: the attention of a pretrained model swapped, and what that changes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device};
use clap::Args;

use super::{
    Answer, Ending, Failure, answer,
    args::{Form, Talk},
    say, setup,
};
use crate::{
    attention::is_merged,
    checkpoint::{Checkpoint, Conversion, LayerChoice, break_even, sequence_bytes},
    model::{Decoder, Setup, Translator},
    params::Params,
    report::Listing,
    spec::VariantSpec,
    sweep::Bytes,
};

/// The options of `convert`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(super) struct ConvertArgs {
    /// Checkpoint: a folder, or a .gguf file.
    #[arg(value_name = "CKPT")]
    checkpoint: PathBuf,
    /// Attention to swap to: t2r, elu, rfa, hedgehog, window+t2r, window:64, none, … (`t2r list variants`).
    #[arg(long, value_name = "VARIANT")]
    to: VariantSpec,
    /// Length of the feature map, for variants that leave it free [default: the variant's own].
    #[arg(long, value_name = "SIZE")]
    feature_dim: Option<usize>,
    /// Length of the feature map in cross-attention [default: as in self-attention].
    #[arg(long, value_name = "SIZE")]
    cross_feature_dim: Option<usize>,
    /// Layers to swap: all, a share (75%: the top layer and every fourth below it stay), or a list counted from 0 at the
    /// bottom (0-5,9).
    #[arg(long, value_name = "WHICH", default_value = "all")]
    layers: LayerChoice,
    /// Seed of what is new.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Folder to write the converted model to.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Write over a checkpoint that is there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    form: Form,
}

/// Answers `convert`.
pub(super) fn convert(args: &ConvertArgs, talk: Talk) -> Answer<Ending> {
    setup::set_threads(setup::threads(None)?);
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    if args.cross_feature_dim.is_some() && !checkpoint.setup().has_encoder() {
        let message = "--cross-feature-dim is for encoder-decoders, and the checkpoint is none; leave it out";
        return Err(Failure::Usage(message.into()));
    }
    must_be_free(&args.output, args.force)?;
    let conversion = Conversion {
        to: args.to.clone(),
        feature_dim: args.feature_dim,
        cross_feature_dim: args.cross_feature_dim,
        layers: args.layers.clone(),
    };
    let after = conversion.apply(checkpoint.setup()).map_err(Failure::Usage)?;
    let params = Params::frozen(&Device::Cpu, DType::F32, args.seed);
    let mut params = params.from_source(checkpoint.source_of(&after));
    match after.has_encoder() {
        true => drop(Translator::new(&after, &mut params)?),
        false => drop(Decoder::new(&after, &mut params)?),
    }
    // A model can do without a tokenizer; what is damaged is said.
    let tokenizer = match checkpoint.tokenizer() {
        Ok(tokenizer) => Some(tokenizer),
        Err(e) => {
            say(&format!("warning: the model is written without a tokenizer: {e}"));
            None
        }
    };
    checkpoint.description().with_setup(&after).save(&args.output, &params, tokenizer.as_ref())?;
    answer(&parameters(&params).render(args.form.format)?)?;
    if !talk.quiet {
        say(&outcome(checkpoint.setup(), &after, &args.output));
    }
    Ok(Ending::Done)
}

/// Refuses to mix a model with what is there already.
fn must_be_free(folder: &Path, force: bool) -> Answer<()> {
    let taken = folder.is_file() || folder.join("config.json").exists() || folder.join("model.safetensors").exists();
    match taken && !force {
        true => Err(Failure::CouldNotRun(anyhow::anyhow!(
            "{} holds something already; choose another folder or give --force",
            folder.display()
        ))),
        false => Ok(()),
    }
}

/// Parameters alike but for their layer, as one row: where they are from, tensors and numbers.
fn parameters(params: &Params) -> Listing {
    let mut rows: BTreeMap<(bool, String), (usize, usize)> = BTreeMap::new();
    for (name, tensor) in params.tensors() {
        let alike: Vec<&str> =
            name.split('.').map(|part| if part.bytes().all(|b| b.is_ascii_digit()) { "*" } else { part }).collect();
        let row = rows.entry((params.drawn().contains(name), alike.join("."))).or_default();
        *row = (row.0 + 1, row.1 + tensor.elem_count());
    }
    let mut list = Listing::new(&["parameter", "origin", "tensors", "numbers"]);
    for ((drawn, name), (tensors, numbers)) in rows {
        let origin = if drawn { "new" } else { "copied" };
        list.push(vec![name.into(), origin.into(), tensors.into(), numbers.into()]);
    }
    list
}

/// The state before and after, for people.
fn outcome(before: &Setup, after: &Setup, folder: &Path) -> String {
    let n = after.layers.len();
    let swapped = before.unmerged().layers.iter().zip(&after.layers).filter(|(before, after)| before != after).count();
    let bytes = |setup: &Setup, len: usize| sequence_bytes(setup, len).map_or("?".to_owned(), |b| Bytes(b).to_string());
    let lengths = [128, 1024, 8192];
    let of = |setup: &Setup| lengths.map(|len| bytes(setup, len)).join(", ");
    let even = match break_even(before, after) {
        Some(len) => format!("less from {len} tokens on"),
        None => "never less".to_owned(),
    };
    let merged = match after.merged().layers.iter().any(|l| is_merged(&l.own.spec)) {
        true => "\nfeature maps are merged into projections at inference",
        false => "",
    };
    format!(
        "{swapped} of {n} layers swapped; wrote {}\nstate of a sequence of 128, 1024, 8192 tokens: {} before, {} after, \
         {even}{merged}",
        folder.display(),
        of(before),
        of(after)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_all_layers_are_one_row() {
        let mut params = Params::frozen(&Device::Cpu, DType::F32, 0);
        for i in 0..3 {
            params.get(&format!("blocks.{i}.q.weight"), (2, 5), crate::params::Init::Constant(0.0)).unwrap();
        }
        let text = parameters(&params).render(crate::report::Format::Json).unwrap();
        let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(rows.as_array().map(Vec::len), Some(1));
        let row = &rows[0];
        assert_eq!((&row["parameter"], &row["origin"]), (&"blocks.*.q.weight".into(), &"new".into()));
        assert_eq!((&row["tensors"], &row["numbers"]), (&3.into(), &30.into()));
    }
}
