//! `pretrain`: a new model of any variant, from random weights, with a vocabulary learned from the text.

use std::path::Path;

use candle_core::DType;

use super::{
    args::PretrainArgs,
    data::Raw,
    folder::Folder,
    school::{School, Stage, answer_of, device, recipe},
    watch::{Watch, watched},
};
use crate::{
    attention::{Heads, ResolveRequest, resolve},
    checkpoint::{Description, SpecialTokens, Tokenizer},
    cli::{Answer, Ending, Failure, args::Talk},
    model::Setup,
    params::Params,
    spec::{Activation, ModelShape, Positions, VariantSpec},
    text::{END_OF_TEXT, learn_bpe},
    train::{Trained, Trainee},
};

/// Step size where none is given.
const LEARNING_RATE: f64 = 1e-3;

/// Trains a new model.
pub(in crate::cli) fn pretrain(args: &PretrainArgs, talk: Talk) -> Answer<Ending> {
    let own = args.clone();
    watched(args.train.tui, args.train.threads, talk, move |watch| train(&own, watch))
}

fn train(args: &PretrainArgs, watch: &Watch) -> Answer<(String, Ending)> {
    let recipe = recipe(&args.train, Trained::All, LEARNING_RATE)?;
    let raw = Raw::read(&args.data)?;
    let folder = Folder::new(&args.output);
    folder.must_be_free(args.train.force || args.train.resume)?;
    folder.ready(&["pretrain"], args.train.resume, args.train.force)?;
    let tokenizer = tokenizer(args, &raw)?;
    let setup = model(args, tokenizer.vocab_size(), raw.is_aligned())?;
    let device = device();
    let data = raw.encoded(&tokenizer, &args.train, args.data.validation_size, &device)?;
    watch.say(&data.outlook);
    watch.listen()?;
    let trainee = Trainee::new(&setup, Params::trainable(&device, DType::F32, args.train.seed), Trained::All)?;
    let end = tokenizer.id(END_OF_TEXT);
    let description = Description::own(&setup, SpecialTokens { bos: end, eos: end.into_iter().collect() });
    let school = School { description: &description, tokenizer: &tokenizer, data: &data, folder: &folder, watch };
    if !args.train.resume {
        // A training that is interrupted before its first look leaves a model all the same.
        school.keep(&trainee)?;
    }
    let stage = Stage { name: "pretrain", recipe, past: "", save_every: args.train.save_every };
    let report = school.train(&trainee, stage)?;
    let ending = if report.is_stopped() { Ending::Interrupted } else { Ending::Done };
    Ok((answer_of(&[report]).render(args.train.format)?, ending))
}

/// The tokenizer that is named, or one that is learned; that of a training that goes on is the one it began with.
fn tokenizer(args: &PretrainArgs, raw: &Raw) -> Answer<Tokenizer> {
    let own = args.output.join("tokenizer.json");
    let named = if args.train.resume { Some(own.as_path()) } else { args.tokenizer.as_deref() };
    Ok(match named {
        Some(file) => Tokenizer::open(file)?,
        None => Tokenizer::of(learn_bpe(raw.lines().into_iter(), args.vocab_size)?, Path::new("the new vocabulary"))?,
    })
}

fn model(args: &PretrainArgs, vocab_size: usize, pairs: bool) -> Answer<Setup> {
    let PretrainArgs { n_layers, d_model, n_heads, .. } = *args;
    let n_kv_heads = args.n_kv_heads.unwrap_or(n_heads);
    let refuse = |why: String| Err(Failure::Usage(why));
    if n_layers == 0 || n_heads == 0 || n_kv_heads == 0 {
        return refuse("a model has at least one layer and one head".into());
    }
    if !d_model.is_multiple_of(n_heads) || !n_heads.is_multiple_of(n_kv_heads) {
        return refuse(format!(
            "--d-model {d_model} must be a multiple of --n-heads {n_heads}, and that of --n-kv-heads {n_kv_heads}"
        ));
    }
    let head_dim = d_model / n_heads;
    if args.positions == Positions::Rotary && !head_dim.is_multiple_of(2) {
        return refuse(format!("rotary positions turn pairs: heads of width {head_dim} have a half pair"));
    }
    let ffn_dim =
        args.ffn_dim.unwrap_or(if args.activation == Activation::Swiglu { d_model * 8 / 3 } else { d_model * 4 });
    let shape = ModelShape {
        n_layers,
        d_model,
        ffn_dim,
        vocab_size,
        norm: args.norm,
        positions: args.positions,
        activation: args.activation,
        tied_output: true,
    };
    let variant = |spec: &VariantSpec, causal: bool| {
        let request = ResolveRequest { head_dim, feature_dim: None, can_merge: false, causal };
        resolve(spec, request).map_err(Failure::Usage)
    };
    let own = variant(&args.variant, true)?;
    let cross = match (pairs, &args.cross_variant) {
        (true, cross) => Some(variant(cross.as_ref().unwrap_or(&args.variant), false)?),
        (false, None) => None,
        (false, Some(_)) => return refuse("--cross-variant is for --source and --target".into()),
    };
    Ok(Setup::uniform(shape, Heads { n_heads, n_kv_heads, head_dim }, own, cross, args.train.seq_len))
}
