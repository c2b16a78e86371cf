//! The state of Setup: what is chosen, what is being edited, and what the choices come to. Knows fields by name and text.

use ratatui::crossterm::event::KeyEvent;

use super::{
    host::{Choices, Facts, Outlook},
    keys::{Action, Binding, TYPING, WORDS, action_over, moved},
    text_line::TextLine,
};
use crate::{
    spec::{Activation, CacheMode, DType, Implementation, Norm, Positions, Workload},
    sweep::{Bytes, Overrides, Plan, Span},
};

/// A field: name in profiles, label, and what it is.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) about: &'static str,
}

macro_rules! fields {
    ($($name:literal, $label:literal, $about:literal;)+) => {
        /// The fields, those that people change most first.
        pub(crate) const FIELDS: &[Field] = &[$(Field { name: $name, label: $label, about: $about },)+];
    };
}

fields! {
    "profile", "profile", "a sweep from the binary, or the path of a TOML file";
    "device", "device", "where to run: cpu, cuda, cuda:1, metal";
    "threads", "threads", "threads of the run; fixed for this process by its first run";
    "workload", "workloads", "what one timed call is";
    "variants", "variants", "kinds of attention, e.g. softmax,t2r,window:64";
    "implementation", "implementation", "plain loops, or fused kernels";
    "seq_len", "sequence lengths", "64,256 or 64-4096*4 or 4k";
    "batch", "batch sizes", "1,16 or 1-64*4";
    "feature_dim", "feature size", "length m of the feature map, for variants that leave it free";
    "dtype", "dtype", "f32 on the CPU; 16-bit types on GPUs";
    "cache", "cache", "cold: states come from memory; warm: from the cache";
    "rounds", "rounds", "most visits to a cell; below 6 there is no interval";
    "ci_target", "precision", "a cell is done when its interval is within this share, e.g. 2%";
    "time_budget", "time budget", "what did not begin by then is skipped, e.g. 3m";
    "memory_budget", "memory budget", "a cell that needs more is skipped, e.g. 8GiB";
    "cell_timeout", "cell timeout", "most time of a cell, all its rounds together";
    "min_block", "least block", "least length of a sample of a layer";
    "samples_per_round", "samples a round", "samples of one visit to a layer";
    "seed", "seed", "of weights, inputs and the order of visits";
    "model", "checkpoint", "folder or .gguf file that whole models are loaded from, with their shape";
    "n_layers", "layers", "transformer blocks of the model";
    "d_model", "width", "width of the residual stream";
    "n_heads", "heads", "query heads";
    "n_kv_heads", "kv heads", "key and value heads; divides the query heads";
    "head_dim", "head width", "width of one head";
    "ffn_dim", "feed-forward", "hidden width of the feed-forward block";
    "vocab_size", "vocabulary", "entries of the vocabulary";
    "n_prompt", "prompt", "tokens before generation, or of the source";
    "n_gen", "tokens a visit", "tokens generated in one visit, for decode";
    "cross_feature_dim", "cross feature", "length of the feature map in cross-attention, for translate";
    "causal", "causal", "whether position t sees only positions up to t: true, false";
    "norm", "norm", "layernorm, rmsnorm";
    "positions", "positions", "learned, sinusoidal, rotary";
    "activation", "activation", "relu, gelu, swiglu";
    "tied_output", "tied output", "whether the output projection is the embedding: true, false";
}

/// What a field is being edited with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Editing {
    /// A line of text.
    Text(TextLine),
    /// Words to pick from.
    Pick {
        /// Words and whether each is chosen.
        words: Vec<(String, bool)>,
        /// The one under the cursor.
        at: usize,
    },
}

impl Editing {
    /// The keys that it has.
    pub(crate) fn keys(&self) -> &'static [Binding] {
        match self {
            Self::Text(_) => TYPING,
            Self::Pick { .. } => WORDS,
        }
    }

    /// What it comes to.
    fn text(&self) -> String {
        match self {
            Self::Text(line) => line.text().trim().to_owned(),
            Self::Pick { words, .. } => {
                words.iter().filter(|(_, on)| *on).map(|(w, _)| w.as_str()).collect::<Vec<_>>().join(",")
            }
        }
    }

    /// A key that does not end it.
    fn key(&mut self, action: Option<Action>, event: &KeyEvent) {
        match (self, action) {
            (Self::Text(line), _) => drop(line.key(event)),
            (Self::Pick { words, at }, Some(Action::Toggle)) => {
                if let Some((_, on)) = words.get_mut(*at) {
                    *on = !*on;
                }
            }
            (Self::Pick { words, .. }, Some(Action::All)) => {
                let all = words.iter().all(|(_, on)| *on);
                words.iter_mut().for_each(|(_, on)| *on = !all);
            }
            (Self::Pick { words, at }, _) => *at = moved(event, *at, words.len().saturating_sub(1)).unwrap_or(*at),
        }
    }
}

