//! Pod logs: what the pretend container printed, and what it prints while it runs.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::script::{self, Script};
use super::{Asking, Face};
use crate::sim::audit::Answer;
use crate::sim::control::Run;
use crate::sim::state::{Object, Refusal, Resource};

/// A log may be followed for as long as a watch may last.
const FOLLOW_MAX: Duration = Duration::from_secs(60 * 60);
/// Lines that come closer together are sent together.
const FOLLOW_EVERY: Duration = Duration::from_millis(20);
/// As many lines are sent at once; a reader that is slow does not make the sender hold more.
const CHUNK_LINES: usize = 10_000;

struct Wish {
    container: String,
    tail: Option<usize>,
    limit_bytes: Option<usize>,
    since: Option<Timestamp>,
    timestamps: bool,
}

/// A pod, and what the node knows of it.
struct Look {
    pod: Arc<Object>,
    run: Option<Run>,
}

pub fn answer(face: &Face, asking: &Asking) -> Result<Response, Refusal> {
    let call = &asking.call;
    let look = look(face, &call.namespace, &call.name)?;
    let text = |name: &str| asking.query.get(name).map(String::as_str).unwrap_or_default();
    let wish = Wish {
        container: container(&look.pod, text("container"))?,
        tail: text("tailLines").parse().ok(),
        limit_bytes: text("limitBytes").parse().ok(),
        since: since(text("sinceSeconds"), text("sinceTime")),
        timestamps: text("timestamps") == "true",
    };
    // Nobody could be asked for the log: the real server answers so, and not with an error.
    if look.pod.value["spec"]["nodeName"].is_null() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    check_node(&look.pod, &wish.container)?;
    check_started(&look.pod, &wish.container, text("previous") == "true")?;
    face.world.with(|state| {
        state.audit.write(call, Answer { code: 200, refusal: None, request: None, response: None });
    });
    let follow = text("follow") == "true";
    let body = if follow { follow_log(face.clone(), look, wish) } else { Body::from(whole(&look, &wish)) };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

fn look(face: &Face, namespace: &str, name: &str) -> Result<Look, Refusal> {
    face.world.with(|state| {
        let pod = state.get(Resource::Pods, namespace, name)?;
        let run = pod.uid().parse().ok().and_then(|uid| state.runs.get(&uid).cloned());
        Ok(Look { pod, run })
    })
}

fn container(pod: &Object, asked: &str) -> Result<String, Refusal> {
    let names: Vec<&str> = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| pod.value["spec"][list].as_array().into_iter().flatten())
        .filter_map(|container| container["name"].as_str())
        .collect();
    let count = pod.value["spec"]["containers"].as_array().map_or(0, Vec::len);
    let name = pod.name();
    match names.first() {
        Some(first) if asked.is_empty() && count == 1 => Ok((*first).to_owned()),
        _ if asked.is_empty() => {
            let choices = names.join(" ");
            let message = format!("a container name must be specified for pod {name}, choose one of: [{choices}]");
            Err(Refusal::bad_request(message))
        }
        _ if names.contains(&asked) => Ok(asked.to_owned()),
        _ => Err(Refusal::bad_request(format!("container {asked} is not valid for pod {name}"))),
    }
}

/// The log lies on the node, and goes with it.
fn check_node(pod: &Object, container: &str) -> Result<(), Refusal> {
    if pod.value["status"]["reason"] != "NodeLost" {
        return Ok(());
    }
    let node = pod.value["status"]["hostIP"].as_str().unwrap_or_default();
    let (namespace, name) = pod.key();
    let url = format!("https://{node}:10250/containerLogs/{namespace}/{name}/{container}");
    let message = format!("Get \"{url}\": dial tcp {node}:10250: connect: no route to host");
    Err(Refusal::new(500, "InternalError", message))
}

fn check_started(pod: &Object, container: &str, previous: bool) -> Result<(), Refusal> {
    let name = pod.name();
    let status = script::find(pod, container).map_or(&Value::Null, |(_, status, _)| status);
    let ended_before = status["lastState"]["terminated"].is_object();
    if previous && !ended_before {
        let message = format!("previous terminated container \"{container}\" in pod \"{name}\" not found");
        return Err(Refusal::bad_request(message));
    }
    let terminated = &status["state"]["terminated"];
    if status["state"]["running"].is_object() || terminated["containerID"].is_string() || ended_before {
        return Ok(());
    }
    let what = format!("container \"{container}\" in pod \"{name}\"");
    if terminated.is_object() {
        return Err(Refusal::bad_request(format!("{what} is terminated")));
    }
    let why = match status["state"]["waiting"]["reason"].as_str().unwrap_or("PodInitializing") {
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        reason => reason,
    };
    Err(Refusal::bad_request(format!("{what} is waiting to start: {why}")))
}

