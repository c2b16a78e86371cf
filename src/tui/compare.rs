//! The state of Compare: which file the rows at hand are held against, and what the comparison of both says. Knows files and
//! cursors; what is claimed of a cell is [`crate::compare`]'s.

use std::{collections::HashMap, path::PathBuf};

use super::keys::Action;
use crate::{
    compare::{
        ACROSS_HINT, CellComparison, CellKey, Comparison, Options, Origin, Refused, Side, Sides, Spreads, compare,
    },
    store::Row,
};

/// A file that was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) rows: Vec<Row>,
    /// What to know of it: a cut-off line, columns that are not known.
    pub(crate) note: String,
}

impl Loaded {
    /// Each build and machine as a file of its own, as `t2r compare` takes them apart; one whose rows contradict each other
    /// stays whole.
    pub(crate) fn apart(self) -> Vec<Self> {
        let mut sides = Sides::new(&self.name, &[]);
        let added = self.rows.iter().try_for_each(|row| sides.add(row));
        let sides = sides.finish();
        if added.is_err() || sides.len() < 2 {
            return vec![self];
        }
        let note = format!("{}; of {} builds or machines, each a file here: 4, ← →", self.note, sides.len());
        let mut rows: HashMap<Origin, Vec<Row>> = HashMap::new();
        for row in self.rows {
            rows.entry(Origin::of(&row)).or_default().push(row);
        }
        let part = |side: Side| {
            let rows = rows.remove(&side.origin).unwrap_or_default();
            Self { name: side.name, rows, note: note.clone() }
        };
        sides.into_iter().map(part).collect()
    }
}

/// An entry of the picker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) is_dir: bool,
}

/// Where a file is picked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Picker {
    pub(crate) dir: PathBuf,
    pub(crate) entries: Vec<Entry>,
    pub(crate) at: usize,
    /// Why a file or a folder could not be read.
    pub(crate) error: Option<String>,
}

/// Words of verdicts, in the order in which they matter.
pub(crate) const VERDICTS: [&str; 6] = ["faster", "slower", "same", "unclear", "incomparable", "missing"];

/// Key columns that may differ where the sides have no cell in common: another code, or another run of the same.
const ACROSS: [&str; 4] = ["implementation", "device_kind", "n_threads", "seed"];

/// The state of the screen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Compare {
    pub(crate) files: Vec<Loaded>,
    /// Index of the file that the rows at hand are held against.
    pub(crate) against: usize,
    pub(crate) picker: Option<Picker>,
    /// What the comparison says, or why there is none; the base is the file.
    pub(crate) result: Option<Result<Comparison, Refused>>,
    /// Of each cell of the comparison, its row at hand.
    pub(crate) own: Vec<Option<usize>>,
    /// Whether the cells are the same but for [`ACROSS`].
    pub(crate) across: bool,
    /// Cells of the comparison that are shown, in order.
    pub(crate) order: Vec<usize>,
    pub(crate) at: usize,
    pub(crate) by_verdict: bool,
    pub(crate) reverse: bool,
    /// Whether what differs around the cells is shown in full, and from which line on.
    pub(crate) around: bool,
    pub(crate) scroll: usize,
}

impl Compare {
    /// The file that the rows at hand are held against.
    pub(crate) fn other(&self) -> Option<&Loaded> {
        self.files.get(self.against)
    }

    /// The comparison, where there is one.
    pub(crate) fn comparison(&self) -> Option<&Comparison> {
        self.result.as_ref()?.as_ref().ok()
    }

    /// The cell under the cursor.
    pub(crate) fn selected(&self) -> Option<&CellComparison> {
        self.comparison()?.cells.get(*self.order.get(self.at)?)
    }

    /// Keeps within the files there are. Those at hand are the first file's where there is no run.
    pub(crate) fn clamp(&mut self, has_run: bool) {
        self.against = self.against.min(self.files.len().saturating_sub(1)).max(usize::from(!has_run));
    }

