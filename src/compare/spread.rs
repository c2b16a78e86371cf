//! What the same differs from itself between launches, machine by machine: told from every side that has several.

use std::collections::HashMap;

use super::{key::CellKey, side::Side, types::Spread};
use crate::stats::{Squares, median};

/// Spreads by machine.
#[derive(Debug, Clone, Default)]
pub struct Spreads(HashMap<String, MachineSpread>);

#[derive(Debug, Clone, Default)]
struct MachineSpread {
    cells: HashMap<CellKey, Squares>,
    all: Squares,
    launches: usize,
}

impl Spreads {
    /// From these sides; each counts for its machine, about its own mean, so that builds may differ.
    #[must_use]
    pub fn of<'a>(sides: impl IntoIterator<Item = &'a Side>) -> Self {
        let mut spreads = Self::default();
        for side in sides {
            let of_machine = spreads.0.entry(side.machine()).or_default();
            let mut most = 0;
            for cell in &side.cells {
                let medians: Vec<f64> = cell.launches.iter().filter_map(|l| median(&l.figures)).map(f64::ln).collect();
                if medians.len() > 1 {
                    let squares = Squares::of(&medians);
                    let known = of_machine.cells.entry(cell.key.clone()).or_default();
                    *known = known.and(squares);
                    of_machine.all = of_machine.all.and(squares);
                    most = most.max(medians.len());
                }
            }
            of_machine.launches += most;
        }
        spreads.0.retain(|_, s| s.launches > 0);
        spreads
    }

    /// How launches of a cell vary on that machine, if it is known: as the cell itself does, or as the machine's cells do
    /// on average, whichever is more. Cells of a launch drift together, so that many cells are no more launches: all of
    /// them have the degrees of freedom of one.
    pub(super) fn of_cell(&self, machine: &str, key: Option<&CellKey>) -> Option<Squares> {
        let of_machine = self.0.get(machine)?;
        let average = of_machine.all.variance()?;
        let (variance, df) = match key.and_then(|key| of_machine.cells.get(key)) {
            Some(own) => (own.variance()?.max(average), own.df),
            None => (average, of_machine.cells.values().map(|s| s.df).fold(f64::INFINITY, f64::min)),
        };
        Some(Squares { sum: variance * df, df })
    }

    /// What was measured of these machines.
    pub(super) fn known(&self, machines: &[String]) -> Vec<Spread> {
        let one = |machine: &String| {
            let of_machine = self.0.get(machine)?;
            Some(Spread {
                machine_id: machine.split(' ').next().unwrap_or_default().to_owned(),
                log_sd: of_machine.all.variance()?.sqrt(),
                launches: of_machine.launches,
                cells: of_machine.cells.len(),
            })
        };
        let mut machines = machines.to_vec();
        machines.dedup();
        machines.iter().filter_map(one).collect()
    }
}
