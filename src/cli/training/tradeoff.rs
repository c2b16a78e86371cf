//! `tradeoff`: a profile of models, trained and judged one by one.

use std::path::Path;

use candle_core::DType;

use super::{
    args::TradeoffArgs,
    school::device,
    watch::{Watch, watched},
};
use crate::{
    checkpoint::{Checkpoint, Tokenizer},
    cli::{Answer, Ending, Failure, answer, args::Talk, setup},
    measure::MonotonicClock,
    model::{Decoder, LayerAttention, Translator},
    params::Params,
    report::Listing,
    store::QualityRow,
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
    let own = args.clone();
    watched(args.tui, args.threads, talk, move |watch| train(&own, &profile, watch))
}

fn train(args: &TradeoffArgs, profile: &TradeoffProfile, watch: &Watch) -> Answer<(String, Ending)> {
    let inputs = Inputs {
        text: args.text.clone(),
        source: args.source.clone(),
        target: args.target.clone(),
        groups: args.groups.clone(),
    };
    let given = args.model.as_deref().map(given).transpose()?;
    let id = id_of(profile, &inputs, given.as_ref().map(|g| g.name.as_str()))?;
    let material = Material::new(profile, &inputs, given.as_ref().map(|g| g.tokenizer.inner()))?;
    let (path, mut rows) = match (&args.csv, &args.resume) {
        (Some(path), _) => (path, Rows::begin(path, args.force)?),
        (None, Some(path)) => (path, Rows::resume(path, &id, profile.decode.lengths.len())?),
        (None, None) => return Err(Failure::Usage("give --csv PATH, or --resume PATH".into())),
    };
    watch.listen()?;
    let stop = || watch.stop();
    let tradeoff = Tradeoff {
        profile,
        material: &material,
        given: given.map(|g| g.teacher),
        device: &device(),
        clock: &MonotonicClock::default(),
        stop: &stop,
        machine: &setup::machine(),
        n_threads: setup::threads(args.threads)?,
        speeds_again: args.speeds_again,
    };
    let qualities = |rows: &Rows| rows.all().iter().map(quality_of).collect::<Vec<_>>();
    let judged = qualities(&rows);
    watch.judged(&judged);
    let mut telling = Telling { watch, judged, people: None };
    let ended = tradeoff.run(&id, &mut rows, path, &mut telling)?;
    watch.judged(&qualities(&rows));
    let ending = if ended == Ended::Stopped { Ending::Interrupted } else { Ending::Done };
    Ok((table(rows.all()).render(args.format)?, ending))
}

/// What the dashboard shows of a model.
fn quality_of(row: &Row) -> QualityRow {
    QualityRow {
        variant: row.variant.clone(),
        detail: row.cross_variant.iter().map(|cross| format!("× {cross} ")).collect::<String>() + &row.label,
        perplexity: Some(row.perplexity),
        bleu: row.bleu,
        accuracy: Some(row.accuracy),
        tokens_per_s: row.tokens_per_s,
        state_bytes: row.state_bytes.map(|bytes| bytes as f64),
        seq_len: Some(row.seq_len as f64),
    }
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
struct Telling<'a> {
    watch: &'a Watch,
    judged: Vec<QualityRow>,
    /// Who hears of the training in hand.
    people: Option<Box<dyn Listener>>,
}

impl Listener for Telling<'_> {
    fn on_event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        self.people.as_mut().map_or(Ok(()), |people| people.on_event(event))
    }
}

impl Watcher for Telling<'_> {
    fn begun(&mut self, run: &Run, at: usize, of: usize) {
        self.watch.say(&format!("[{}/{of}] {}", at + 1, run.label()));
        self.people = Some(self.watch.begin(&run.label(), true, None));
    }

    fn done(&mut self, row: &Row) {
        let bleu = row.bleu.map_or_else(String::new, |bleu| format!(" · BLEU {bleu:.2}"));
        self.watch.say(&format!(
            "  perplexity {:.3} · {:.1} % right{bleu} · {} tokens in {:.0} s",
            row.perplexity,
            100.0 * row.accuracy,
            row.train_tokens,
            row.train_s,
        ));
        self.judged.push(quality_of(row));
        self.watch.judged(&self.judged);
    }

    fn timing(&mut self, round: usize, rounds: usize) {
        self.watch.say(&format!("decoding speeds, round {round} of {rounds}"));
    }
}
