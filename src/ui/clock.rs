//! Times as people read them: how long ago, with the exact time beside it for whoever asks.

use jiff::{SignedDuration, Timestamp};

/// A point in time on a page.
#[derive(Debug, Clone)]
pub struct When {
    /// For machines, and for whoever points at it.
    pub exact: String,
    /// For people.
    pub told: String,
}

/// Tells times as of one moment, so that all of a page agree.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    now: Timestamp,
}

impl Clock {
    pub fn now() -> Self {
        Self { now: Timestamp::now() }
    }

    pub fn at(now: Timestamp) -> Self {
        Self { now }
    }

    /// "3 m ago", or "in 3 m".
    pub fn when(&self, at: Timestamp) -> When {
        let secs = self.now.duration_since(at).as_secs();
        let told = match secs {
            0..=1 => "just now".to_owned(),
            2.. => format!("{} ago", length(secs)),
            _ => format!("in {}", length(-secs)),
        };
        When { exact: exact(at), told }
    }

    /// The same, for templates, which have references.
    pub fn tell(&self, at: &Timestamp) -> When {
        self.when(*at)
    }

    /// "3 m": for how long something has been so.
    pub fn tell_since(&self, at: &Timestamp) -> When {
        self.since(*at)
    }

    /// "3 m": for how much longer.
    pub fn tell_until(&self, at: &Timestamp) -> When {
        self.until(*at)
    }

    /// "3 m": since when something is so.
    pub fn since(&self, at: Timestamp) -> When {
        When { exact: exact(at), told: length(self.now.duration_since(at).as_secs()) }
    }

    /// How long it is until then, at least nothing.
    pub fn until(&self, at: Timestamp) -> When {
        When { exact: exact(at), told: length(at.duration_since(self.now).as_secs().max(0)) }
    }

    /// How long it took, or has taken so far.
    pub fn between(&self, from: Timestamp, to: Option<Timestamp>) -> String {
        span(to.unwrap_or(self.now).duration_since(from))
    }
}

/// To the millisecond: more is noise on a page.
pub fn exact(at: Timestamp) -> String {
    let millis = Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
    millis.to_string()
}

/// A span with tenths of a second, as long as they tell something.
pub fn span(length_of: SignedDuration) -> String {
    match length_of.as_secs_f64() {
        secs if secs < 0.05 => "0 s".to_owned(),
        secs if secs < 10.0 => format!("{secs:.1} s"),
        _ => length(length_of.as_secs()),
    }
}

/// In the two largest units: "42 s", "3 m 20 s", "2 h 5 m", "3 d 4 h".
pub fn length(secs: i64) -> String {
    let secs = secs.max(0);
    let (minutes, hours, days) = (secs / 60, secs / 3_600, secs / 86_400);
    let two = |large: i64, of: &str, small: i64, unit: &str| match small {
        0 => format!("{large} {of}"),
        _ => format!("{large} {of} {small} {unit}"),
    };
    match secs {
        0..60 => format!("{secs} s"),
        60..3_600 => two(minutes, "m", secs % 60, "s"),
        3_600..86_400 => two(hours, "h", minutes % 60, "m"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_two_largest_units_and_may_be_ahead() {
        assert_eq!(
            [0, 59, 60, 200, 3_600, 7_500, 273_600].map(length),
            ["0 s", "59 s", "1 m", "3 m 20 s", "1 h", "2 h 5 m", "3 d 4 h"]
        );
        let clock = Clock::at(Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1_000));
        let told = |secs| clock.when(clock.now - SignedDuration::from_secs(secs)).told;
        assert_eq!([0, 5, 130, -90].map(told), ["just now", "5 s ago", "2 m 10 s ago", "in 1 m 30 s"]);
        assert_eq!(span(SignedDuration::from_millis(1_240)), "1.2 s");
        assert_eq!(span(SignedDuration::from_millis(-300)), "0 s");
    }
}
