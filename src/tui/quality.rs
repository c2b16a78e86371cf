//! The state of Tradeoff: quality beside what it costs. A panel for every length of context, measure of quality and cost, and
//! which models no other beats there. Knows rows, not what trained the models.

use super::keys::Action;
use crate::store::{QualityRow, QualityTable};

/// A measure of quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quality {
    /// Higher is better.
    Bleu,
    /// Lower is better.
    Perplexity,
    /// Higher is better.
    Accuracy,
}

impl Quality {
    /// What says most comes first.
    const ALL: [Self; 3] = [Self::Bleu, Self::Perplexity, Self::Accuracy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bleu => "BLEU (higher is better)",
            Self::Perplexity => "perplexity (lower is better)",
            Self::Accuracy => "accuracy (higher is better)",
        }
    }

    fn of(self, row: &QualityRow) -> Option<f64> {
        match self {
            Self::Bleu => row.bleu,
            Self::Perplexity => row.perplexity,
            Self::Accuracy => row.accuracy,
        }
    }

    fn is_better(self, a: f64, b: f64) -> bool {
        if self == Self::Perplexity { a < b } else { a > b }
    }
}

/// What quality is paid with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// More is better.
    Speed,
    /// Less is better.
    State,
}

impl Cost {
    const ALL: [Self; 2] = [Self::Speed, Self::State];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Speed => "tokens/s",
            Self::State => "state bytes",
        }
    }

    fn of(self, row: &QualityRow) -> Option<f64> {
        match self {
            Self::Speed => row.tokens_per_s,
            Self::State => row.state_bytes,
        }
        .filter(|v| *v > 0.0)
    }

    fn is_better(self, a: f64, b: f64) -> bool {
        if self == Self::Speed { a > b } else { a < b }
    }
}

/// A model at a cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct QualityPoint {
    /// Index of its row.
    pub(crate) row: usize,
    pub(crate) quality: f64,
    pub(crate) cost: f64,
    /// Whether no other point is at least as good and as cheap, and better in one of them.
    pub(crate) is_front: bool,
}

/// One measure against one cost.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Panel {
    pub(crate) quality: Quality,
    pub(crate) cost: Cost,
    /// Never empty.
    pub(crate) points: Vec<QualityPoint>,
}

/// A file with quality.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QualityFile {
    pub(crate) name: String,
    pub(crate) rows: Vec<QualityRow>,
    /// Whether its last line was cut off, and left out.
    pub(crate) is_truncated: bool,
    /// Lengths of context that have points, the longest first: what a model costs depends on it.
    pub(crate) depths: Vec<Depth>,
}

/// Models at one length of context.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Depth {
    /// `None` where the file does not say.
    pub(crate) tokens: Option<f64>,
    /// Never empty; those that have points, a measure's panels side by side.
    pub(crate) panels: Vec<Panel>,
}

/// The state of the screen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tradeoff {
    pub(crate) file: Option<QualityFile>,
    /// Which of the charts is turned to.
    pub(crate) panel: usize,
    /// Which length of context is.
    pub(crate) depth: usize,
    /// The model under the cursor.
    pub(crate) at: usize,
}

impl Tradeoff {
    /// Takes a file to show.
    pub(crate) fn show(&mut self, file: QualityFile) {
        self.file = Some(file);
        self.depth = self.depth.min(self.depths().saturating_sub(1));
    }

    /// The models that are shown.
    pub(crate) fn shown(&self) -> Option<&Depth> {
        self.file.as_ref()?.depths.get(self.depth)
    }

    /// Number of lengths of context.
    pub(crate) fn depths(&self) -> usize {
        self.file.as_ref().map_or(0, |file| file.depths.len())
    }

    /// Takes an action.
    pub(crate) fn act(&mut self, action: Action) {
        let models = self.shown().map_or(0, |d| d.panels.iter().map(|p| p.points.len()).max().unwrap_or(0));
        let depths = self.depths().max(1);
        match action {
            Action::NextChart => self.panel += 1,
            Action::NextBatch => self.depth = (self.depth + 1) % depths,
            Action::PreviousBatch => self.depth = (self.depth + depths - 1) % depths,
            _ => self.at = action.moved(self.at, models.saturating_sub(1)).unwrap_or(self.at),
        }
    }
}

impl QualityFile {
    pub(crate) fn new(name: String, table: QualityTable) -> Self {
        let mut lens: Vec<Option<f64>> = Vec::new();
        for row in &table.rows {
            if !lens.contains(&row.seq_len) {
                lens.push(row.seq_len);
            }
        }
        lens.sort_by(|a, b| b.unwrap_or(f64::NEG_INFINITY).total_cmp(&a.unwrap_or(f64::NEG_INFINITY)));
        let depth = |tokens: Option<f64>| {
            let all = Quality::ALL.into_iter().flat_map(|quality| Cost::ALL.map(|cost| (quality, cost)));
            let of = |(quality, cost)| Panel { quality, cost, points: points(&table.rows, tokens, quality, cost) };
            Depth { tokens, panels: all.map(of).filter(|panel| !panel.points.is_empty()).collect() }
        };
        let depths = lens.into_iter().map(depth).filter(|depth| !depth.panels.is_empty()).collect();
        Self { name, depths, is_truncated: table.is_truncated, rows: table.rows }
    }

