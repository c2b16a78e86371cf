//! `translate`: sentences, one a line, through an encoder-decoder; and BLEU of what it makes of them.

use std::{
    io::{self, Read, Write},
    time::Instant,
};

use candle_core::DType;

use super::{
    args::{SearchArgs, TranslateArgs},
    data::marks,
    school::device,
};
use crate::{
    checkpoint::{Checkpoint, Tokenizer, sequence_bytes},
    cli::{Answer, Ending, Failure, args::Talk, say, setup, stop},
    kernels::{Kernels, Simd},
    model::{Search, Translator, translate as search_all},
    sweep::Bytes,
    text::read_lines,
    train::Marks,
};

/// Translates line by line, in order.
pub(in crate::cli) fn translate(args: &TranslateArgs, talk: Talk) -> Answer<Ending> {
    setup::set_threads(setup::threads(args.threads)?);
    let engine = Engine::open(&args.model, args.search)?;
    let lines = match &args.source {
        Some(file) => read_lines(file)?,
        None => {
            let mut text = String::new();
            io::stdin().lock().read_to_string(&mut text)?;
            text.lines().map(str::to_owned).collect()
        }
    };
    stop::listen()?;
    let mut out = io::stdout().lock();
    let begun = Instant::now();
    let (mut tokens, mut sentences) = (0, 0);
    for lines in lines.chunks(args.search.batch.max(1)) {
        let before = sentences;
        if stop::asked() {
            return Ok(Ending::Interrupted);
        }
        let (translations, generated) = engine.translate(lines, |i| before + i + 1)?;
        tokens += generated;
        sentences += lines.len();
        for line in translations {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
    }
    if !talk.quiet {
        let seconds = begun.elapsed().as_secs_f64();
        let state =
            |n: usize| sequence_bytes(engine.model.decoder.setup(), n).map_or("?".to_owned(), |b| Bytes(b).to_string());
        say(&format!(
            "{sentences} sentences, {tokens} tokens, {:.0} tokens/s; state of one over a source as long: {} at 32 tokens, {} at 256",
            tokens as f64 / seconds.max(f64::MIN_POSITIVE),
            state(32),
            state(256),
        ));
    }
    Ok(Ending::Done)
}

/// A model and how it searches.
pub(in crate::cli) struct Engine {
    model: Translator,
    tokenizer: Tokenizer,
    marks: Marks,
    args: SearchArgs,
}

impl Engine {
    /// Opens an encoder-decoder.
    pub(in crate::cli) fn open(path: &std::path::Path, args: SearchArgs) -> Answer<Self> {
        if args.beams == 0 || args.batch == 0 {
            return Err(Failure::Usage("--beams 0 or --batch 0: nothing would be translated; give at least 1".into()));
        }
        let checkpoint = Checkpoint::open(path)?;
        let tokenizer = checkpoint.tokenizer()?;
        let (model, _) = checkpoint.translator(&device(), DType::F32)?;
        Ok(Self { model, marks: marks(&tokenizer)?, tokenizer, args })
    }

    /// Translations of lines, and how many tokens they have. An empty line stays empty. `number` is what the i-th of them
    /// is called in an error: its line in the file, from 1.
    pub(in crate::cli) fn translate(
        &self,
        lines: &[String],
        number: impl Fn(usize) -> usize,
    ) -> Answer<(Vec<String>, usize)> {
        let known = self.model.decoder.setup().max_len;
        let mut sources = Vec::with_capacity(lines.len());
        for (i, line) in lines.iter().enumerate() {
            let mut ids = self.tokenizer.encode(line)?;
            if ids.len() >= known {
                let (n, head) = (ids.len() + 1, line.chars().take(40).collect::<String>());
                return Err(anyhow::anyhow!(
                    "line {} of the sentences has {n} tokens, and the model knows {known} positions: '{head}…'",
                    number(i)
                )
                .into());
            }
            ids.push(self.marks.end);
            sources.push(ids);
        }
        let longest = sources.iter().map(Vec::len).max().unwrap_or(0);
        let search = Search {
            beams: self.args.beams,
            length_penalty: self.args.length_penalty,
            max_len: self.args.max_len.unwrap_or(2 * longest + 10),
            end: self.marks.end,
            padding: self.marks.padding,
        };
        let found = search_all(&self.model, &sources, &search, Kernels::Fused(Simd::detect()))?;
        let tokens = found.targets.iter().map(|target| target.len() + 1).sum();
        let texts = found.targets.iter().zip(lines).map(|(target, line)| -> Answer<String> {
            match line.is_empty() {
                true => Ok(String::new()),
                false => Ok(self.tokenizer.decode(target)?.replace(['\n', '\r'], " ")),
            }
        });
        Ok((texts.collect::<Answer<_>>()?, tokens))
    }
}