    /// Compares the rows of a run, or else those of the first file, with the other file's.
    pub(crate) fn refresh(&mut self, run: Option<&[Row]>) {
        let own = match (run, self.files.first()) {
            (Some(rows), _) => Some(("here", rows)),
            (None, Some(first)) => Some((first.name.as_str(), first.rows.as_slice())),
            (None, None) => None,
        };
        let Some((own, file)) = own.zip(self.files.get(self.against)) else {
            (self.result, self.across) = (None, false);
            self.sort();
            return;
        };
        let (result, across) = compared((&file.name, &file.rows), own);
        self.own = result.as_ref().map_or_else(|_| Vec::new(), |c| places(&c.cells, own.1));
        (self.result, self.across) = (Some(result), across);
        self.sort();
    }

    fn sort(&mut self) {
        let cells = self.comparison().map_or(&[][..], |c| &c.cells);
        let mut order: Vec<usize> = (0..cells.len()).collect();
        if self.by_verdict {
            order.sort_by_key(|i| VERDICTS.iter().position(|v| *v == cells[*i].verdict.word()));
        }
        if self.reverse {
            order.reverse();
        }
        self.at = self.at.min(order.len().saturating_sub(1));
        self.order = order;
    }

    /// Takes an action; says whether other files are to be compared.
    pub(crate) fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Detail => (self.around, self.scroll) = (!self.around, 0),
            Action::Back => self.around = false,
            _ if self.around => self.scroll = action.moved(self.scroll, MOST_SCROLL).unwrap_or(self.scroll),
            Action::Left | Action::Right if self.files.len() > 1 => {
                let n = self.files.len();
                self.against = if action == Action::Right { self.against + 1 } else { self.against + n - 1 } % n;
                return true;
            }
            Action::Sort => self.by_verdict = !self.by_verdict,
            Action::Reverse => self.reverse = !self.reverse,
            Action::CloseFile => {
                self.files.pop();
                return true;
            }
            _ => self.at = action.moved(self.at, self.order.len().saturating_sub(1)).unwrap_or(self.at),
        }
        if matches!(action, Action::Sort | Action::Reverse) {
            self.sort();
        }
        false
    }
}

/// Lines that can be scrolled at most.
const MOST_SCROLL: usize = 500;

/// The candidate held against the base; where they have no cell in common, across what may differ. Says which it was.
fn compared(base: (&str, &[Row]), candidate: (&str, &[Row])) -> (Result<Comparison, Refused>, bool) {
    let sides = side(base).and_then(|base| Ok((base, side(candidate)?)));
    let (base, candidate) = match sides {
        Ok(sides) => sides,
        Err(refused) => return (Err(refused), false),
    };
    let spreads = Spreads::of([&base, &candidate]);
    let of = |across: &[&str]| {
        let across = across.iter().map(|column| (*column).to_owned()).collect();
        compare(&base, &candidate, &Options { across, ..Options::default() }, &spreads)
    };
    let has_common = candidate.cells.iter().any(|cell| base.cell(&cell.key).is_some());
    // There is no command line here to name columns on.
    let plain = |Refused(why)| Refused(why.strip_suffix(ACROSS_HINT).unwrap_or(&why).to_owned());
    (of(if has_common { &[] } else { &ACROSS }).map_err(plain), !has_common)
}

/// Where the cells of a comparison stand among some rows: by key, or by what the key says beyond [`ACROSS`].
fn places(cells: &[CellComparison], rows: &[Row]) -> Vec<Option<usize>> {
    let mut of: HashMap<CellKey, usize> = HashMap::new();
    for (i, row) in rows.iter().enumerate() {
        let key = CellKey::of(row);
        of.entry(key.without(&ACROSS)).or_insert(i);
        of.insert(key, i);
    }
    cells.iter().map(|cell| of.get(&cell.key).or_else(|| of.get(&cell.key.without(&ACROSS))).copied()).collect()
}

