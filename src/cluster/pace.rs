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
/// An answer that takes longer says that the server has enough to do, unless that is how long its answers take: an
/// admission webhook may be slow, and asking it less often makes it no faster.
const SLOW: Duration = Duration::from_secs(2);
/// How much longer than usual it must have taken.
const UNUSUAL: f64 = 2.0;
/// How much of what is usual the last answer makes up.
const LAST_WEIGHS: f64 = 0.1;
/// The rate is halved once for all that was under way when the trouble began.
const ONCE_IN: Duration = Duration::from_secs(1);
/// What each good answer adds to the rate, as a share of a create a second: it doubles in about ten seconds.
const GAIN: f64 = 0.07;
/// The longest pause that an answer may ask for: beyond it we would rather ask once too often.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Beyond this rate nothing is held back any more, where no other bound is given.
const FREE_PER_SEC: f64 = 1_000.0;

/// The pace of one client.
pub struct Pace {
    state: Mutex<State>,
}

struct State {
    free_per_sec: f64,
    /// None: not held back.
    per_sec: Option<f64>,
    /// When the next create may be sent.
    next: Instant,
    halved_at: Option<Instant>,
    /// How long good answers take, on the whole.
    usual_secs: f64,
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
        let free_per_sec = if most_per_sec == 0 { FREE_PER_SEC } else { f64::from(most_per_sec) };
        Self { state: Mutex::new(State::new(free_per_sec, Instant::now())) }
    }

    /// Ends when the next create may be sent.
    pub async fn turn(&self) {
        let at = self.state().take_turn(Instant::now());
        tokio::time::sleep_until(at).await;
    }

    /// Takes in an answer that took so long.
    pub fn heard(&self, heard: Heard, took: Duration) {
        self.state().hear(heard, took, Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(free_per_sec: f64, now: Instant) -> Self {
        Self { free_per_sec, per_sec: None, next: now, halved_at: None, usual_secs: 0.0, answers: 0, since: now }
    }

    /// When whoever asks now may send.
    fn take_turn(&mut self, now: Instant) -> Instant {
        let at = self.next.max(now);
        if let Some(per_sec) = self.per_sec {
            self.next = at + Duration::from_secs_f64(1.0 / per_sec);
        }
        at
    }

    fn hear(&mut self, heard: Heard, took: Duration, now: Instant) {
        if now - self.since > ONCE_IN {
            (self.answers, self.since) = (0, now);
        }
        self.answers += 1;
        let secs = took.as_secs_f64();
        let slow = took >= SLOW && secs > UNUSUAL * self.usual_secs;
        if heard == Heard::Well {
            self.usual_secs += LAST_WEIGHS * (secs - self.usual_secs);
        }
        match heard {
            Heard::Well if !slow => {
                let faster = self.per_sec.map(|it| it + GAIN.max(GAIN * it / 10.0));
                self.per_sec = faster.filter(|it| *it < self.free_per_sec);
            }
            Heard::Well => self.slow_down(now),
            Heard::Enough(pause) => {
                self.slow_down(now);
                self.next = self.next.max(now + pause.unwrap_or_default().min(LONGEST_PAUSE));
            }
        }
    }

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

    #[test]
    fn it_slows_down_at_once_and_recovers() {
        let mut now = Instant::now();
        let mut state = State::new(100.0, now);
        for _ in 0..50 {
            now = state.take_turn(now) + QUICK;
            state.hear(Heard::Well, QUICK, now);
        }
        assert_eq!(state.per_sec, None, "nothing is held back while all is well");
        state.hear(Heard::Enough(None), QUICK, now);
        let slowed = state.per_sec.unwrap();
        state.hear(Heard::Enough(None), QUICK, now);
        assert_eq!(state.per_sec, Some(slowed), "one trouble halves it once");
        now += ONCE_IN;
        state.hear(Heard::Well, SLOW, now);
        assert!(state.per_sec.unwrap() <= slowed / 2.0, "a slow answer is a trouble too");
        let began = now;
        while state.per_sec.is_some() {
            now = state.take_turn(now) + QUICK;
            state.hear(Heard::Well, QUICK, now);
            assert!(now - began < Duration::from_secs(300), "it does not recover");
        }
    }

    #[test]
    fn no_answer_stops_all_creates_for_longer_than_a_minute() {
        let now = Instant::now();
        let mut state = State::new(100.0, now);
        state.hear(Heard::Enough(Some(Duration::from_secs(24 * 3600))), QUICK, now);
        assert!(state.take_turn(now) - now <= LONGEST_PAUSE);
    }

    #[test]
    fn a_server_that_is_always_slow_is_not_held_back_for_ever() {
        let mut now = Instant::now();
        let mut state = State::new(100.0, now);
        for _ in 0..1_000 {
            now = state.take_turn(now) + SLOW * 2;
            state.hear(Heard::Well, SLOW * 2, now);
        }
        let held_back = state.per_sec.is_some_and(|it| it < 10.0);
        assert!(!held_back, "{:?} a second: what is usual says nothing", state.per_sec);
    }

    #[test]
    fn it_obeys_retry_after_and_keeps_to_its_rate() {
        let now = Instant::now();
        let mut state = State::new(FREE_PER_SEC, now);
        state.hear(Heard::Enough(Some(Duration::from_secs(7))), QUICK, now);
        let first = state.take_turn(now);
        assert!(first - now >= Duration::from_secs(7));
        let per_sec = state.per_sec.unwrap();
        let tenth = (0..10).map(|_| state.take_turn(first)).last().unwrap();
        assert!((tenth - first).as_secs_f64() >= 9.0 / per_sec);
    }
}
