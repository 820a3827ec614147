//! A place in the stream of events: what a reader has seen, exactly, in a text that it can hand to any replica.

use std::{fmt, str::FromStr};

/// The longest text of a place, in bytes. It names the transactions that were under way, of which Postgres has as many as it
/// has connections.
const TEXT_BYTES: usize = 32 * 1024;
/// How the text begins; another way of writing it will begin otherwise.
const VERSION: &str = "1";
/// The longest name of a line of snapshots, in bytes. Ours have twelve.
const EPOCH_BYTES: usize = 32;

/// What a moment showed: every transaction below `xmax` that is not among those that were under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    xmin: u64,
    xmax: u64,
    under_way: Vec<u64>,
}

/// A text that is neither a snapshot nor a place.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable;

impl Snapshot {
    /// Whether it shows all that `other` shows. Of two snapshots of one database one always does.
    pub fn includes(&self, other: &Self) -> bool {
        let shown_there = |it: &u64| *it < other.xmax && other.under_way.binary_search(it).is_err();
        self.xmax >= other.xmax && !self.under_way.iter().any(shown_there)
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (index, it) in self.under_way.iter().enumerate() {
            write!(f, "{}{it}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Snapshot {
    type Err = Unreadable;

    /// Takes only what Postgres takes as well, so that no statement fails on what a client made up.
    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let mut parts = text.split(':');
        let (Some(xmin), Some(xmax), Some(list), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Unreadable);
        };
        let under_way = match list {
            "" => Vec::new(),
            list => list.split(',').map(number).collect::<Result<Vec<_>, _>>()?,
        };
        let snapshot = Self { xmin: number(xmin)?, xmax: number(xmax)?, under_way };
        let within = |it: &u64| (snapshot.xmin..snapshot.xmax).contains(it);
        let fits = snapshot.xmin > 0
            && snapshot.xmin <= snapshot.xmax
            && snapshot.under_way.iter().all(within)
            && snapshot.under_way.is_sorted_by(|a, b| a < b);
        if fits { Ok(snapshot) } else { Err(Unreadable) }
    }
}

/// A number as we write it: digits only. Not so large that Postgres would take it for another one.
fn number(text: &str) -> Result<u64, Unreadable> {
    let plain = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    text.parse().ok().filter(|it| plain && *it <= i64::MAX as u64).ok_or(Unreadable)
}

/// All that `from` showed was seen, and of what `to` shows besides, the events up to `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The line of snapshots that both are of.
    pub epoch: String,
    /// When `to` was taken, in milliseconds since 1970.
    pub millis: i64,
    pub from: Snapshot,
    pub to: Snapshot,
    pub after: i64,
}

impl Place {
    /// Where all that `seen` shows was seen, and nothing else.
    pub fn at(epoch: String, millis: i64, seen: Snapshot) -> Self {
        Self { epoch, millis, from: seen.clone(), to: seen, after: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}.{}.{}.{}.{}", self.epoch, self.millis, self.after, self.to)?;
        if self.from != self.to { write!(f, ".{}", self.from) } else { Ok(()) }
    }
}

impl FromStr for Place {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        if text.len() > TEXT_BYTES {
            return Err(Unreadable);
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [VERSION, epoch, millis, after, to, from @ ..] = parts.as_slice() else { return Err(Unreadable) };
        let named = (1..=EPOCH_BYTES).contains(&epoch.len()) && epoch.bytes().all(|it| it.is_ascii_alphanumeric());
        let to: Snapshot = to.parse()?;
        let from = match from {
            [] => to.clone(),
            [from] => from.parse()?,
            _ => return Err(Unreadable),
        };
        let signed = |text: &str| number(text).map(u64::cast_signed);
        let place = Self { epoch: (*epoch).to_owned(), millis: signed(millis)?, from, to, after: signed(after)? };
        if named && place.to.includes(&place.from) { Ok(place) } else { Err(Unreadable) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.parse().unwrap()
    }

    #[test]
    fn a_later_snapshot_includes_an_earlier_one_and_not_the_other_way() {
        let line = ["10:10:", "10:12:10", "10:15:10,13", "13:15:13", "15:15:", "15:20:15,17,19"];
        for (earlier, a) in line.iter().enumerate() {
            for (later, b) in line.iter().enumerate() {
                assert_eq!(snapshot(b).includes(&snapshot(a)), earlier <= later, "{b} includes {a}");
            }
        }
    }

    #[test]
    fn what_nobody_was_given_is_no_place() {
        let whole = "1.0a1b2c.1763726400000.42.13:15:13.10:12:10";
        assert_eq!(whole.parse::<Place>().unwrap().to_string(), whole);
        assert_eq!("1.a.1.0.13:15:13".parse::<Place>().unwrap().to_string(), "1.a.1.0.13:15:13");
        for text in [
            "",
            "42",
            "1",
            "1.....",
            "2.a.1.0.13:15:13",
            "1..1.0.13:15:13",
            "1.a b.1.0.13:15:13",
            "1.a.-1.0.13:15:13",
            "1.a.1.+1.13:15:13",
            "1.a.1.0.0:15:13",
            "1.a.1.0.15:13:",
            "1.a.1.0.13:15:12",
            "1.a.1.0.13:15:15",
            "1.a.1.0.13:15:14,13",
            "1.a.1.0.13:15:13,13",
            "1.a.1.0.13:15:13,",
            "1.a.1.0.13:15",
            "1.a.1.0.13:15:13:",
            "1.a.1.0.13:99999999999999999999:",
            "1.a.1.0.13:18446744073709551615:",
            // What it has seen before is not part of what it has seen.
            "1.a.1.0.10:12:10.13:15:13",
            "1.a.1.0.13:15:13.10:12:10.10:12:10",
        ] {
            assert_eq!(text.parse::<Place>(), Err(Unreadable), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_a_place_never_panics(text in "[0-9a-f.:,\\-]{0,60}") {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert_eq!(place.to_string().parse::<Place>(), Ok(place));
            }
        }
    }
}
