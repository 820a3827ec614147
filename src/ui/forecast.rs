//! When the jobs of a list will start: a curve over how many are ahead, played through at a few points.
//!
//! An estimate plays the queue through a hundred times, which is little for one job and much for fifty, every two seconds.
//! The time of the start grows with the number of jobs ahead, so between two points of the curve a straight line will do.

use crate::eta::{self, Facts};

/// How many jobs are ahead at the points that are played through.
const POINTS: [usize; 6] = [0, 3, 8, 16, 32, 50];

/// How long until a slot is free for a job with so many ahead of it: as likely as not, and in nine cases of ten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Start {
    pub p50: f64,
    pub p90: f64,
}

impl Start {
    /// The later of two of each.
    pub fn later(self, other: Self) -> Self {
        Self { p50: self.p50.max(other.p50), p90: self.p90.max(other.p90) }
    }
}

/// The curve of one cap.
#[derive(Debug)]
pub struct Forecast {
    points: Vec<(usize, Start)>,
}

impl Forecast {
    /// `longest`: how many jobs are ahead of the last one that is asked for. `holders`: for how long each has had its slot.
    pub fn new(slots: usize, holders: &[f64], measured: &[f64], longest: usize) -> Self {
        let needed = POINTS.iter().position(|it| *it >= longest).map_or(POINTS.len(), |it| it + 1);
        let points = POINTS.iter().take(needed).filter_map(|ahead| {
            let facts = Facts { slots, holders, ahead: *ahead, of_all: measured, of_alike: measured };
            // The same dice each time: what is shown moves only when what is known does.
            let eta = eta::estimate(&facts, *ahead as u64)?;
            Some((*ahead, Start { p50: eta.starts_p50, p90: eta.starts_p90 }))
        });
        let mut points: Vec<_> = points.collect();
        // A throw of dice may put the later job first.
        for index in 1..points.len() {
            let before = points.get(index - 1).map(|it| it.1);
            if let (Some(before), Some(it)) = (before, points.get_mut(index)) {
                it.1 = it.1.later(before);
            }
        }
        Self { points }
    }

    /// None beyond the curve, and where too little was measured.
    pub fn start(&self, ahead: usize) -> Option<Start> {
        let after = self.points.iter().find(|it| it.0 >= ahead)?;
        let before = self.points.iter().rev().find(|it| it.0 <= ahead)?;
        let share = match after.0 - before.0 {
            0 => 0.0,
            width => (ahead - before.0) as f64 / width as f64,
        };
        let between = |from: f64, to: f64| from + share * (to - from);
        Some(Start { p50: between(before.1.p50, after.1.p50), p90: between(before.1.p90, after.1.p90) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_further_behind_starts_no_earlier() {
        let forecast = Forecast::new(2, &[5.0, 1.0], &[10.0; 20], 50);
        let starts: Vec<Start> = (0..=50).filter_map(|ahead| forecast.start(ahead)).collect();
        assert_eq!(starts.len(), 51);
        assert!(starts.windows(2).all(|it| it[0].p50 <= it[1].p50 && it[0].p90 <= it[1].p90));
        // Two slots of ten seconds each: fifty jobs ahead are 25 rounds.
        assert!((200.0..300.0).contains(&starts[50].p50), "{:?}", starts[50]);
        assert_eq!(forecast.start(51), None);
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured_or_cannot_start() {
        assert_eq!(Forecast::new(2, &[], &[1.0; 4], 9).start(0), None);
        assert_eq!(Forecast::new(0, &[], &[1.0; 40], 9).start(0), None);
    }
}
