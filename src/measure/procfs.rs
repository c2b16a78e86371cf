//! What Linux says about CPU time, as text in and numbers out. Reads no file and knows no other system.

use std::time::Duration;

/// `/proc` counts in ticks of 1/100 s on every architecture that this program meets (USER_HZ; proc(5)).
const TICK: Duration = Duration::from_millis(10);
/// Below this a visit has too few ticks: two ticks of error on 200 ms are already 10 % of a core.
const LEAST_WALL: Duration = Duration::from_millis(200);

/// Ticks of all CPUs, and of this process with all its threads, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuTicks {
    /// Ticks in which some CPU did not idle, stolen ones included.
    pub(super) busy: u64,
    /// Ticks of this process, all its threads.
    pub(super) own: u64,
}

impl CpuTicks {
    /// Reads the texts of `/proc/stat` and `/proc/self/stat`; `None` where they are not as proc(5) says.
    pub(super) fn parse(stat: &str, self_stat: &str) -> Option<Self> {
        Some(Self { busy: busy_ticks(stat)?, own: own_ticks(self_stat)? })
    }
}

/// CPU time of other processes between two moments `wall` apart, in percent of one core, at least 0 (the two counts are
/// rounded apart); `None` for less than 200 ms.
pub(super) fn foreign_cpu_pct(before: CpuTicks, after: CpuTicks, wall: Duration) -> Option<f64> {
    if wall < LEAST_WALL {
        return None;
    }
    let busy = after.busy.saturating_sub(before.busy);
    let foreign = busy.saturating_sub(after.own.saturating_sub(before.own));
    Some(100.0 * foreign as f64 * TICK.as_secs_f64() / wall.as_secs_f64())
}

/// The line `cpu  user nice system idle iowait irq softirq steal guest guest_nice`; guests are counted in user and nice.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, _idle, _iowait, rest @ ..] = fields.as_slice() else { return None };
    Some(user + nice + system + rest.iter().take(3).sum::<u64>())
}

/// Fields 14 (utime) and 15 (stime); counted from behind the command's last parenthesis, since a name may hold blanks.
fn own_ticks(self_stat: &str) -> Option<u64> {
    let (_, fields) = self_stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut tick = || fields.next()?.parse::<u64>().ok();
    Some(tick()? + tick()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 20 30 5000 7 1 2 4 9 9\ncpu0 50 10 15 2500 3 0 1 2 0 0\nintr 1 2\n";
    const SELF: &str = "42 (a ) b) R 1 2 3 0 -1 4194304 97 0 0 0 60 8 1 1 20 0 1 0 90517 3133440 407";

    #[test]
    fn busy_is_all_but_idle_and_waiting_and_counts_guests_once() {
        // 100 + 20 + 30 + 1 + 2 + 4.
        assert_eq!(busy_ticks(STAT), Some(157));
        // Kernels before 2.6.11 have no steal, and before 2.6.0 no irq.
        assert_eq!(busy_ticks("cpu  1 2 3 4 5\n"), Some(6));
    }

    #[test]
    fn own_time_is_found_behind_any_name() {
        assert_eq!(own_ticks(SELF), Some(68));
    }

    #[test]
    fn other_texts_give_nothing() {
        for (stat, own) in [("", SELF), ("cpu 1 2", SELF), ("cpu a b c d e", SELF), (STAT, ""), (STAT, "1 (x) R 1")] {
            assert_eq!(CpuTicks::parse(stat, own), None, "{stat} {own}");
        }
    }

    #[test]
    fn what_is_not_ours_is_foreign() {
        let before = CpuTicks { busy: 1000, own: 500 };
        // Within 1 s: 150 ticks on all cores, 120 of them ours, so 30 ticks = 300 ms are foreign.
        let after = CpuTicks { busy: 1150, own: 620 };
        assert_eq!(foreign_cpu_pct(before, after, Duration::from_secs(1)), Some(30.0));
        assert_eq!(foreign_cpu_pct(before, after, Duration::from_millis(199)), None);
        // Rounding may credit us with a tick more than all CPUs together.
        let rounded = CpuTicks { busy: 1100, own: 601 };
        assert_eq!(foreign_cpu_pct(before, rounded, Duration::from_secs(1)), Some(0.0));
    }
}
