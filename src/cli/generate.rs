//! `generate`: a text continued, written as it comes.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;

use super::{
    Answer, Ending, Failure,
    args::Talk,
    models::{self, Place},
    say, stop,
};
use crate::{
    checkpoint::{Checkpoint, Tokenizer, sequence_bytes},
    inference::{Ended, Generated, Request, Sampling, generate as run, kernels},
    measure::memory_limit,
    spec::DType,
    sweep::Bytes,
};

/// The options of `generate`.
#[derive(Debug, Clone, PartialEq, Args)]
pub(super) struct GenerateArgs {
    /// Checkpoint: a folder, or a .gguf file.
    #[arg(value_name = "CKPT")]
    checkpoint: PathBuf,
    /// Text to go on from; special tokens may be written in it [default: nothing].
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file")]
    prompt: Option<String>,
    /// File with the text to go on from; `-` is stdin.
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// The prompt is a message to a chat model, which answers (ChatML: <|im_start|>user …).
    #[arg(long)]
    chat: bool,
    /// Tokens at the most.
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// Go on where the model would end the text.
    #[arg(long)]
    ignore_eos: bool,
    /// 0 takes the likeliest token; otherwise tokens are drawn, the wilder the higher.
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f64,
    /// Draw from so many of the likeliest tokens alone.
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw from the likeliest tokens alone that have this probability together.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Seed of the draws.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// What weights are kept in: bf16 is half as much to read for every token, and rounds them.
    #[arg(long, value_name = "DTYPE", default_value_t = DType::F32)]
    dtype: DType,
    #[command(flatten)]
    place: Place,
}

/// Answers `generate`.
pub(super) fn generate(args: &GenerateArgs, talk: Talk) -> Answer<Ending> {
    let sampling = sampling(args)?;
    let device = args.place.open()?;
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    let tokenizer = checkpoint.tokenizer()?;
    let prompt = prompt(args, &checkpoint, &tokenizer)?;
    must_fit(&checkpoint, prompt.len() + args.max_tokens)?;
    let ends = if args.ignore_eos { Vec::new() } else { ends(args, &checkpoint, &tokenizer) };
    let model = models::decoder(&checkpoint, &device, args.dtype)?;
    stop::listen()?;
    let request = Request { prompt: &prompt, max_tokens: args.max_tokens, sampling, ends: &ends };
    let mut stream = tokenizer.stream();
    let mut out = io::stdout().lock();
    let mut written = Ok(());
    let mut on_token = |id: u32| {
        written = out.write_all(stream.push(id).as_bytes()).and_then(|()| out.flush());
        written.is_ok() && !stop::asked()
    };
    let generated = run(&model, request, kernels(&model), &mut on_token)?;
    written.and_then(|()| writeln!(out)).and_then(|()| out.flush())?;
    if !talk.quiet {
        say(&summary(&generated, prompt.len()));
    }
    Ok(if generated.ended == Ended::Stopped { Ending::Interrupted } else { Ending::Done })
}

fn sampling(args: &GenerateArgs) -> Answer<Sampling> {
    let GenerateArgs { temperature, top_k, top_p, seed, .. } = *args;
    if !temperature.is_finite() || temperature < 0.0 {
        return Err(Failure::Usage(format!("--temperature {temperature}: give 0 or more, e.g. 0.7")));
    }
    if top_k == Some(0) {
        return Err(Failure::Usage("--top-k 0: no token would be left; give at least 1".into()));
    }
    if let Some(p) = top_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
        return Err(Failure::Usage(format!("--top-p {p}: give more than 0 and at most 1, e.g. 0.9")));
    }
    if args.max_tokens == 0 {
        return Err(Failure::Usage("--max-tokens 0: nothing would be generated; give at least 1".into()));
    }
    Ok(Sampling { temperature, top_k, top_p, seed })
}

/// Begins a turn of a chat.
const TURN: &str = "<|im_start|>";

/// Ends it.
const TURN_END: &str = "<|im_end|>";

fn prompt(args: &GenerateArgs, checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Answer<Vec<u32>> {
    let text = match (&args.prompt, &args.prompt_file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => models::text(std::slice::from_ref(file))?,
        (None, None) => String::new(),
    };
    let text = match args.chat {
        false => text,
        true if tokenizer.id(TURN).is_none() || tokenizer.id(TURN_END).is_none() => {
            let message = format!("--chat: the model's tokenizer has no {TURN} and {TURN_END}; leave it out");
            return Err(Failure::Usage(message));
        }
        true => format!("{TURN}user\n{text}{TURN_END}\n{TURN}assistant\n"),
    };
    let ids = tokenizer.encode_prompt(&text)?;
    if !ids.is_empty() {
        return Ok(ids);
    }
    let special = &checkpoint.description().special;
    match special.bos.or_else(|| special.eos.first().copied()) {
        Some(id) => Ok(vec![id]),
        None => Err(Failure::Usage("the model has no token to begin a text with; give a --prompt".into())),
    }
}

fn ends(args: &GenerateArgs, checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Vec<u32> {
    let of_turn = args.chat.then(|| tokenizer.id(TURN_END)).flatten();
    checkpoint.description().special.eos.iter().copied().chain(of_turn).collect()
}

/// Refuses a text whose states would not fit, before it begins.
fn must_fit(checkpoint: &Checkpoint, tokens: usize) -> Answer<()> {
    let Some(limit) = memory_limit() else { return Ok(()) };
    match sequence_bytes(checkpoint.setup(), tokens) {
        Some(bytes) if bytes <= limit => Ok(()),
        bytes => {
            let needs = bytes.map_or_else(|| "more than any machine has".to_owned(), |b| Bytes(b).to_string());
            let message = format!(
                "{tokens} tokens need {needs} of keys and values, and {} of memory are free; lower --max-tokens, or \
                 convert the model to linear attention",
                Bytes(limit)
            );
            Err(Failure::CouldNotRun(anyhow::Error::msg(message)))
        }
    }
}

fn summary(generated: &Generated, prompt: usize) -> String {
    let Generated { tokens, prompt_time, time, state_bytes, ended } = *generated;
    let rate = generated.tokens_per_s().map_or_else(String::new, |rate| format!(", {rate:.1} tokens/s"));
    let why = match ended {
        Ended::Full => "",
        Ended::EndOfText => ", then the model ended the text",
        Ended::Stopped => ", then it was stopped",
    };
    format!(
        "{tokens} tokens in {:.2} s{rate}{why}; prompt of {prompt} in {:.2} s; state {}",
        time.as_secs_f64(),
        prompt_time.as_secs_f64(),
        Bytes(state_bytes)
    )
}
