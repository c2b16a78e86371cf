//! `eval`: how well a model predicts a text, and how far its attention is from a teacher's.

use std::{path::PathBuf, time::Instant};

use candle_core::Tensor;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{
    Answer, Ending, Failure, answer,
    args::{Form, Talk},
    models::{self, Place},
    say, stop,
    training::{self, BleuArgs},
};
use crate::{
    checkpoint::{Checkpoint, Tokenizer},
    inference::{Score, Windows, attention_distance, kernels, perplexity},
    model::Decoder,
    report::{Format, Listing},
    spec::DType,
    sweep::nine_digits,
};

/// Windows over which attention is compared where nobody says how many: each takes the time of many.
const DISTANCE_WINDOWS: usize = 2;

/// The options of `eval`.
#[derive(Debug, Clone, PartialEq, Args)]
pub(super) struct EvalArgs {
    /// Checkpoint: a folder, or a .gguf file.
    #[arg(value_name = "CKPT", required_unless_present = "hypotheses")]
    checkpoint: Option<PathBuf>,
    /// Text files, scored as one text; `-` is stdin.
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "target", conflicts_with = "target")]
    text: Vec<PathBuf>,
    /// Tokens of a window.
    #[arg(long, value_name = "N", default_value_t = 512)]
    window: usize,
    /// Tokens from the start of one window to the start of the next [default: as many as a window has].
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// Windows at the most, from the start of the text.
    #[arg(long, value_name = "N")]
    max_windows: Option<usize>,
    /// Also say for each layer how far its attention weights are from those of this softmax model (over the first 2
    /// windows, or --max-windows).
    #[arg(long, value_name = "CKPT")]
    teacher: Option<PathBuf>,
    /// What weights are kept in, as `generate` would: bf16 rounds them.
    #[arg(long, value_name = "DTYPE", default_value_t = DType::F32)]
    dtype: DType,
    #[command(flatten)]
    translations: BleuArgs,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    form: Form,
}

/// Answers `eval`.
pub(super) fn eval(args: &EvalArgs, talk: Talk) -> Answer<Ending> {
    let windows = windows(args)?;
    let device = args.place.open()?;
    if args.translations.is_asked() {
        training::score(args.checkpoint.as_deref(), &args.translations, args.form.format)?;
        return Ok(Ending::Done);
    }
    let Some(path) = &args.checkpoint else { return Err(Failure::Usage("give a checkpoint".into())) };
    let checkpoint = Checkpoint::open(path)?;
    let (ids, ends) = ids(&checkpoint.tokenizer()?, args)?;
    let model = models::decoder(&checkpoint, &device, args.dtype)?;
    let known = model.setup().max_len;
    if args.window > known && !talk.quiet {
        say(&format!("warning: windows of {} tokens; the model was made for at most {known}", args.window));
    }
    stop::listen()?;
    let begun = Instant::now();
    let score = scored(&model, &ids, windows, talk)?;
    let seconds = begun.elapsed().as_secs_f64();
    let distances = match &args.teacher {
        Some(path) if !stop::asked() => Some(distances(args, &checkpoint, &model, path, &ids)?),
        _ => None,
    };
    let bytes = score.covered.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(0);
    answer(&rendered(&score, bytes, seconds, distances.as_deref(), &model, args.form.format)?)?;
    Ok(if stop::asked() { Ending::Interrupted } else { Ending::Done })
}

fn windows(args: &EvalArgs) -> Answer<Windows> {
    let stride = args.stride.unwrap_or(args.window);
    if args.window < 2 {
        let message = format!("--window {}: a token is predicted from those before it; give at least 2", args.window);
        return Err(Failure::Usage(message));
    }
    if stride == 0 || stride > args.window {
        return Err(Failure::Usage(format!("--stride {stride}: give from 1 to the {} of --window", args.window)));
    }
    if args.max_windows == Some(0) {
        return Err(Failure::Usage("--max-windows 0: nothing would be scored; give at least 1".into()));
    }
    Ok(Windows { len: args.window, stride, max: args.max_windows })
}

