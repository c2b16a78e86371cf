//! BLEU of translations: of a file, or of what a model makes of another.

use std::{
    cmp::Reverse,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;

use super::{args::SearchArgs, translate::Engine};
use crate::{
    cli::{Answer, Failure, answer},
    report::{Format, Listing},
    sweep::nine_digits,
    text::{SIGNATURE, bleu, read_aligned},
};

/// What `eval` can be told of translations.
#[derive(Debug, Clone, PartialEq, Args)]
#[group(skip)]
pub(in crate::cli) struct BleuArgs {
    /// Sentences to translate and score by BLEU, one a line.
    #[arg(long, value_name = "FILE", requires = "target", help_heading = "Translations")]
    source: Option<PathBuf>,
    /// Their translations by people.
    #[arg(long, value_name = "FILE", help_heading = "Translations")]
    target: Option<PathBuf>,
    /// Score these translations instead of a model's.
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "source", help_heading = "Translations")]
    hypotheses: Option<PathBuf>,
    #[command(flatten)]
    search: SearchArgs,
}

impl BleuArgs {
    /// Whether translations are what is asked for.
    pub(in crate::cli) fn is_asked(&self) -> bool {
        self.target.is_some()
    }
}

/// Scores translations of a file, or of a model.
pub(in crate::cli) fn score(model: Option<&Path>, args: &BleuArgs, format: Format) -> Answer<()> {
    let Some(target) = &args.target else { return Err(Failure::Usage("give --target FILE".into())) };
    let (hypotheses, references, rate) = match (&args.hypotheses, &args.source, model) {
        (Some(file), ..) => {
            let aligned = read_aligned(file, target)?;
            (aligned.source, aligned.target, None)
        }
        (None, Some(source), Some(model)) => {
            let (aligned, begun) = (read_aligned(source, target)?, Instant::now());
            let (translations, tokens) = translated(model, &aligned.source, args.search)?;
            (translations, aligned.target, Some(tokens as f64 / begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)))
        }
        _ => return Err(Failure::Usage("give a model and --source FILE, or --hypotheses FILE".into())),
    };
    let score = bleu(&hypotheses, &references)?;
    let columns =
        ["bleu", "signature", "brevity_penalty", "hypothesis_len", "reference_len", "sentences", "tokens_per_s"];
    let mut list = Listing::new(&columns);
    list.push(vec![
        nine_digits(score.score).into(),
        SIGNATURE.into(),
        nine_digits(score.brevity_penalty).into(),
        score.hypothesis_len.into(),
        score.reference_len.into(),
        references.len().into(),
        rate.map(nine_digits).into(),
    ]);
    Ok(answer(&list.render(format)?)?)
}

/// Translations of lines, in their order, and how many tokens they have.
fn translated(model: &Path, lines: &[String], search: SearchArgs) -> Answer<(Vec<String>, usize)> {
    let engine = Engine::open(model, search)?;
    // Sentences of about one length together, which need the least padding; the longest first, because one of them may be too
    // long.
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by_key(|i| Reverse(lines[*i].len()));
    let (mut all, mut tokens) = (vec![String::new(); lines.len()], 0);
    for batch in order.chunks(search.batch) {
        let some: Vec<String> = batch.iter().map(|i| lines[*i].clone()).collect();
        let too_long = |i: usize, why| Err(anyhow::anyhow!("line {} of the sentences: {why}", batch[i] + 1).into());
        let (translations, generated) = engine.translate(&some, too_long)?;
        tokens += generated;
        batch.iter().zip(translations).for_each(|(i, text)| all[*i] = text);
    }
    Ok((all, tokens))
}
