//! The way to the API server, as what is sent over it tells: whether anything was answered lately, and which list or watch
//! does not work.
//!
//! Every answer proves the way, whatever it says: a server that is in trouble is so for each replica, and one that nothing
//! is heard of may be so for this one alone. Told by the process's own clock, so that it is known without the database.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kube::{
    api::DynamicObject,
    runtime::watcher::{self, Event},
};

use super::{
    Cluster,
    measure::{LIST, WATCH},
    pod,
};

/// How long a question may be open before another one is asked that every server answers at once, and how often that is
/// repeated: a way that is open again should be known to be, though nobody needs it, and one small list a second is little.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long a list or watch may fail before this replica counts as not seeing the cluster. It is tried again every half
/// minute at the latest, so this is no single failure; and an API server that restarts answers sooner.
pub const BLIND_AFTER: Duration = Duration::from_secs(60);

/// What is known of the way.
#[derive(Default)]
pub struct Reach {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the first request was sent after which nothing was answered.
    silent_since: Option<Instant>,
    broken: HashMap<Asked, Broken>,
}

/// A kind of request that the view is kept by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub verb: &'static str,
    pub resource: &'static str,
    pub namespace: String,
}

struct Broken {
    since: Instant,
    why: String,
}

impl Reach {
    /// A request is sent.
    pub(super) fn asked(&self) {
        self.state().silent_since.get_or_insert_with(Instant::now);
    }

    /// Any request was answered.
    pub(super) fn answered(&self) {
        self.state().silent_since = None;
    }

    /// For how long nothing was answered, though something was asked.
    pub fn silent_for(&self) -> Duration {
        self.state().silent_since.map_or(Duration::ZERO, |it| it.elapsed())
    }

    /// What a watch told, or its list. That a watch has begun is not among it: [`super::measure`] hears of that.
    pub(super) fn heard(&self, resource: &'static str, namespace: &str, told: &watcher::Result<Event<DynamicObject>>) {
        let asked = |verb| Asked { verb, resource, namespace: namespace.to_owned() };
        match told {
            Ok(Event::InitDone) => self.works(&asked(LIST)),
            Ok(_) => {}
            Err(watcher::Error::InitialListFailed(err)) => self.fails(asked(LIST), in_short(err)),
            // Too much has happened since; it is listed anew.
            Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) if status.code == 410 => {}
            Err(watcher::Error::WatchStartFailed(err)) => self.fails(asked(WATCH), in_short(err)),
            // It had begun; whatever it missed is listed anew.
            Err(_) => {}
        }
    }

    /// A list or watch failed.
    fn fails(&self, asked: Asked, why: String) {
        let mut state = self.state();
        let since = state.broken.get(&asked).map_or_else(Instant::now, |it| it.since);
        state.broken.insert(asked, Broken { since, why });
    }

    /// It went well.
    pub(super) fn works(&self, asked: &Asked) {
        self.state().broken.remove(asked);
    }

    /// What has failed for longer than [`BLIND_AFTER`], and how; none while everything can be seen.
    pub fn blind(&self) -> Option<String> {
        self.blind_after(BLIND_AFTER)
    }

    fn blind_after(&self, limit: Duration) -> Option<String> {
        let state = self.state();
        let longest = state.broken.iter().max_by_key(|(_, it)| it.since.elapsed())?;
        let (Asked { verb, resource, namespace }, Broken { since, why }) = longest;
        let secs = since.elapsed().as_secs();
        (since.elapsed() >= limit)
            .then(|| format!("cannot {verb} {resource} in namespace {namespace} for {secs} s now: {why}"))
    }

    /// Each statement leaves it whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// Asks the API server as long as nothing is answered. Ends never.
    pub(super) async fn keep_asking(&self) {
        loop {
            tokio::time::sleep(ASK_AGAIN).await;
            if self.reach.silent_for() >= ASK_AGAIN
                && let Err(err) = self.ping().await
            {
                tracing::debug!(error = %err, "the API server still does not answer");
            }
        }
    }
}

/// Without what only the log should show: who this replica is to the server.
fn in_short(err: &kube::Error) -> String {
    match err {
        kube::Error::Api(status) => format!("the API server answers {} {}", status.code, pod::cut(&status.reason)),
        _ => "the API server does not answer as it should".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_begins_with_a_question_and_ends_with_any_answer() {
        let reach = Reach::default();
        assert_eq!(reach.silent_for(), Duration::ZERO, "nobody asked");
        reach.asked();
        let first = reach.state().silent_since;
        reach.asked();
        assert!(first.is_some() && reach.state().silent_since == first, "it is as long as the first is open");
        reach.answered();
        assert_eq!(reach.silent_for(), Duration::ZERO);
    }

    #[test]
    fn what_fails_is_named_until_it_works() {
        let reach = Reach::default();
        let watch = |resource| Asked { verb: "watch", resource, namespace: "a".into() };
        reach.fails(watch("pods"), "forbidden".into());
        reach.fails(watch("jobs"), "forbidden".into());
        reach.works(&watch("jobs"));
        assert_eq!(reach.blind(), None, "it may be over in a moment");
        let told = reach.blind_after(Duration::ZERO).unwrap();
        assert!(told.starts_with("cannot watch pods in namespace a for ") && told.ends_with(": forbidden"), "{told}");
        reach.works(&watch("pods"));
        assert_eq!(reach.blind_after(Duration::ZERO), None);
    }
}
