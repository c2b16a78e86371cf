//! `tradeoff`: a profile of models, trained and judged one by one.

use std::path::Path;

use candle_core::DType;

use super::{args::TradeoffArgs, school::device};
use crate::{
    checkpoint::{Checkpoint, Tokenizer},
    cli::{Answer, Ending, Failure, answer, args::Talk, run as of_run, say, setup, stop},
    measure::MonotonicClock,
    model::{Decoder, LayerAttention, Translator},
    params::Params,
    progress::TrainProgress,
    report::Listing,
    tradeoff::{
        Inputs, Material, Row, Rows, Run, Teacher, Tradeoff, TradeoffProfile, Watcher, id_of, load, runs, table,
        values_of,
    },
    train::{Ended, Listener, TrainEvent},
};

/// Trains and judges what a profile says.
pub(in crate::cli) fn tradeoff(args: &TradeoffArgs, talk: Talk) -> Answer<Ending> {
    let profile = load(&args.profile).map_err(Failure::Usage)?;
    if args.dry_run {
        answer(&planned(&profile).render(args.format)?)?;
        return Ok(Ending::Done);
    }
    if profile.given.is_some() && args.model.is_none() {
        return Err(Failure::Usage(format!(
            "profile {} converts a model that is there: give --model PATH",
            profile.name
        )));
    }
    let n_threads = setup::threads(args.threads)?;
    setup::set_threads(n_threads);
    let inputs = Inputs {
        text: args.text.clone(),
        source: args.source.clone(),
        target: args.target.clone(),
        groups: args.groups.clone(),
    };
    let given = args.model.as_deref().map(given).transpose()?;
    let id = id_of(&profile, &inputs, given.as_ref().map(|g| g.name.as_str()))?;
    let material = Material::new(&profile, &inputs, given.as_ref().map(|g| g.tokenizer.inner()))?;
    let (path, mut rows) = match (&args.csv, &args.resume) {
        (Some(path), _) => (path, Rows::begin(path, args.force)?),
        (None, Some(path)) => (path, Rows::resume(path, &id, profile.decode.lengths.len())?),
        (None, None) => return Err(Failure::Usage("give --csv PATH, or --resume PATH".into())),
    };
    stop::listen()?;
    let tradeoff = Tradeoff {
        profile: &profile,
        material: &material,
        given: given.map(|g| g.teacher),
        device: &device(),
        clock: &MonotonicClock::default(),
        stop: &stop::asked,
        machine: &setup::machine(),
        n_threads,
        speeds_again: args.speeds_again,
    };
    let mut telling = Telling { progress: TrainProgress::new(of_run::manner(talk)), talk };
    let ended = tradeoff.run(&id, &mut rows, path, &mut telling)?;
    answer(&table(rows.all()).render(args.format)?)?;
    Ok(if ended == Ended::Stopped { Ending::Interrupted } else { Ending::Done })
}

/// A model that is there already.
struct Given {
    name: String,
    teacher: Teacher,
    tokenizer: Tokenizer,
}

fn given(path: &Path) -> Answer<Given> {
    let checkpoint = Checkpoint::open(path)?;
    let setup = checkpoint.setup().clone();
    let is_softmax = |layer: &LayerAttention| layer.own.spec.name == "softmax";
    if !setup.layers.iter().all(is_softmax) {
        return Err(anyhow::anyhow!("{} is converted already: a tradeoff begins with softmax", path.display()).into());
    }
    let mut params = Params::frozen(&device(), DType::F32, 0).from_source(checkpoint.source_of(&setup));
    match setup.has_encoder() {
        true => drop(Translator::new(&setup, &mut params)?),
        false => drop(Decoder::new(&setup, &mut params)?),
    }
    let name = format!("{} {setup:?}", path.canonicalize()?.display());
    let teacher = Teacher { setup, values: values_of(&params), tokens: None };
    Ok(Given { name, teacher, tokenizer: checkpoint.tokenizer()? })
}

/// The models of a profile.
fn planned(profile: &TradeoffProfile) -> Listing {
    let mut list = Listing::new(&["model", "variant", "cross", "layers", "way", "seed"]);
    for (i, run) in runs(profile).into_iter().enumerate() {
        let Run { variant, cross, layers, way, seed } = run;
        let text = |value: String| serde_json::Value::from(value);
        let cross = cross.map(|c| c.to_string());
        list.push(vec![
            (i + 1).into(),
            text(variant.to_string()),
            cross.into(),
            text(layers.to_string()),
            text(way.to_string()),
            seed.into(),
        ]);
    }
    list
}

/// Tells which model is in hand, how its training goes and what came of it.
struct Telling {
    progress: TrainProgress,
    talk: Talk,
}

impl Listener for Telling {
    fn on_event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        // Of many trainings in a row, single updates are told only where much is to be said, or in a bar.
        self.progress.on_event(event)
    }
}

impl Watcher for Telling {
    fn begun(&mut self, run: &Run, at: usize, of: usize) {
        if !self.talk.quiet {
            say(&format!("[{}/{of}] {}", at + 1, run.label()));
        }
    }

    fn done(&mut self, row: &Row) {
        if self.talk.quiet {
            return;
        }
        let bleu = row.bleu.map_or_else(String::new, |bleu| format!(" · BLEU {bleu:.2}"));
        say(&format!(
            "  perplexity {:.3} · {:.1} % right{bleu} · {} tokens in {:.0} s",
            row.perplexity,
            100.0 * row.accuracy,
            row.train_tokens,
            row.train_s,
        ));
    }
    fn timing(&mut self, round: usize, rounds: usize) {
        if !self.talk.quiet {
            say(&format!("decoding speeds, round {round} of {rounds}"));
        }
    }
}
