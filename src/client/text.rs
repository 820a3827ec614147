//! Text that is safe to print, whoever wrote it; times and durations as people read them.
//!
//! Job names, messages and pod names come from others. Printed as they are, they could move the cursor, retitle the
//! window, or look like another line. [`Shown`] is cleaned where it is read, so that no printing code has to remember.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Text of the server that is safe on a terminal: in one line, without control characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown(String);

impl Shown {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Shown {
    fn from(text: &str) -> Self {
        Self(clean(text))
    }
}

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(clean(&String::deserialize(from)?)))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// `text` in one line, without what a terminal would obey.
pub fn clean(text: &str) -> String {
    let one_line = |c| if matches!(c, '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}') { ' ' } else { c };
    text.chars().map(one_line).filter(|&c| !is_hostile(c)).collect()
}

/// C0 and C1 control characters and DEL, which terminals obey; and what reorders text, so that it reads as another.
pub fn is_hostile(c: char) -> bool {
    let reorders =
        matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || reorders
}

/// `value` as JSON whose meaning is untouched and whose bytes are safe on a terminal. JSON itself lets C1 through.
pub fn json(value: &Value, pretty: bool) -> String {
    let text = if pretty { format!("{value:#}") } else { value.to_string() };
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push(c),
            c if is_hostile(c) => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => safe.push(c),
        }
    }
    safe
}

/// At most `chars` characters of `text`.
pub fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        None => text.to_owned(),
        Some(_) => text.chars().take(chars.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// How times are told: to people by how long ago, to programs in full.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    Ago { now: Timestamp },
    Utc,
}

impl Clock {
    pub fn tell(self, at: Timestamp) -> String {
        let Self::Ago { now } = self else { return at.to_string() };
        let past = now.duration_since(at);
        match past.is_negative() {
            false => format!("{} ago", length(past.unsigned_abs())),
            true => format!("in {}", length(past.unsigned_abs())),
        }
    }

    /// `at`, or a dash.
    pub fn tell_maybe(self, at: Option<Timestamp>) -> String {
        at.map_or_else(|| "-".into(), |it| self.tell(it))
    }
}

/// A duration in its largest unit of which there are at least two.
fn length(it: Duration) -> String {
    let secs = it.as_secs();
    match secs {
        0..120 => format!("{secs}s"),
        120..7_200 => format!("{}m", secs / 60),
        7_200..172_800 => format!("{}h", secs / 3_600),
        _ => format!("{}d", secs / 86_400),
    }
}

/// A duration of the command line: `90s`, `15m`, `1h30m`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// As it was written, which is how the API takes it.
    pub text: String,
    pub length: Duration,
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed: SignedDuration =
            text.parse().map_err(|_| "must be a duration such as 90s, 15m or 1h30m".to_owned())?;
        let length = Duration::try_from(parsed).map_err(|_| "must not be negative".to_owned())?;
        Ok(Self { text: text.into(), length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_stripped() {
        assert_eq!(clean("\u{1b}]0;owned\u{7}name"), "]0;ownedname");
        assert_eq!(clean("a\nb\tc\r\nd"), "a b c  d");
        assert_eq!(clean("\u{9b}31mred\u{7f}\u{0}"), "31mred");
        assert_eq!(clean("abc\u{202e}gpj.exe\u{2066}"), "abcgpj.exe");
        assert_eq!(clean("größe 名前 🚢"), "größe 名前 🚢");
        let shown: Shown = serde_json::from_str(r#""x\u001b[2J\u009by""#).unwrap_or_default();
        assert_eq!(shown.as_str(), "x[2Jy");
    }

    #[test]
    fn json_keeps_its_meaning_and_loses_its_teeth() {
        let value = serde_json::json!({"name": "a\u{1b}\u{9b}\u{7f}\u{202e}\n\"ü"});
        for pretty in [false, true] {
            let text = json(&value, pretty);
            assert!(!text.chars().any(|c| c != '\n' && is_hostile(c)), "{text:?}");
            assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value.clone()));
        }
    }

    #[test]
    fn times_are_told_in_one_unit_and_may_be_ahead() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1_000);
        let ago = |secs| Clock::Ago { now }.tell(now - SignedDuration::from_secs(secs));
        assert_eq!(
            [0, 119, 120, 7_199, 7_200, 172_799, 172_800, -90].map(ago),
            ["0s ago", "119s ago", "2m ago", "119m ago", "2h ago", "47h ago", "2d ago", "in 90s"]
        );
        assert_eq!(Clock::Utc.tell(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn durations_are_what_the_api_takes() {
        let length = |text: &str| text.parse::<Span>().map(|it| it.length.as_secs_f64()).ok();
        assert_eq!(["90s", "15m", "1h30m", "250ms", "0s"].map(length), [90.0, 900.0, 5_400.0, 0.25, 0.0].map(Some));
        assert_eq!(["", "90", "-5s", "soon", "1e999h", "99999999999999999999h"].map(length), [None; 6]);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(cut("ääää", 4), "ääää");
        assert_eq!(cut("äääää", 4), "äää…");
        assert_eq!(cut("a", 0), "…");
    }
}