fn since(seconds: &str, time: &str) -> Option<Timestamp> {
    let ago = seconds
        .parse::<i64>()
        .ok()
        .and_then(|secs| Timestamp::now().checked_sub(jiff::SignedDuration::from_secs(secs)).ok());
    ago.or_else(|| time.parse().ok())
}

fn whole(look: &Look, wish: &Wish) -> Bytes {
    let Some(script) = Script::of(&look.pod, look.run.as_ref(), &wish.container) else { return Bytes::new() };
    let now = Timestamp::now();
    let to = script.count(now);
    render(&script, wish, first_line(wish, to)..to, now)
}

fn first_line(wish: &Wish, count: usize) -> usize {
    wish.tail.map_or(0, |tail| count.saturating_sub(tail))
}

fn render(script: &Script, wish: &Wish, numbers: Range<usize>, now: Timestamp) -> Bytes {
    let mut text = String::new();
    for number in numbers {
        let (at, line) = script.line(number, now);
        if wish.since.is_some_and(|since| at < since) {
            continue;
        }
        if wish.timestamps {
            text.push_str(&format!("{at:.9} "));
        }
        text.push_str(&line);
        text.push('\n');
        if wish.limit_bytes.is_some_and(|limit| text.len() >= limit) {
            break;
        }
    }
    let mut bytes = text.into_bytes();
    bytes.truncate(wish.limit_bytes.unwrap_or(usize::MAX));
    bytes.into()
}

/// Streams lines as they come, until the pod has ended or is gone.
fn follow_log(face: Face, look: Look, wish: Wish) -> Body {
    let changed = face.world.changes(Resource::Pods);
    let until = Instant::now() + FOLLOW_MAX;
    let seed = (Follower { face, wish, from: None, changed, until }, Some(look));
    Body::from_stream(futures::stream::unfold(seed, |(mut follower, look)| async move {
        let (text, next) = follower.next(look?).await?;
        Some((Ok::<Bytes, Infallible>(text), (follower, next)))
    }))
}

struct Follower {
    face: Face,
    wish: Wish,
    /// The first line that was not sent yet.
    from: Option<usize>,
    changed: watch::Receiver<u64>,
    until: Instant,
}

impl Follower {
    /// The next lines, and where to go on from, if the log does.
    async fn next(&mut self, mut look: Look) -> Option<(Bytes, Option<Look>)> {
        loop {
            let now = Timestamp::now();
            let script = Script::of(&look.pod, look.run.as_ref(), &self.wish.container)?;
            let count = script.count(now);
            let from = self.from.unwrap_or_else(|| first_line(&self.wish, count));
            let to = count.min(from + CHUNK_LINES);
            let text = render(&script, &self.wish, from..to, now);
            self.from = Some(to.max(from));
            self.wish.limit_bytes = self.wish.limit_bytes.map(|limit| limit.saturating_sub(text.len()));
            let ended = matches!(look.pod.value["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
            let over = (ended && to == count) || self.wish.limit_bytes == Some(0);
            if !text.is_empty() || over {
                return Some((text, (!over).then_some(look)));
            }
            if to == count {
                self.wait(script.next_at(now), now).await?;
            }
            let (namespace, name) = look.pod.key();
            let found = self::look(&self.face, &namespace, &name).ok()?;
            if found.pod.uid() != look.pod.uid() {
                return None;
            }
            look = found;
        }
    }

    /// Until a line is due, or something happens to a pod.
    async fn wait(&mut self, line: Option<Timestamp>, now: Timestamp) -> Option<()> {
        let ahead = line.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default().max(FOLLOW_EVERY));
        let due = ahead.map_or(self.until, |ahead| self.until.min(Instant::now() + ahead));
        tokio::select! {
            _ = self.changed.changed() => {}
            () = self.face.stop.cancelled() => return None,
            () = tokio::time::sleep_until(due) => {}
        }
        (Instant::now() < self.until).then_some(())
    }
}
