//! When a job that waits will start, and end: from how long attempts hold their slots, who holds one now and for how long, and
//! how many jobs come before it.
//!
//! The queue is played through a number of times with times drawn from those measured, and what half and nine tenths of the
//! plays had is told. Each play first draws its own sample from the measured ones (a bootstrap): few measurements say little
//! about the mean, and a thousand jobs ahead multiply that. What is drawn is drawn from a seed, so that two replicas say the
//! same of the same facts. Jobs that arrive later with a higher priority, retries, and caps that change are not foreseen.

use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// Fewer measurements than this say nothing.
pub const FEWEST_SAMPLES: usize = 5;
/// How often the queue is played through: the ninetieth percentile of so many moves by a few percent.
const PLAYS: usize = 120;
/// The most jobs that one play steps through. A longer queue is played at a smaller scale, or as a sum.
const STEPS: usize = 1_000;
/// The fewest slots of a queue at a smaller scale: with fewer, the last slot to become free would tell too much.
const FEWEST_SLOTS: f64 = 10.0;

/// What is known. Times are in seconds.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    pub slots: usize,
    /// For how long each holder has had its slot.
    pub holders: &'a [f64],
    /// How many jobs would start before it.
    pub ahead: usize,
    /// How long attempts held their slots, whosever.
    pub of_all: &'a [f64],
    /// And those that are most like its own.
    pub of_alike: &'a [f64],
}

/// In so many seconds from now: half the plays were faster, or nine in ten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eta {
    pub starts_p50: f64,
    pub starts_p90: f64,
    pub ends_p50: f64,
    pub ends_p90: f64,
}

impl Eta {
    /// The later of two of each.
    pub fn later(self, other: Self) -> Self {
        Self {
            starts_p50: self.starts_p50.max(other.starts_p50),
            starts_p90: self.starts_p90.max(other.starts_p90),
            ends_p50: self.ends_p50.max(other.ends_p50),
            ends_p90: self.ends_p90.max(other.ends_p90),
        }
    }
}

/// None with too few measurements, or no slot.
pub fn estimate(facts: &Facts, seed: u64) -> Option<Eta> {
    if facts.slots == 0 || facts.of_all.len() < FEWEST_SAMPLES || facts.of_alike.len() < FEWEST_SAMPLES {
        return None;
    }
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut starts, mut ends) = (Vec::with_capacity(PLAYS), Vec::with_capacity(PLAYS));
    let mut drawn = vec![0.0; facts.of_all.len()];
    for _ in 0..PLAYS {
        drawn.iter_mut().for_each(|it| *it = pick(facts.of_all, &mut rng));
        drawn.sort_by(f64::total_cmp);
        let start = play(facts, &drawn, &mut rng);
        starts.push(start);
        ends.push(start + pick(facts.of_alike, &mut rng));
    }
    starts.sort_by(f64::total_cmp);
    ends.sort_by(f64::total_cmp);
    Some(Eta {
        starts_p50: quantile(&starts, 0.5),
        starts_p90: quantile(&starts, 0.9),
        ends_p50: quantile(&ends, 0.5),
        ends_p90: quantile(&ends, 0.9),
    })
}

/// When it starts, in one play.
fn play(facts: &Facts, drawn: &[f64], rng: &mut SmallRng) -> f64 {
    let jobs = facts.holders.len() + facts.ahead;
    let scale = jobs as f64 / STEPS as f64;
    if scale <= 1.0 {
        return step_through(facts.slots, facts.holders.iter().copied(), facts.ahead, drawn, rng);
    }
    let slots = facts.slots as f64 / scale;
    if slots >= FEWEST_SLOTS {
        let every = scale.ceil() as usize;
        let (slots, ahead) = (facts.slots / every, facts.ahead / every);
        return step_through(slots, facts.holders.iter().copied().step_by(every), ahead, drawn, rng);
    }
    // So many jobs for so few slots: they end one after another, and their times add up.
    let (mean, deviation) = moments(drawn);
    let left: f64 = facts.holders.iter().map(|held| left_of(*held, drawn, rng)).sum();
    let ahead = facts.ahead as f64;
    let over = facts.holders.len().saturating_sub(facts.slots) as f64;
    let work = left + ahead * mean + ahead.sqrt() * deviation * normal(rng);
    // The last of them need not be over, but for the one whose slot it takes.
    let running = (facts.slots as f64 - 1.0 - over).max(0.0) * mean / 2.0;
    ((work - running) / facts.slots as f64).max(0.0)
}

