//! Whether the cluster was matched to the rows since this replica began, or since the database was changed for another line
//! of itself. Rows that were rewound, by a restore or a failover, know less than the cluster: until every Job that lives
//! there is explained by a row, this replica claims nothing.
//!
//! Matched once, it is matched for as long as the database goes on in one line: a Job that no row knows and that appears
//! later is somebody's copy, and must not stop a queue. The claim itself makes sure of the line that it is made in.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most Jobs that are named.
const NAMED: usize = 5;

/// How far this replica is with it.
pub struct Recovery {
    state: Mutex<State>,
}

enum State {
    /// This replica claims nothing anyway.
    NotNeeded,
    Unmatched,
    /// These live in the cluster, and no row knows them.
    Waits(Vec<String>),
    /// In this line of the database.
    Matched(String),
}

impl Recovery {
    pub fn new(needed: bool) -> Self {
        Self { state: Mutex::new(if needed { State::Unmatched } else { State::NotNeeded }) }
    }

    /// The line of the database in which this replica may claim; none as long as it may not.
    pub fn line(&self) -> Option<String> {
        match &*self.state() {
            State::Matched(line) => Some(line.clone()),
            State::NotNeeded | State::Unmatched | State::Waits(_) => None,
        }
    }

    /// The database goes on in another line.
    pub fn begin(&self) {
        *self.state() = State::Unmatched;
    }

    /// Every Job is explained.
    pub fn matched(&self, line: String) {
        *self.state() = State::Matched(line);
    }

    /// These are not; answers whether that is new.
    pub fn waits_for(&self, names: Vec<String>) -> bool {
        let mut state = self.state();
        let is_new = !matches!(&*state, State::Waits(told) if *told == names);
        *state = State::Waits(names);
        is_new
    }

    /// How many live Jobs no row explains.
    pub fn unexplained(&self) -> usize {
        match &*self.state() {
            State::Waits(names) => names.len(),
            State::NotNeeded | State::Unmatched | State::Matched(_) => 0,
        }
    }

    /// Why it claims nothing, and what is to be done.
    pub fn problem(&self) -> Option<String> {
        match &*self.state() {
            State::NotNeeded | State::Matched(_) => None,
            State::Unmatched => Some("the cluster has not been compared with the rows yet".into()),
            State::Waits(names) => {
                let more = if names.len() > NAMED { ", …" } else { "" };
                let named = names[..names.len().min(NAMED)].join(", ");
                Some(format!(
                    "{} Kubernetes Jobs of this installation live and no row knows them, as after a restore: {named}{more}; \
                     `longshore recover` gives them their rows; or wait until they end, or delete them: \
                     kubectl delete job -n NAMESPACE NAME",
                    names.len()
                ))
            }
        }
    }

    /// Each statement leaves it whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
