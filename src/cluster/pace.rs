//! How fast Kubernetes Jobs are created: as fast as allowed, until the API server asks for less by 429, by errors or by
//! growing slow; then at half the rate, and from there slowly faster again. As TCP does it: more by addition, less by
//! halving, so that several replicas that share a server find shares of their own without speaking to each other.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The slowest pace: one create a second asks the server whether it is well again, and costs it nothing.
const LEAST_PER_SEC: f64 = 1.0;
/// An answer that takes longer says that the server has enough to do.
const SLOW: Duration = Duration::from_secs(2);
/// The rate is halved once for all that was under way when the trouble began.
const ONCE_IN: Duration = Duration::from_secs(1);
/// What each good answer adds to the rate, as a share of a create a second: it doubles in about ten seconds.
const GAIN: f64 = 0.07;
/// Beyond this rate nothing is held back any more, where no other bound is given.
const FREE_PER_SEC: f64 = 1_000.0;

/// The pace of one client.
pub struct Pace {
    state: Mutex<State>,
    free_per_sec: f64,
}

struct State {
    /// None: not held back.
    per_sec: Option<f64>,
    /// When the next create may be sent.
    next: Instant,
    halved_at: Option<Instant>,
    /// Answers since `since`, for the rate to begin from.
    answers: u32,
    since: Instant,
}

/// What an answer says about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    Well,
    /// It asks for less, or is in trouble; perhaps it says for how long.
    Enough(Option<Duration>),
}

impl Pace {
    /// `most_per_sec`: the rate that other bounds allow; 0 is none.
    pub fn new(most_per_sec: u32) -> Self {
        let now = Instant::now();
        let state = State { per_sec: None, next: now, halved_at: None, answers: 0, since: now };
        let free_per_sec = if most_per_sec == 0 { FREE_PER_SEC } else { f64::from(most_per_sec) };
        Self { state: Mutex::new(state), free_per_sec }
    }

    /// Ends when the next create may be sent.
    pub async fn turn(&self) {
        let at = {
            let mut state = self.state();
            let at = state.next.max(Instant::now());
            if let Some(per_sec) = state.per_sec {
                state.next = at + Duration::from_secs_f64(1.0 / per_sec);
            }
            at
        };
        tokio::time::sleep_until(at).await;
    }

    /// Takes in an answer that took so long.
    pub fn heard(&self, heard: Heard, took: Duration) {
        let now = Instant::now();
        let mut state = self.state();
        if now - state.since > ONCE_IN {
            (state.answers, state.since) = (0, now);
        }
        state.answers += 1;
        match heard {
            Heard::Well if took < SLOW => {
                let faster = state.per_sec.map(|it| it + GAIN.max(GAIN * it / 10.0));
                state.per_sec = faster.filter(|it| *it < self.free_per_sec);
            }
            Heard::Well => state.slow_down(now),
            Heard::Enough(pause) => {
                state.slow_down(now);
                state.next = state.next.max(now + pause.unwrap_or_default());
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn slow_down(&mut self, now: Instant) {
        if self.halved_at.is_some_and(|it| now - it < ONCE_IN) {
            return;
        }
        self.halved_at = Some(now);
        let so_far = self.per_sec.unwrap_or_else(|| {
            let secs = (now - self.since).as_secs_f64().max(0.1);
            f64::from(self.answers) / secs
        });
        let per_sec = (so_far / 2.0).max(LEAST_PER_SEC);
        tracing::info!(per_sec, "the API server asks for fewer requests; creating more slowly");
        self.per_sec = Some(per_sec);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(5);

    #[tokio::test(start_paused = true)]
    async fn it_slows_down_at_once_and_recovers() {
        let pace = Pace::new(100);
        assert_eq!(pace.state().per_sec, None);
        for _ in 0..50 {
            pace.turn().await;
            pace.heard(Heard::Well, QUICK);
        }
        pace.heard(Heard::Enough(None), QUICK);
        let slowed = pace.state().per_sec.unwrap();
        pace.heard(Heard::Enough(None), QUICK);
        assert_eq!(pace.state().per_sec, Some(slowed), "one trouble halves it once");
        tokio::time::advance(ONCE_IN).await;
        pace.heard(Heard::Well, SLOW);
        assert!(pace.state().per_sec.unwrap() <= slowed / 2.0, "a slow answer is a trouble too");
        let mut answers = 0;
        while pace.state().per_sec.is_some() {
            pace.turn().await;
            pace.heard(Heard::Well, QUICK);
            answers += 1;
            assert!(answers < 100_000, "it never recovers");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_obeys_retry_after_and_keeps_to_its_rate() {
        let pace = Pace::new(0);
        let began = Instant::now();
        pace.heard(Heard::Enough(Some(Duration::from_secs(7))), QUICK);
        pace.turn().await;
        assert!(began.elapsed() >= Duration::from_secs(7));
        let (first, per_sec) = (Instant::now(), pace.state().per_sec.unwrap());
        for _ in 0..10 {
            pace.turn().await;
        }
        assert!(first.elapsed().as_secs_f64() >= 9.0 / per_sec);
    }
}