/// Each of those ahead takes the slot that is free first, and then it does.
fn step_through(
    slots: usize,
    holders: impl Iterator<Item = f64>,
    ahead: usize,
    drawn: &[f64],
    rng: &mut SmallRng,
) -> f64 {
    let mut ends: std::collections::BinaryHeap<Soonest> =
        holders.map(|held| Soonest(left_of(held, drawn, rng))).collect();
    let mut now: f64 = 0.0;
    for left in (0..=ahead).rev() {
        while ends.len() >= slots.max(1) {
            now = ends.pop().map_or(now, |it| it.0.max(now));
        }
        if left > 0 {
            ends.push(Soonest(now + pick(drawn, rng)));
        }
    }
    now
}

/// For how long somebody holds its slot who has held it for so long already: as those measured that held it for longer. One
/// that has outlasted them all is taken to be somewhere in its time, wherever.
fn left_of(held: f64, sorted: &[f64], rng: &mut SmallRng) -> f64 {
    let longer = &sorted[sorted.partition_point(|it| *it <= held)..];
    if longer.is_empty() {
        // The time it took to get here is as likely to be the first part of it as the last.
        let share: f64 = rng.random_range(0.1..1.0);
        return held * (1.0 / share - 1.0);
    }
    pick(longer, rng) - held
}

fn pick(from: &[f64], rng: &mut SmallRng) -> f64 {
    from.get(rng.random_range(0..from.len().max(1))).copied().unwrap_or(0.0)
}

/// The sum of twelve evenly spread numbers is as good as normal for our purpose.
fn normal(rng: &mut SmallRng) -> f64 {
    (0..12).map(|_| rng.random_range(0.0..1.0)).sum::<f64>() - 6.0
}

fn moments(of: &[f64]) -> (f64, f64) {
    let count = of.len().max(1) as f64;
    let mean = of.iter().sum::<f64>() / count;
    (mean, (of.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / count).sqrt())
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(0.0)
}

/// The soonest comes first out of the heap.
struct Soonest(f64);

impl PartialEq for Soonest {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Soonest {}

impl PartialOrd for Soonest {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Soonest {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.0.total_cmp(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(slots: usize, holders: &'a [f64], ahead: usize, times: &'a [f64]) -> Facts<'a> {
        Facts { slots, holders, ahead, of_all: times, of_alike: times }
    }

    fn near(got: f64, expected: f64, share: f64) -> bool {
        (got - expected).abs() <= expected * share
    }

    #[test]
    fn jobs_of_one_length_start_on_the_minute() {
        let times = [60.0; 20];
        // Two slots, held for 10 and 40 seconds; four before it: two rounds, and then the slot of the first.
        let eta = estimate(&facts(2, &[10.0, 40.0], 4, &times), 1).unwrap();
        assert_eq!(eta, Eta { starts_p50: 140.0, starts_p90: 140.0, ends_p50: 200.0, ends_p90: 200.0 });
        // With a slot free it starts at once, and not before those that a lowered cap leaves over have gone.
        assert_eq!(estimate(&facts(3, &[10.0, 40.0], 0, &times), 1).unwrap().starts_p90, 0.0);
        assert_eq!(estimate(&facts(1, &[10.0, 40.0], 0, &times), 1).unwrap().starts_p50, 50.0);
    }

    #[test]
    fn nothing_is_said_without_slots_or_measurements() {
        assert_eq!(estimate(&facts(0, &[], 0, &[1.0; 9]), 1), None);
        assert_eq!(estimate(&facts(1, &[], 0, &[1.0; 4]), 1), None);
    }

