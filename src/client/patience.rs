//! When a request is made again, and how long to wait before.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use tokio::time::Instant;

/// How long after a request first failed it may still be made again.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How often a request is made again at most.
const RETRIES: u32 = 5;
/// How long to wait before the first repetition; each later one waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What is left of the patience with one request.
#[derive(Debug, Default)]
pub struct Patience {
    retries: u32,
    until: Option<Instant>,
}

impl Patience {
    /// How long to wait, at least `at_least`, before the request is made again; nothing when patience is at its end.
    pub fn pause(&mut self, at_least: Duration) -> Option<Duration> {
        let until = *self.until.get_or_insert_with(|| Instant::now() + PATIENCE);
        let pause = pause(self.retries, at_least, rand::random());
        self.retries += 1;
        (self.retries <= RETRIES && Instant::now() + pause < until).then_some(pause)
    }
}

/// How long to wait before repetition number `retry`; `jitter`, from 0 to 1, keeps many clients apart.
fn pause(retry: u32, at_least: Duration, jitter: f64) -> Duration {
    let most = FIRST_PAUSE.saturating_mul(1 << retry.min(8));
    at_least + most.mul_f64(if at_least.is_zero() { 0.5 + jitter / 2.0 } else { jitter / 2.0 })
}

/// How long the header Retry-After asks to wait, in either of its spellings.
pub fn retry_after(header: Option<&str>, now: Timestamp) -> Duration {
    let Some(text) = header.map(str::trim) else { return Duration::ZERO };
    if let Ok(secs) = text.parse::<u32>() {
        return Duration::from_secs(secs.into());
    }
    let at = rfc2822::parse(text).map(|it| it.timestamp());
    at.map_or(SignedDuration::ZERO, |at| at.duration_since(now)).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_differ_and_honour_the_server() {
        let millis = |retry, jitter| pause(retry, Duration::ZERO, jitter).as_millis();
        assert_eq!([0, 1, 2].map(|it| millis(it, 0.0)), [125, 250, 500]);
        assert_eq!([0, 1, 2].map(|it| millis(it, 1.0)), [250, 500, 1_000]);
        assert!(pause(u32::MAX, Duration::from_secs(3), 0.0) >= Duration::from_secs(3));
        let now = "2026-11-21T02:00:00Z".parse().unwrap_or_default();
        let secs = |it| retry_after(it, now).as_secs();
        assert_eq!(secs(Some("Sat, 21 Nov 2026 02:00:07 GMT")), 7);
        let nothing = [None, Some("-1"), Some("soon"), Some("Sat, 21 Nov 2026 01:00:00 GMT")];
        assert_eq!(nothing.map(secs), [0; 4]);
    }

    #[test]
    fn patience_ends_by_count_and_by_time() {
        let mut patience = Patience::default();
        assert_eq!((0..10).filter(|_| patience.pause(Duration::ZERO).is_some()).count(), 5);
        assert_eq!(Patience::default().pause(PATIENCE), None);
        assert_eq!(Patience::default().pause(Duration::from_secs(u32::MAX.into())), None);
    }
}
