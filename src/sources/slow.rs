//! Messages whose filter took too long. It may be the machine that was busy, and then the message has done nothing wrong: it
//! is tried again some times before it is refused. Not for ever, for it would hold up the others.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How often the filter of a message may take too long: with the pauses between them enough for a busy moment to pass.
const TRIES: u32 = 5;
/// How many messages are kept in mind, so that memory has a bound; far more than a replica has in hand at a time.
const MESSAGES: usize = 10_000;

/// How often the filter of which message took too long, at this replica.
#[derive(Default)]
pub struct Slow(Mutex<HashMap<String, u32>>);

impl Slow {
    /// The filter of a message took too long; whether the message may be tried again.
    pub fn again(&self, message: &str) -> bool {
        let mut tries = self.tries();
        if tries.len() >= MESSAGES {
            // They begin anew.
            tries.clear();
        }
        let count = tries.entry(message.to_owned()).or_default();
        *count += 1;
        let again = *count < TRIES;
        if !again {
            tries.remove(message);
        }
        again
    }

    /// It did not.
    pub fn forget(&self, message: &str) {
        self.tries().remove(message);
    }

    fn tries(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        // It is whole after every line.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_message_is_tried_again_some_times_and_never_for_ever() {
        let slow = Slow::default();
        let refused = |message: &str| (1..).find(|_| !slow.again(message)).unwrap();
        assert!(slow.again("a"));
        slow.forget("a");
        assert_eq!(
            (refused("a"), refused("b")),
            (TRIES, TRIES),
            "each counts for itself, and from the last good one on"
        );
        assert!((0..3 * MESSAGES).all(|it| slow.again(&it.to_string())));
        assert!(slow.tries().len() <= MESSAGES);
    }
}