    #[test]
    fn the_same_facts_have_the_same_answer() {
        let times: Vec<f64> = (1..50).map(f64::from).collect();
        let facts = facts(3, &[5.0, 70.0, 2.0], 20, &times);
        assert_eq!(estimate(&facts, 7), estimate(&facts, 7));
    }

    #[test]
    fn long_queues_are_played_at_a_smaller_scale_and_come_to_the_same() {
        let times: Vec<f64> = (1..=200).map(f64::from).collect();
        for (slots, ahead) in [(1, 900), (1, 5_000), (4, 50_000), (50, 800), (500, 20_000), (20_000, 100_000)] {
            let holders: Vec<f64> = (0..slots).map(|it| f64::from(it % 90)).collect();
            let eta = estimate(&facts(holders.len(), &holders, ahead, &times), 3).unwrap();
            let expected = ahead as f64 * 100.5 / f64::from(slots);
            // Most of it is the work ahead; the rest is what the holders have left.
            assert!(
                near(eta.starts_p50, expected, 0.2) || near(eta.starts_p50, expected + 60.0, 0.2),
                "{slots} {ahead} {eta:?} {expected}"
            );
            assert!(
                eta.starts_p50 < eta.starts_p90 && eta.starts_p90 < expected * 1.4 + 60.0,
                "{slots} {ahead} {eta:?}"
            );
        }
    }

    #[test]
    fn who_has_outlasted_all_measurements_is_not_expected_to_end_at_once() {
        let eta = estimate(&facts(1, &[3_600.0], 0, &[10.0; 30]), 1).unwrap();
        assert!(eta.starts_p50 > 1_000.0 && eta.starts_p90 > 5_000.0, "{eta:?}");
    }

    /// Queues of jobs whose times are drawn, and what was said of the last of them while the others ran.
    #[test]
    fn nine_in_ten_start_by_the_time_that_is_told_for_nine_in_ten() {
        let mut rng = SmallRng::seed_from_u64(42);
        let (mut by_p50, mut by_p90, runs) = (0, 0, 400);
        for run in 0..runs {
            // Mostly short, some long: the logarithm of the time is spread evenly from a second to five minutes.
            let mut time = || rng.random_range(0.0_f64..300.0_f64.ln()).exp();
            let measured: Vec<f64> = (0..60).map(|_| time()).collect();
            let (slots, ahead) = (1 + run % 7, run % 23);
            let lengths: Vec<f64> = (0..slots + ahead).map(|_| time()).collect();
            // The holders began together, and ten seconds ago; those who are over have made room for others since.
            let mut ends: Vec<(f64, f64)> = lengths[..slots].iter().map(|it| (0.0, *it)).collect();
            let mut later = lengths[slots..].iter();
            let mut begin = |ends: &mut Vec<(f64, f64)>| {
                let first = (0..ends.len()).min_by(|a, b| ends[*a].1.total_cmp(&ends[*b].1)).unwrap();
                let at = ends[first].1;
                later.next().map(|length| ends[first] = (at, at + length))
            };
            let mut left = ahead;
            while ends.iter().any(|it| it.1 <= 10.0) && begin(&mut ends).is_some() {
                left -= 1;
            }
            let holders: Vec<f64> = ends.iter().filter(|it| it.1 > 10.0).map(|it| 10.0 - it.0).collect();
            while begin(&mut ends).is_some() {}
            let start = (ends.iter().map(|it| it.1).fold(f64::MAX, f64::min) - 10.0).max(0.0);
            let eta = estimate(&facts(slots, &holders, left, &measured), run as u64).unwrap();
            by_p50 += u32::from(start <= eta.starts_p50);
            by_p90 += u32::from(start <= eta.starts_p90);
        }
        assert!((160..=260).contains(&by_p50), "{by_p50} of {runs}");
        assert!((344..=392).contains(&by_p90), "{by_p90} of {runs}");
    }
}