/// The rows that something is known of as one side.
fn side((name, rows): (&str, &[Row])) -> Result<Side, Refused> {
    let mut sides = Sides::new(name, &[]);
    rows.iter().filter(|row| !row.status.is_empty()).try_for_each(|row| sides.add(row))?;
    let mut sides = sides.finish();
    match sides.len() {
        0 => Err(Refused(format!("{name} has no rows yet"))),
        1 => Ok(sides.remove(0)),
        _ => {
            let names: Vec<String> = sides.into_iter().map(|s| s.name).collect();
            let why = "is of several builds or machines; write the rows (w) and open that file to have each for itself";
            Err(Refused(format!("{name} {why}: {}", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten rounds about a time.
    fn row(id: u64, ns: f64, run_id: &str) -> Row {
        let rounds: Vec<f64> = (0..10).map(|r| ns * (1.0 + 0.001 * f64::from(r))).collect();
        Row {
            run_id: run_id.to_owned(),
            status: "ok".to_owned(),
            variant: "t2r".to_owned(),
            seq_len: id,
            round_values: serde_json::to_string(&rounds).expect("numbers"),
            ..Row::default()
        }
    }

    fn file(rows: Vec<Row>) -> Loaded {
        Loaded { name: "file.csv".to_owned(), rows, note: String::new() }
    }

    #[test]
    fn verdicts_are_those_of_the_comparison() {
        let own = [row(1, 100.0, "a"), row(2, 100.0, "a"), row(3, 100.0, "a"), row(4, 100.0, "a")];
        let mut failed = row(3, 50.0, "b");
        failed.status = "error".to_owned();
        let base = vec![row(1, 300.0, "b"), row(2, 110.0, "b"), failed];
        let mut compare = Compare { files: vec![file(base.clone())], ..Compare::default() };
        compare.refresh(Some(&own));
        let told = compare.comparison().expect("compared");
        let word = |len: &str| {
            let of = |c: &&CellComparison| c.key.get("seq_len") == len;
            told.cells.iter().find(of).map(|c| c.verdict.word())
        };
        // One launch a side: three times as fast is clear of what a machine differs from itself, ten percent is not.
        assert_eq!(["1", "2", "3", "4"].map(word), ["faster", "unclear", "incomparable", "missing"].map(Some));
        let direct = compared(("file.csv", &base), ("here", &own)).0;
        assert_eq!(compare.result, Some(direct));
        compare.act(Action::Sort);
        assert_eq!(compare.selected().map(|c| c.verdict.word()), Some("faster"));
        compare.act(Action::Reverse);
        assert_eq!(compare.selected().map(|c| c.verdict.word()), Some("missing"));
    }

    #[test]
    fn a_file_of_several_builds_is_taken_apart_and_one_that_contradicts_itself_is_not() {
        let of = |build: &str, id, run| Row { build_commit: build.to_owned(), ..row(id, 100.0, run) };
        let merged = || vec![of("abc", 1, "a"), of("def", 1, "b"), of("abc", 2, "a")];
        let parts = file(merged()).apart();
        let told: Vec<(&str, usize)> = parts.iter().map(|p| (p.name.as_str(), p.rows.len())).collect();
        assert_eq!(told, [("file.csv (abc)", 2), ("file.csv (def)", 1)]);
        assert!(parts.iter().all(|p| p.note.contains("2 builds")), "{:?}", parts[0].note);
        assert_eq!(file(vec![of("abc", 1, "a")]).apart().len(), 1);
        let contradicts = [merged(), vec![Row { build_commit: "abc".to_owned(), ..row(1, 900.0, "a") }]].concat();
        assert_eq!(file(contradicts).apart()[0].rows.len(), 4);
    }

    #[test]
    fn without_a_common_cell_another_implementation_is_compared_and_other_things_are_not() {
        let own = [Row { implementation: "fused".to_owned(), ..row(1, 100.0, "a") }];
        let other = vec![Row { implementation: "reference".to_owned(), ..row(1, 300.0, "b") }];
        let mut compare = Compare { files: vec![file(other)], ..Compare::default() };
        compare.refresh(Some(&own));
        assert!(compare.across && compare.comparison().is_some_and(|c| c.count("faster") == 1));
        compare.files = vec![file(vec![Row { workload: "decode".to_owned(), ..row(1, 300.0, "b") }])];
        compare.refresh(Some(&own));
        assert!(
            matches!(&compare.result, Some(Err(Refused(why))) if why.contains("no cell in common") && !why.contains("--"))
        );
    }
}