/// Ids of the text and the byte at which each token ends.
fn ids(tokenizer: &Tokenizer, args: &EvalArgs) -> Answer<(Vec<u32>, Vec<usize>)> {
    let (ids, ends) = tokenizer.encode_with_ends(&models::text(&args.text)?)?;
    if ids.len() < 2 {
        let message = format!("the text has {}, too few to predict one from another", tokens(ids.len()));
        return Err(Failure::CouldNotRun(anyhow::Error::msg(message)));
    }
    Ok((ids, ends))
}

fn tokens(n: usize) -> String {
    format!("{n} token{}", if n == 1 { "" } else { "s" })
}

fn scored(model: &Decoder, ids: &[u32], windows: Windows, talk: Talk) -> Answer<Score> {
    let bar = if talk.quiet { ProgressBar::hidden() } else { ProgressBar::new(windows.over(ids.len()).count() as u64) };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} windows, {msg}, {eta} left") {
        bar.set_style(style);
    }
    let mut after = |score: &Score| {
        bar.set_message(score.perplexity().map_or_else(String::new, |p| format!("perplexity {p:.3}")));
        bar.inc(1);
        !stop::asked()
    };
    let score = perplexity(model, ids, windows, kernels(model), &mut after);
    bar.finish_and_clear();
    Ok(score?)
}

/// Distance of each layer's attention from the teacher's, the mean over windows.
fn distances(
    args: &EvalArgs,
    checkpoint: &Checkpoint,
    model: &Decoder,
    teacher: &std::path::Path,
    ids: &[u32],
) -> Answer<Vec<f64>> {
    let teacher = Checkpoint::open(teacher)?;
    if teacher.setup().shape != checkpoint.setup().shape || teacher.setup().heads != checkpoint.setup().heads {
        let message = format!("--teacher {}: a model of another shape has no attention to compare", teacher.name());
        return Err(Failure::CouldNotRun(anyhow::Error::msg(message)));
    }
    let teacher = models::decoder(&teacher, model.device(), DType::F32)?;
    let mut sums = vec![0.0; model.blocks().len()];
    let max = args.max_windows.unwrap_or(DISTANCE_WINDOWS);
    let windows = Windows { len: args.window, stride: args.window, max: Some(max) };
    let mut n = 0.0;
    for window in windows.over(ids.len()) {
        let ids = &ids[window.start..window.end];
        let ids = Tensor::from_slice(ids, (1, ids.len()), model.device())?;
        let of_window = attention_distance(model, &teacher, &ids, kernels(model))?;
        sums.iter_mut().zip(of_window).for_each(|(sum, distance)| *sum += distance);
        n += 1.0;
    }
    Ok(sums.into_iter().map(|sum| sum / n).collect())
}

fn rendered(
    score: &Score,
    bytes: usize,
    seconds: f64,
    distances: Option<&[f64]>,
    model: &Decoder,
    format: Format,
) -> Answer<String> {
    let mut columns = vec!["perplexity", "nll", "tokens", "windows", "bits_per_byte", "tokens_per_s"];
    let number = |x: Option<f64>| x.filter(|x| x.is_finite()).map_or(Value::Null, |x| nine_digits(x).into());
    let mut row = vec![
        number(score.perplexity()),
        number(score.nll()),
        score.tokens.into(),
        score.windows.into(),
        number(score.bits_per_byte(bytes)),
        number((seconds > 0.0).then(|| score.tokens as f64 / seconds)),
    ];
    let for_programs = matches!(format, Format::Json | Format::Csv);
    if let Some(distances) = distances.filter(|_| for_programs) {
        columns.push("attention_distance");
        row.push(distances.iter().map(|d| Value::from(nine_digits(*d))).collect());
    }
    let mut list = Listing::new(&columns);
    list.push(row);
    let mut text = list.render(format)?;
    if let Some(distances) = distances.filter(|_| !for_programs) {
        let mut layers = Listing::new(&["layer", "attention", "attention_distance"]);
        for (i, (layer, distance)) in model.setup().layers.iter().zip(distances).enumerate() {
            layers.push(vec![i.into(), layer.own.spec.to_string().into(), number(Some(*distance))]);
        }
        text = text + "\n" + &layers.render(format)?;
    }
    Ok(text)
}
