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
    let (mut tokens, mut sentences, mut left_out) = (0, 0, 0);
    for lines in lines.chunks(args.search.batch.max(1)) {
        let before = sentences;
        if stop::asked() {
            return Ok(Ending::Interrupted);
        }
        // One that is too long leaves its line empty, so that the others are not lost and lines stay aligned.
        let (translations, generated) = engine.translate(lines, |i, why| {
            say(&format!("line {} is left empty: {why}", before + i + 1));
            left_out += 1;
            Ok(())
        })?;
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
    match left_out {
        0 => Ok(Ending::Done),
        n => {
            Err(anyhow::anyhow!("{n} of {sentences} sentences were too long and are not translated; split them").into())
        }
    }
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

    /// Translations of lines, and how many tokens they have. An empty line stays empty. `too_long` is told which of them has
    /// more tokens than the model knows, and may end it all; else that line is empty too.
    pub(in crate::cli) fn translate(
        &self,
        lines: &[String],
        mut too_long: impl FnMut(usize, String) -> Answer<()>,
    ) -> Answer<(Vec<String>, usize)> {
        let known = self.model.decoder.setup().max_len;
        let (mut sources, mut is_empty) = (Vec::with_capacity(lines.len()), Vec::with_capacity(lines.len()));
        for (i, line) in lines.iter().enumerate() {
            let mut ids = self.tokenizer.encode(line)?;
            if ids.len() >= known {
                let (n, head) = (ids.len() + 1, line.chars().take(40).collect::<String>());
                too_long(i, format!("it has {n} tokens, and the model knows {known} positions: '{head}…'"))?;
                ids.clear();
            }
            is_empty.push(ids.is_empty());
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
        let texts = found.targets.iter().zip(is_empty).map(|(target, is_empty)| -> Answer<String> {
            match is_empty {
                true => Ok(String::new()),
                false => Ok(self.tokenizer.decode(target)?.replace(['\n', '\r'], " ")),
            }
        });
        Ok((texts.collect::<Answer<_>>()?, tokens))
    }
}
