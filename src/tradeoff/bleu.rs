//! BLEU of a trained encoder-decoder on the pairs that are held out, by greedy search.

use candle_core::{DType, Device};

use super::{material::Material, models::Values};
use crate::{
    kernels::{Kernels, Simd},
    model::{Search, Setup, Translator, translate},
    params::{Known, Params},
    text::bleu,
};

/// Sentences translated at once.
const BATCH: usize = 32;

impl Material {
    /// `None` for tasks that are no translation.
    ///
    /// # Errors
    /// As translating fails.
    pub fn bleu(&self, setup: &Setup, values: &Values) -> anyhow::Result<Option<f64>> {
        let Self::Pairs { held_out, references, tokenizer, marks, .. } = self else { return Ok(None) };
        let mut params = Params::frozen(&Device::Cpu, DType::F32, 0).from_source(Box::new(Known(values.clone())));
        let model = Translator::new(&setup.merged(), &mut params)?;
        // Sentences of one length together; a source longer than the model is cut, as whoever asks for it would have to.
        let mut order: Vec<usize> = (0..held_out.len()).collect();
        order.sort_by_key(|i| held_out[*i].source.len());
        let mut hypotheses = vec![String::new(); held_out.len()];
        for batch in order.chunks(BATCH) {
            let source = |i: &usize| {
                let mut ids = held_out[*i].source.clone();
                ids.truncate(setup.max_len - 1);
                ids.push(marks.end);
                ids
            };
            let sources: Vec<Vec<u32>> = batch.iter().map(source).collect();
            let longest = sources.iter().map(Vec::len).max().unwrap_or(0);
            let max_len = (2 * longest + 10).min(setup.max_len);
            let search = Search { beams: 1, length_penalty: 0.0, max_len, end: marks.end, padding: marks.padding };
            let found = translate(&model, &sources, &search, Kernels::Fused(Simd::detect()))?;
            for (i, target) in batch.iter().zip(found.targets) {
                hypotheses[*i] =
                    tokenizer.decode(&target, true).map_err(|e| anyhow::anyhow!("decoding failed: {e}"))?;
            }
        }
        Ok(Some(bleu(&hypotheses, references)?.score))
    }
}
