//! Several files made one: shards and launches side by side, nothing lost, nothing twice.

use std::collections::HashMap;

use super::row::Row;

/// A row and where it came from.
struct Kept {
    row: Row,
    path: String,
}

/// Rows of many files, each once.
#[derive(Default)]
pub struct Merge {
    kept: Vec<Kept>,
    index: HashMap<(String, String), usize>,
    /// Rows that were there already, word for word.
    pub duplicates: usize,
    /// Rows of interrupted cells that gave way to what the cell came to later in the same run.
    pub replaced: usize,
}

/// Two rows that cannot both be.
#[derive(Debug, thiserror::Error)]
#[error(
    "run {run_id} has the cell {cell_id} in {first} too, with other values in {columns}; give only the file that it \
     belongs to"
)]
pub struct MergeError {
    run_id: String,
    cell_id: String,
    first: String,
    columns: String,
}

impl Merge {
    /// Takes a row of that file in: rows of one run and one cell must be equal, but that a row of a cell that was
    /// interrupted gives way to one that is final.
    ///
    /// # Errors
    /// [`MergeError`].
    pub fn add(&mut self, path: &str, row: Row) -> Result<(), MergeError> {
        let id = (row.run_id.clone(), row.cell_id.clone());
        let Some(&at) = self.index.get(&id) else {
            self.index.insert(id, self.kept.len());
            self.kept.push(Kept { row, path: path.to_owned() });
            return Ok(());
        };
        let known = &mut self.kept[at];
        match (known.row.is_final(), row.is_final()) {
            _ if known.row == row => self.duplicates += 1,
            (false, true) => {
                self.replaced += 1;
                *known = Kept { row, path: path.to_owned() };
            }
            (true, false) => self.replaced += 1,
            _ => {
                let (run_id, cell_id) = id;
                let columns = differing(&known.row, &row);
                return Err(MergeError { run_id, cell_id, first: known.path.clone(), columns });
            }
        }
        Ok(())
    }

    /// The rows, in the order in which they were first met.
    #[must_use]
    pub fn into_rows(self) -> Vec<Row> {
        self.kept.into_iter().map(|k| k.row).collect()
    }
}

/// The columns in which two rows differ; the first few of them.
fn differing(a: &Row, b: &Row) -> String {
    const MOST: usize = 4;
    let names: Vec<&str> = super::row::COLUMNS.iter().copied().filter(|c| a.text(c) != b.text(c)).collect();
    let more = if names.len() > MOST { format!(" and {} more", names.len() - MOST) } else { String::new() };
    names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(run: &str, cell: &str, ns: f64) -> Row {
        Row {
            run_id: run.to_owned(),
            cell_id: cell.to_owned(),
            status: "ok".to_owned(),
            p50_ns: Some(ns),
            ..Row::default()
        }
    }

    #[test]
    fn rows_of_shards_and_launches_stand_side_by_side_and_the_same_row_once() {
        let mut merge = Merge::default();
        for (path, row) in [("a", row("1", "x", 1.0)), ("b", row("2", "x", 2.0)), ("c", row("1", "x", 1.0))] {
            merge.add(path, row).expect("taken in");
        }
        assert_eq!(merge.duplicates, 1);
        assert_eq!(merge.into_rows(), [row("1", "x", 1.0), row("2", "x", 2.0)]);
    }

    #[test]
    fn unlike_rows_of_one_run_and_cell_are_refused_with_what_differs() {
        let mut merge = Merge::default();
        merge.add("a.csv", row("1", "x", 1.0)).expect("taken in");
        let error = merge.add("b.csv", row("1", "x", 2.0)).expect_err("contradicts").to_string();
        assert!(error.contains("run 1 has the cell x in a.csv too") && error.contains("p50_ns"), "{error}");
    }

    #[test]
    fn an_interrupted_row_gives_way_in_either_order() {
        let cut = Row { status: "interrupted".to_owned(), ..row("1", "x", 5.0) };
        for rows in [[cut.clone(), row("1", "x", 1.0)], [row("1", "x", 1.0), cut]] {
            let mut merge = Merge::default();
            rows.into_iter().for_each(|row| merge.add("f", row).expect("taken in"));
            assert_eq!((merge.replaced, merge.into_rows()), (1, vec![row("1", "x", 1.0)]));
        }
    }
}