    /// Number of distinct models: each may stand at several depths of context.
    pub(crate) fn models(&self) -> usize {
        let names = self.rows.iter().map(|row| (&row.variant, &row.detail));
        names.collect::<std::collections::HashSet<_>>().len()
    }

    /// What a row is called.
    pub(crate) fn name_of(&self, row: usize) -> String {
        let Some(row) = self.rows.get(row) else { return String::new() };
        let words = [row.variant.as_str(), &row.detail];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

fn points(rows: &[QualityRow], tokens: Option<f64>, quality: Quality, cost: Cost) -> Vec<QualityPoint> {
    let point = |(row, of): (usize, &QualityRow)| {
        if of.seq_len != tokens {
            return None;
        }
        Some(QualityPoint { row, quality: quality.of(of)?, cost: cost.of(of)?, is_front: false })
    };
    let mut points: Vec<QualityPoint> = rows.iter().enumerate().filter_map(point).collect();
    let all = points.clone();
    for p in &mut points {
        let beats = |o: &QualityPoint| {
            let no_worse = !quality.is_better(p.quality, o.quality) && !cost.is_better(p.cost, o.cost);
            no_worse && (quality.is_better(o.quality, p.quality) || cost.is_better(o.cost, p.cost))
        };
        p.is_front = !all.iter().any(beats);
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::parse_quality;

    const FILE: &str = "variant,perplexity,tokens_per_s,state_bytes_pred\nsoftmax,18.0,100,1000\nt2r,19.0,400,10\n\
                        elu,21.0,300,20\nnone,,900,0\n";

    fn file(text: &str) -> QualityFile {
        QualityFile::new("q.csv".to_owned(), parse_quality("q.csv", text.as_bytes()).expect("readable"))
    }

    fn front(panel: &Panel) -> Vec<usize> {
        panel.points.iter().filter(|p| p.is_front).map(|p| p.row).collect()
    }

    #[test]
    fn the_front_is_what_nothing_beats_in_speed_and_in_memory() {
        let low = file(FILE);
        assert_eq!(low.depths[0].panels.iter().map(|p| p.cost).collect::<Vec<_>>(), [Cost::Speed, Cost::State]);
        // Without quality a row has no point; elu is worse, slower and larger than t2r.
        assert_eq!((front(&low.depths[0].panels[0]), front(&low.depths[0].panels[1])), (vec![0, 1], vec![0, 1]));
        // If more is better, softmax is beaten by all and elu is the best.
        let high = file(&FILE.replace("perplexity", "bleu"));
        assert_eq!((front(&high.depths[0].panels[0]), front(&high.depths[0].panels[1])), (vec![1, 2], vec![1, 2]));
    }

    #[test]
    fn panels_without_points_are_none_and_models_count_once() {
        assert!(file("variant,bleu\nt2r,1\n").depths.is_empty());
        let text =
            "variant,way,bleu,accuracy,tokens_per_s,seq_len\nt2r,a,1,0.5,9,64\nt2r,a,1,0.5,8,128\nt2r,b,2,0.6,,\n";
        let file = file(text);
        let qualities: Vec<Quality> = file.depths[0].panels.iter().map(|p| p.quality).collect();
        assert_eq!(qualities, [Quality::Bleu, Quality::Accuracy]);
        assert_eq!((file.models(), file.name_of(1).as_str()), (2, "t2r a"));
    }

    #[test]
    fn models_are_held_against_those_at_the_same_context_the_longest_first() {
        // At 4,096 tokens softmax is slower than at 64, and on the front all the same: nothing else is as good there.
        let text =
            "variant,bleu,tokens_per_s,seq_len\nsoftmax,9,100,64\nt2r,8,90,64\nsoftmax,9,10,4096\nt2r,8,90,4096\n";
        let mut state = Tradeoff::default();
        state.show(file(text));
        let seen = |state: &Tradeoff| state.shown().map(|d| (d.tokens, front(&d.panels[0])));
        assert_eq!(seen(&state), Some((Some(4096.0), vec![2, 3])));
        state.act(Action::NextBatch);
        assert_eq!(seen(&state), Some((Some(64.0), vec![0])));
        state.act(Action::Down);
        state.act(Action::Down);
        assert_eq!(state.at, 1, "there are two");
        state.act(Action::PreviousBatch);
        assert_eq!(state.depth, 0);
    }
}
