//! Watches: a reader of the history ring that turns changes into a stream of events.
//!
//! A watch owns a position and nothing else. It reads a bounded batch, writes it, and waits for a signal when it has
//! caught up; if it falls behind the ring it is told 410, like every client of the real server must expect.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch;

use super::list::{Selection, metadata_of};
use super::route::Shape;
use super::{Asking, Face, table};
use crate::sim::audit::Answer;
use crate::sim::fault::{Asked, Effect};
use crate::sim::state::{Call, Change, Happened, Object, Page, Record, Refusal, State};

/// Changes read, and initial objects sent, at a time.
const BATCH: usize = 256;
/// When the client does not say how long; the real server draws from 30 to 60 minutes.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30 * 60);

struct Watcher {
    face: Face,
    call: Call,
    asked: Asked,
    selection: Selection,
    shape: Shape,
    include: String,
    bookmarks: bool,
    /// Objects that were there when the watch began, still to be sent.
    initial: VecDeque<Arc<Object>>,
    /// Whether the end of the initial objects is still to be announced.
    announce: bool,
    /// Everything up to this revision has been sent.
    revision: u64,
    opened: u64,
    silenced: bool,
    headed: bool,
    done: bool,
    ends: Instant,
    next_bookmark: Instant,
    changed: watch::Receiver<u64>,
    rules: watch::Receiver<u64>,
}

