//! Translation: the most likely targets of a batch of sources, by beam search on the decode engine. The state of a linear
//! variant is the same size at every token.

use candle_core::{Result, Tensor};

use super::{Encoded, Session, Translator};
use crate::kernels::Kernels;

/// How targets are searched for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// Hypotheses that are kept of each sentence; 1 is greedy.
    pub beams: usize,
    /// α of the length penalty: a hypothesis counts ln p / ((5 + length) / 6)^α (Wu et al. 2016, eq. 14).
    pub length_penalty: f64,
    /// Most tokens of a target.
    pub max_len: usize,
    /// The token that begins and ends a sentence.
    pub end: u32,
    /// The token that fills up a batch of sources.
    pub padding: u32,
}

/// Targets of all sources, and how many tokens were generated for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// One target a source, without the end.
    pub targets: Vec<Vec<u32>>,
    /// Steps taken times hypotheses: what the engine computed.
    pub steps: usize,
}

/// The targets of sources (ids with their end).
///
/// # Errors
/// On a source beyond the model's length, and as steps fail.
pub fn translate(model: &Translator, sources: &[Vec<u32>], search: &Search, kernels: Kernels) -> Result<Found> {
    let Some(longest) = sources.iter().map(Vec::len).max() else {
        return Ok(Found { targets: Vec::new(), steps: 0 });
    };
    let beams = search.beams.max(1);
    let device = model.decoder.device();
    let max_len = search.max_len.min(model.decoder.setup().max_len);
    let padded = sources.iter().flat_map(|s| s.iter().copied().chain(vec![search.padding; longest - s.len()]));
    let ids = Tensor::from_vec(padded.collect::<Vec<u32>>(), (sources.len(), longest), device)?;
    let lengths: Vec<usize> = sources.iter().map(Vec::len).collect();
    let encoded = repeated(&model.encode_by(&ids, Some(&lengths), kernels)?, beams)?;
    let mut session = Session::translating(model, max_len, &encoded, kernels)?;
    let mut sentences = vec![Sentence::new(); sources.len()];
    let mut steps = 0;
    while session.position() < max_len && sentences.iter().any(|s| !s.is_done(beams)) {
        let ids: Vec<u32> = sentences.iter().flat_map(|s| s.last_tokens(beams, search.end)).collect();
        let logits: Vec<Vec<f32>> = session.step(&ids)?.to_vec2()?;
        steps += ids.len();
        let mut parents = Vec::with_capacity(ids.len());
        for (i, sentence) in sentences.iter_mut().enumerate() {
            let rows = &logits[i * beams..][..beams];
            parents.extend(sentence.advance(rows, search).into_iter().map(|parent| i * beams + parent));
        }
        session.reorder(&parents)?;
    }
    Ok(Found { targets: sentences.into_iter().map(|s| s.best(search)).collect(), steps })
}

/// Every source as often as it has hypotheses, one after another.
fn repeated(encoded: &Encoded, times: usize) -> Result<Encoded> {
    let batch = encoded.hidden.dim(0)?;
    let which: Vec<u32> = (0..batch as u32).flat_map(|i| vec![i; times]).collect();
    let lengths = encoded.lengths.as_ref().map(|l| which.iter().map(|i| l[*i as usize]).collect());
    let hidden = encoded.hidden.index_select(&Tensor::new(which, encoded.hidden.device())?, 0)?;
    Ok(Encoded { hidden, lengths })
}

/// A target, as far as it goes.
#[derive(Debug, Clone, Default)]
struct Hypothesis {
    tokens: Vec<u32>,
    /// ln p of all tokens.
    log_p: f64,
}

impl Hypothesis {
    /// `ended`: whether the end is one of its tokens.
    fn score(&self, search: &Search, ended: bool) -> f64 {
        let len = self.tokens.len() + usize::from(ended);
        self.log_p / ((5.0 + len as f64) / 6.0).powf(search.length_penalty)
    }
}

/// The search for one target.
#[derive(Debug, Clone)]
struct Sentence {
    /// Those that go on, best first; at most as many as there are beams.
    live: Vec<Hypothesis>,
    /// Those that have ended, with their scores.
    ended: Vec<(f64, Hypothesis)>,
}

impl Sentence {
    fn new() -> Self {
        Self { live: vec![Hypothesis::default()], ended: Vec::new() }
    }

    /// As many hypotheses have ended as there are beams, or none goes on.
    fn is_done(&self, beams: usize) -> bool {
        self.ended.len() >= beams || self.live.is_empty()
    }

    /// The last token of each beam; beams without a hypothesis repeat the end.
    fn last_tokens(&self, beams: usize, end: u32) -> Vec<u32> {
        let last = |i: usize| self.live.get(i).and_then(|h| h.tokens.last()).copied().unwrap_or(end);
        (0..beams).map(last).collect()
    }

    /// Takes the logits of every beam and returns each beam's parent.
    fn advance(&mut self, logits: &[Vec<f32>], search: &Search) -> Vec<usize> {
        let beams = logits.len();
        if self.is_done(beams) {
            return (0..beams).collect();
        }
        let mut candidates: Vec<(f64, usize, u32)> = Vec::new();
        for (parent, (hypothesis, row)) in self.live.iter().zip(logits).enumerate() {
            let most = row.iter().copied().fold(f32::MIN, f32::max);
            let log_sum = f64::from(most) + row.iter().map(|x| f64::from(x - most).exp()).sum::<f64>().ln();
            candidates.extend(
                best_of(row, 2 * beams)
                    .into_iter()
                    .map(|token| (hypothesis.log_p + f64::from(row[token]) - log_sum, parent, token as u32)),
            );
        }
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let (mut live, mut parents) = (Vec::with_capacity(beams), Vec::with_capacity(beams));
        for (rank, (log_p, parent, token)) in candidates.into_iter().enumerate() {
            let mut next = Hypothesis { log_p, ..self.live[parent].clone() };
            if token == search.end {
                // One that only ranks behind the beams would not have been kept either.
                if rank < beams {
                    self.ended.push((next.score(search, true), next));
                }
            } else if live.len() < beams {
                next.tokens.push(token);
                live.push(next);
                parents.push(parent);
            }
        }
        self.live = live;
        parents.resize(beams, 0);
        parents
    }

    /// The best that has ended; where none has, the best there is.
    fn best(self, search: &Search) -> Vec<u32> {
        let ended = self.ended.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, h)| h);
        let going = || {
            let score = |h: &Hypothesis| h.score(search, false);
            self.live.into_iter().max_by(|a, b| score(a).total_cmp(&score(b)))
        };
        ended.or_else(going).unwrap_or_default().tokens
    }
}

/// Places of the `n` largest, largest first; of equals the first comes first.
fn best_of(row: &[f32], n: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..row.len()).collect();
    let order = |a: &usize, b: &usize| row[*b].total_cmp(&row[*a]).then(a.cmp(b));
    let n = n.min(places.len());
    if n > 0 && n < places.len() {
        places.select_nth_unstable_by(n - 1, order);
    }
    places.truncate(n);
    places.sort_by(order);
    places
}