/// The state of the screen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    pub(crate) choices: Choices,
    /// What they come to, or why they cannot be.
    pub(crate) outlook: Option<Result<Outlook, String>>,
    /// Index of the field under the cursor; one beyond the last is "start".
    pub(crate) at: usize,
    pub(crate) editing: Option<Editing>,
    /// What is wrong with a field: its index and the reason.
    pub(crate) fault: Option<(usize, String)>,
    /// Threads, once a run has fixed them.
    pub(crate) fixed_threads: Option<usize>,
}

impl Setup {
    /// What the field says: by hand, or as the profile has it.
    pub(crate) fn value(&self, field: &Field) -> String {
        if field.name == "profile" {
            return self.choices.profile.clone();
        }
        let plan = || self.outlook.as_ref().and_then(|o| o.as_ref().ok()).map(|o| effective(&o.plan, field.name));
        self.choices.overrides.text(field.name).or_else(plan).unwrap_or_default()
    }

    /// Whether the field was set by hand.
    pub(crate) fn is_set(&self, field: &Field) -> bool {
        field.name == "profile" || self.choices.overrides.text(field.name).is_some()
    }

    /// What choices came to; a plan that cannot be is a fault of the field that was edited last.
    pub(crate) fn planned(&mut self, outlook: Result<Outlook, String>) {
        self.fault = outlook.as_ref().err().map(|e| (blamed(e).unwrap_or(self.at.min(FIELDS.len() - 1)), e.clone()));
        self.outlook = Some(outlook);
    }

    /// A key while a field is edited; true if the choices changed.
    pub(crate) fn edit(&mut self, event: &KeyEvent) -> bool {
        let Some(mut editing) = self.editing.take() else { return false };
        match action_over(editing.keys(), event) {
            Some(Action::No) => {
                self.fault = None;
                return false;
            }
            Some(Action::Yes) if self.set(&editing.text()) => return true,
            Some(Action::Yes) => {}
            Some(Action::Type) => editing = Editing::Text(TextLine::new(&editing.text())),
            action => editing.key(action, event),
        }
        self.editing = Some(editing);
        false
    }

    /// Sets the field under the cursor from its text; an empty one leaves it to the profile. False where it does not read,
    /// which is then said at the field.
    fn set(&mut self, text: &str) -> bool {
        let field = &FIELDS[self.at.min(FIELDS.len() - 1)];
        if field.name == "profile" {
            if text.is_empty() {
                self.fault = Some((self.at, "a profile is needed: a name, or a path".to_owned()));
                return false;
            }
            text.clone_into(&mut self.choices.profile);
        } else if text.is_empty() {
            self.choices.overrides.clear(field.name);
        } else {
            match Overrides::read(field.name, text) {
                Ok(one) => {
                    let mut under = self.choices.overrides.clone();
                    under.clear(field.name);
                    self.choices.overrides = one.over(&under);
                }
                Err(e) => {
                    self.fault = Some((self.at, e));
                    return false;
                }
            }
        }
        self.fault = None;
        true
    }

    /// An action while nothing is edited; true if the choices changed.
    pub(crate) fn act(&mut self, action: Action, facts: &Facts) -> bool {
        let last = FIELDS.len();
        self.at = action.moved(self.at, last).unwrap_or(self.at);
        match action {
            Action::Left => return self.turn(-1, facts),
            Action::Right => return self.turn(1, facts),
            Action::Enter if self.at < last => self.begin_edit(facts),
            Action::Clear if self.at < last => return FIELDS[self.at].name != "profile" && self.set(""),
            _ => {}
        }
        false
    }

    fn begin_edit(&mut self, facts: &Facts) {
        let field = &FIELDS[self.at];
        let value = self.value(field);
        let known = many(field.name, facts);
        let chosen: Vec<&str> = value.split(',').filter(|w| !w.is_empty()).collect();
        // A value with parameters (window:64) is no word of the list: it stays as it is, in front.
        self.editing = Some(if known.is_empty() {
            Editing::Text(TextLine::new(&value))
        } else {
            let extra = chosen.iter().filter(|w| !known.iter().any(|k| k == *w)).map(|w| ((*w).to_owned(), true));
            let words = known.iter().map(|k| (k.clone(), chosen.contains(&k.as_str())));
            Editing::Pick { words: extra.chain(words).collect(), at: 0 }
        });
    }

    /// The next or previous of a field's words, where one of them is its value.
    fn turn(&mut self, by: isize, facts: &Facts) -> bool {
        let Some(field) = FIELDS.get(self.at) else { return false };
        let words = one(field.name, facts);
        if words.is_empty() {
            return false;
        }
        let value = self.value(field);
        let now = words.iter().position(|w| *w == value);
        let next = now.map_or(0, |i| (i as isize + by).rem_euclid(words.len() as isize) as usize);
        self.set(&words[next].clone())
    }
}

/// Words of which a field takes one.
pub(crate) fn one(name: &str, facts: &Facts) -> Vec<String> {
    fn all<T: ToString>(words: &[T]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }
    match name {
        "profile" => facts.profiles.iter().map(|(name, _)| name.clone()).collect(),
        "device" => facts.devices.iter().map(|(name, _)| name.clone()).collect(),
        "causal" | "tied_output" => all(&[true, false]),
        "norm" => all(Norm::ALL),
        "positions" => all(Positions::ALL),
        "activation" => all(Activation::ALL),
        _ => Vec::new(),
    }
}

