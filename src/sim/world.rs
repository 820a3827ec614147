//! The state behind its mutex, and the clock that drives the controllers.
//!
//! Order matters at the end of `with`: the audit log is flushed before the lock is released, and watchers are woken
//! after. The lock is held for microseconds and never across an await.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::SimConfig;
use super::audit::Audit;
use super::control;
use super::fault::Faults;
use super::state::{Resource, State};

pub struct World {
    pub faults: Faults,
    pub config: Arc<SimConfig>,
    state: Mutex<State>,
    /// The newest revision of each kind, for those who watch it.
    changed: [watch::Sender<u64>; Resource::ALL.len()],
    sooner: Notify,
}

/// How many due things are done before others get the lock.
const STEPS_PER_TURN: usize = 16;

impl World {
    pub fn new(config: SimConfig) -> std::io::Result<World> {
        let audit = Audit::open(config.audit_log.as_deref())?;
        let (config, faults) = (Arc::new(config), Faults::default());
        Ok(World {
            state: Mutex::new(State::new(config.clone(), audit, faults.clone())),
            faults,
            config,
            changed: std::array::from_fn(|_| watch::Sender::new(0)),
            sooner: Notify::new(),
        })
    }

    /// Reads or changes the state, then tells those who wait for changes.
    pub fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for kind in self.faults.take_forgotten() {
            state.compact(kind);
        }
        let next = state.timers.earliest();
        let result = act(&mut state);
        state.audit.flush();
        let (revision, touched) = (state.revision, state.take_touched());
        let sooner = match (state.timers.earliest(), next) {
            (Some(now), Some(before)) => now < before,
            (now, before) => now.is_some() && before.is_none(),
        };
        drop(state);
        for (sender, _) in self.changed.iter().zip(touched).filter(|(_, touched)| *touched) {
            sender.send_replace(revision);
        }
        if sooner {
            self.sooner.notify_one();
        }
        result
    }

    /// Wakes when objects of this kind change.
    pub fn changes(&self, resource: Resource) -> watch::Receiver<u64> {
        self.changed[resource as usize].subscribe()
    }

    /// Does what is due when it is due, until cancelled.
    pub async fn run_clock(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let next = self.with(|state| {
                let now = Instant::now();
                for _ in 0..STEPS_PER_TURN {
                    let Some(due) = state.timers.take_due(now) else { break };
                    control::run(state, due, now);
                }
                state.timers.earliest()
            });
            let wait = async {
                match next {
                    Some(at) if at <= Instant::now() => tokio::task::yield_now().await,
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => {}
                () = self.sooner.notified() => {}
                () = stop.cancelled() => {}
            }
        }
    }
}