pub fn answer(face: &Face, asking: Asking) -> Result<Response, Refusal> {
    let selection = Selection::read(&asking)?;
    let text = |name: &str| asking.query.get(name).map(String::as_str).unwrap_or_default();
    let truth = |name: &str| ["true", "1"].contains(&text(name));
    let streams_list = truth("sendInitialEvents");
    if asking.query.contains_key("sendInitialEvents") && text("resourceVersionMatch") != "NotOlderThan" {
        return Err(Refusal::new(
            422,
            "Invalid",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    let asked_version: Option<u64> =
        match text("resourceVersion") {
            "" | "0" => None,
            version => Some(version.parse().map_err(|_| {
                Refusal::bad_request(format!("resourceVersion: Invalid value: {version:?}: not a number"))
            })?),
        };
    let timeout =
        text("timeoutSeconds").parse().ok().filter(|secs| *secs > 0).map_or(TIMEOUT_DEFAULT, Duration::from_secs);
    let opened = face.world.faults.tick();
    let (changed, rules) = (face.world.changes(selection.resource), face.world.faults.changes());
    let wants_state = streams_list || (asked_version.is_none() && !asking.query.contains_key("sendInitialEvents"));
    let (initial, revision) = face.world.with(|state| match (wants_state, asked_version) {
        (true, Some(asked)) if asked > state.revision => Err(Refusal::version_too_large(asked, state.revision)),
        (true, _) => everything(state, &selection).map(|objects| (objects, state.revision)),
        (false, asked) => {
            let from = asked.unwrap_or(state.revision);
            state.shelf(selection.resource).since(from, state.revision, 1).map(|_| (VecDeque::new(), from))
        }
    })?;
    let now = Instant::now();
    let watcher = Watcher {
        asked: Asked::from(&asking.call),
        shape: asking.shape,
        include: text("includeObject").to_owned(),
        bookmarks: truth("allowWatchBookmarks"),
        announce: streams_list && truth("allowWatchBookmarks"),
        ends: now + timeout.min(TIMEOUT_DEFAULT * 2),
        next_bookmark: now + face.world.config.bookmark_every,
        face: face.clone(),
        call: asking.call,
        selection,
        initial,
        revision,
        opened,
        silenced: false,
        headed: false,
        done: false,
        changed,
        rules,
    };
    Ok(respond(watcher))
}

fn everything(state: &State, selection: &Selection) -> Result<VecDeque<Arc<Object>>, Refusal> {
    let wanted = |object: &Record| selection.wants(object);
    let namespace = selection.namespace.as_deref();
    let page = Page { revision: state.revision, namespace, after: None, max: usize::MAX, wanted: &wanted };
    state.shelf(selection.resource).page(page, state.revision).map(VecDeque::from)
}

fn respond(watcher: Watcher) -> Response {
    let stream = futures::stream::unfold(watcher, |mut watcher| async move {
        let bytes = watcher.next().await?;
        Some((Ok::<Bytes, Infallible>(bytes), watcher))
    });
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Watcher {
    /// The next bytes of the stream; none at its end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.done || self.face.stop.is_cancelled() {
                return None;
            }
            match self.face.world.faults.ends_watch(&self.asked, self.opened) {
                Some(Effect::ExpireWatches) => return Some(self.expire(&Refusal::expired("too old resource version"))),
                Some(_) => return None,
                None => {}
            }
            let sent = self.advance();
            if !sent.is_empty() {
                return Some(sent.into());
            }
            let now = Instant::now();
            if now >= self.ends {
                self.done = true;
                return self.bookmarks.then(|| self.bookmark(false).into());
            }
            if self.bookmarks && now >= self.next_bookmark {
                self.next_bookmark = now + self.face.world.config.bookmark_every;
                return Some(self.bookmark(false).into());
            }
            let until = if self.bookmarks { self.ends.min(self.next_bookmark) } else { self.ends };
            tokio::select! {
                _ = self.changed.changed() => {}
                _ = self.rules.changed() => {}
                () = self.face.stop.cancelled() => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// What can be sent now: nothing when there is nothing new.
    fn advance(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let silent = self.face.world.faults.stands(&self.asked, &Effect::SilentWatch);
        if !silent && (!self.initial.is_empty() || self.announce) {
            for _ in 0..BATCH {
                let Some(object) = self.initial.pop_front() else { break };
                self.event(&mut out, "ADDED", object.record());
            }
            if self.initial.is_empty() && self.announce {
                self.announce = false;
                out.extend(self.bookmark(true));
            }
            return out;
        }
        self.changed.mark_unchanged();
        // Many changes may concern nobody here; the loop is bounded by the length of the history.
        while out.is_empty() {
            let read = self.face.world.with(|state| {
                let shelf = state.shelf(self.selection.resource);
                (shelf.since(self.revision, state.revision, BATCH), state.revision)
            });
            let changes = match read.0 {
                Ok(changes) => changes,
                Err(refusal) => return self.expire(&refusal).into(),
            };
            if silent {
                if !changes.is_empty() && !self.silenced {
                    self.silenced = self.face.world.faults.strikes(&self.asked, &Effect::SilentWatch);
                }
                break;
            }
            let Some(last) = changes.last() else {
                self.revision = self.revision.max(read.1);
                break;
            };
            self.revision = last.revision;
            for change in &changes {
                self.tell(&mut out, change);
            }
        }
        out
    }

    /// Writes the event that this change is to someone who sees only the selection.
    fn tell(&mut self, out: &mut Vec<u8>, change: &Change) {
        let before = change.previous.as_deref().is_some_and(|object| self.selection.wants(object));
        let after = change.happened != Happened::Deleted && self.selection.wants(&change.object);
        let leaves = before && !after;
        let word = match (before, after) {
            (false, false) => return,
            (false, true) => Happened::Added,
            (true, true) => Happened::Modified,
            (true, false) => Happened::Deleted,
        }
        .word();
        let faults = &self.face.world.faults;
        let mut repeats = 1;
        if faults.any() {
            let asked = self.asked.about_record(&change.object);
            if faults.strikes(&asked, &Effect::LoseEvent) {
                return;
            }
            repeats += usize::from(faults.strikes(&asked, &Effect::RepeatEvent));
        }
        for _ in 0..repeats {
            match &change.previous {
                // It left the selection: the last state that was in it, at the revision at which it left.
                Some(previous) if leaves && change.happened != Happened::Deleted => {
                    let mut last = previous.object().value;
                    last["metadata"]["resourceVersion"] = change.revision.to_string().into();
                    self.event(out, word, Object::new(last).record());
                }
                _ => self.event(out, word, &change.object),
            }
        }
    }

    fn event(&mut self, out: &mut Vec<u8>, word: &str, object: &Record) {
        match self.shape {
            Shape::Whole => line(out, word, &object.text),
            Shape::Metadata => line(out, word, metadata_of(&object.object()).to_string().as_bytes()),
            Shape::Table => {
                let rows = [Arc::new(object.object())];
                let head = !std::mem::replace(&mut self.headed, true);
                let table = table::of(self.selection.resource, rows[0].version(), None, &rows, &self.include, head);
                line(out, word, table.to_string().as_bytes());
            }
        }
    }

    fn bookmark(&self, ends_initial: bool) -> Vec<u8> {
        let mut object = json!({"metadata": {"resourceVersion": self.revision.to_string(), "creationTimestamp": null}});
        if ends_initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        self.selection.resource.stamp(&mut object);
        if object["kind"] == "Job" {
            object["spec"] = json!({"template": {"metadata": {}, "spec": {"containers": []}}});
        }
        let object = match self.shape {
            Shape::Table => {
                let rows = [Arc::new(Object::new(object))];
                let version = self.revision.to_string();
                table::of(self.selection.resource, &version, None, &rows, &self.include, false)
            }
            Shape::Metadata => metadata_of(&Object::new(object)),
            Shape::Whole => object,
        };
        let mut out = Vec::new();
        line(&mut out, "BOOKMARK", object.to_string().as_bytes());
        out
    }

    fn expire(&mut self, refusal: &Refusal) -> Bytes {
        self.done = true;
        let mut out = Vec::new();
        line(&mut out, "ERROR", refusal.status().to_string().as_bytes());
        out.into()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let answer = Answer { code: 200, refusal: None, request: None, response: None };
        self.face.world.with(|state| state.audit.write(&self.call, answer));
    }
}

fn line(out: &mut Vec<u8>, word: &str, object: &[u8]) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
}