/// Words of which a field takes some.
pub(crate) fn many(name: &str, facts: &Facts) -> Vec<String> {
    fn all<T: ToString>(words: &[T]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }
    match name {
        "workload" => all(Workload::ALL),
        "variants" => facts.variants.iter().map(|(name, _)| name.clone()).collect(),
        "implementation" => all(Implementation::ALL),
        "dtype" => all(DType::ALL),
        "cache" => all(CacheMode::ALL),
        _ => Vec::new(),
    }
}

/// The field that a message names first, if it names one.
fn blamed(message: &str) -> Option<usize> {
    let named = |field: &Field| {
        let flag = format!("--{}", field.name.replace('_', "-"));
        [field.name, &flag].iter().filter_map(|word| message.find(*word)).min()
    };
    let found = FIELDS.iter().enumerate().filter_map(|(i, f)| Some((named(f)?, usize::MAX - f.name.len(), i)));
    found.min().map(|(_, _, i)| i).or_else(|| message.contains("variant").then_some(4))
}

/// What a plan has in that field.
fn effective(plan: &Plan, name: &str) -> String {
    fn distinct<T: ToString>(values: impl Iterator<Item = Option<T>>) -> String {
        let mut out: Vec<String> = Vec::new();
        for value in values.flatten().map(|v| v.to_string()) {
            if !out.contains(&value) {
                out.push(value);
            }
        }
        out.join(",")
    }
    let s = &plan.settings;
    let span = |d: std::time::Duration| Span(d).to_string().replace(' ', "");
    let c = || plan.cells();
    match name {
        "device" => distinct(c().map(|c| Some(c.device_kind))),
        "threads" => distinct(c().map(|c| Some(c.n_threads))),
        "workload" => distinct(c().map(|c| Some(c.workload))),
        "variants" => distinct(c().map(|c| Some(&c.variant.name))),
        "implementation" => distinct(c().map(|c| Some(c.implementation))),
        "seq_len" => distinct(c().map(|c| Some(c.seq_len))),
        "batch" => distinct(c().map(|c| Some(c.batch_size))),
        "feature_dim" => distinct(c().map(|c| c.feature_dim)),
        "cross_feature_dim" => distinct(c().map(|c| c.cross_feature_dim)),
        "dtype" => distinct(c().map(|c| Some(c.dtype))),
        "cache" => distinct(c().map(|c| c.cache)),
        "causal" => distinct(c().map(|c| Some(c.causal))),
        "seed" => plan.seed.to_string(),
        "rounds" => s.rounds.to_string(),
        "ci_target" => format!("{}%", s.ci_target * 100.0),
        "time_budget" => s.time_budget.map_or_else(|| "none".to_owned(), span),
        "memory_budget" => s.memory_budget.map_or_else(|| "80% of what is free".to_owned(), |b| Bytes(b).to_string()),
        "cell_timeout" => span(s.cell_timeout),
        "min_block" => s.min_block.map_or_else(|| "100ms cold, 25ms warm".to_owned(), span),
        "samples_per_round" => s.samples_per_round.to_string(),
        "n_layers" => distinct(c().map(|c| c.model.map(|m| m.n_layers))),
        "d_model" => distinct(c().map(|c| c.model.map(|m| m.d_model))),
        "ffn_dim" => distinct(c().map(|c| c.model.map(|m| m.ffn_dim))),
        "vocab_size" => distinct(c().map(|c| c.model.map(|m| m.vocab_size))),
        "norm" => distinct(c().map(|c| c.model.map(|m| m.norm))),
        "positions" => distinct(c().map(|c| c.model.map(|m| m.positions))),
        "activation" => distinct(c().map(|c| c.model.map(|m| m.activation))),
        "tied_output" => distinct(c().map(|c| c.model.map(|m| m.tied_output))),
        "n_heads" => distinct(c().map(|c| Some(c.n_heads))),
        "n_kv_heads" => distinct(c().map(|c| Some(c.n_kv_heads))),
        "head_dim" => distinct(c().map(|c| Some(c.head_dim))),
        "n_prompt" => distinct(c().map(|c| c.n_prompt)),
        "n_gen" => distinct(c().map(|c| c.n_gen)),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_profile_can_be_edited() {
        let names: Vec<&str> = FIELDS.iter().map(|f| f.name).collect();
        for name in Overrides::names() {
            assert!(names.contains(&name), "{name} has no line");
        }
        assert_eq!(names.len(), Overrides::names().count() + 1);
    }

    #[test]
    fn a_message_blames_the_field_that_it_names() {
        let name = |message| blamed(message).map(|i| FIELDS[i].name);
        assert_eq!(name("n_kv_heads 3 does not divide n_heads 8; give a divisor of 8"), Some("n_kv_heads"));
        assert_eq!(name("--threads 0: nothing can run on no thread"), Some("threads"));
        assert_eq!(name("unknown variant 'sofmax'"), Some("variants"));
        assert_eq!(name("?"), None);
    }
}
