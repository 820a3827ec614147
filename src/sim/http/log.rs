//! Pod logs: what the pretend container printed, and what it prints while it runs.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::{Asking, Face};
use crate::sim::audit::Answer;
use crate::sim::state::{Object, Refusal, Resource, texts};

/// A log may be followed for as long as a watch may last.
const FOLLOW_MAX: Duration = Duration::from_secs(60 * 60);

struct Wish {
    container: String,
    tail: Option<usize>,
    limit_bytes: Option<usize>,
    since: Option<Timestamp>,
    timestamps: bool,
}

pub fn answer(face: &Face, asking: &Asking) -> Result<Response, Refusal> {
    let call = &asking.call;
    let pod = face.world.with(|state| state.get(Resource::Pods, &call.namespace, &call.name))?;
    let text = |name: &str| asking.query.get(name).map(String::as_str).unwrap_or_default();
    let wish = Wish {
        container: container(&pod, text("container"))?,
        tail: text("tailLines").parse().ok(),
        limit_bytes: text("limitBytes").parse().ok(),
        since: since(text("sinceSeconds"), text("sinceTime")),
        timestamps: text("timestamps") == "true",
    };
    if text("previous") == "true" && status_of(&pod, &wish.container)["lastState"]["terminated"].is_null() {
        let (name, container) = (pod.name(), &wish.container);
        let message = format!("previous terminated container \"{container}\" in pod \"{name}\" not found");
        return Err(Refusal::bad_request(message));
    }
    check_started(&pod, &wish.container)?;
    face.world.with(|state| {
        state.audit.write(call, Answer { code: 200, refusal: None, request: None, response: None });
    });
    let follow = text("follow") == "true";
    let body = if follow { follow_log(face.clone(), pod, wish) } else { Body::from(render(&pod, &wish, 0).0) };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
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

fn status_of<'a>(pod: &'a Object, container: &str) -> &'a Value {
    let statuses = pod.value["status"]["containerStatuses"].as_array().into_iter().flatten();
    statuses.clone().find(|status| status["name"] == container).unwrap_or(&Value::Null)
}

fn check_started(pod: &Object, container: &str) -> Result<(), Refusal> {
    let status = status_of(pod, container);
    let started = ["running", "terminated"].into_iter().any(|state| status["state"][state].is_object());
    if started || status["lastState"]["terminated"].is_object() {
        return Ok(());
    }
    let reason = status["state"]["waiting"]["reason"].as_str().unwrap_or("PodInitializing");
    let why = match reason {
        "ErrImagePull" | "ImagePullBackOff" => "trying and failing to pull image".to_owned(),
        _ => reason.to_owned(),
    };
    let name = pod.name();
    Err(Refusal::bad_request(format!("container \"{container}\" in pod \"{name}\" is waiting to start: {why}")))
}

fn since(seconds: &str, time: &str) -> Option<Timestamp> {
    let ago = seconds
        .parse::<i64>()
        .ok()
        .and_then(|secs| Timestamp::now().checked_sub(jiff::SignedDuration::from_secs(secs)).ok());
    ago.or_else(|| time.parse().ok())
}

/// All the lines so far, each with its time. Lines are only ever added.
fn lines(pod: &Object, container: &str) -> Vec<(Timestamp, String)> {
    let spec = pod.value["spec"]["containers"].as_array().into_iter().flatten();
    let spec = spec.clone().find(|spec| spec["name"] == container).unwrap_or(&Value::Null);
    let status = status_of(pod, container);
    let state = &status["state"];
    let ended = if state["terminated"].is_object() { &state["terminated"] } else { &status["lastState"]["terminated"] };
    let time = |value: &Value| value.as_str().and_then(|at| at.parse::<Timestamp>().ok());
    let began = time(&state["running"]["startedAt"]).or_else(|| time(&ended["startedAt"])).unwrap_or_default();
    let image = spec["image"].as_str().unwrap_or_default();
    let command: Vec<&str> = [texts(&spec["command"]), texts(&spec["args"])].concat();
    let mut said = vec![(began, format!("longshore-sim: {} on sim-node pretends to run image {image}", pod.name()))];
    match command.as_slice() {
        [] => said.push((began, "longshore-sim: with the image's own command".to_owned())),
        words => said.push((began, format!("$ {}", shlex::try_join(words.iter().copied()).unwrap_or_default()))),
    }
    if let Some(text) = pod.annotation("sim.longshore.dev/log") {
        said.extend(text.lines().map(|line| (began, line.to_owned())));
    }
    if !state["running"].is_object()
        && let Some(code) = ended["exitCode"].as_i64()
    {
        let at = time(&ended["finishedAt"]).unwrap_or(began);
        let secs = at.as_second() - began.as_second();
        said.push((at, format!("longshore-sim: exit code {code} after {secs} s")));
    }
    said
}

/// The text from line `from` on, and how many lines there are by now.
fn render(pod: &Object, wish: &Wish, from: usize) -> (Bytes, usize) {
    let all = lines(pod, &wish.container);
    let count = all.len();
    let first = match wish.tail {
        Some(tail) if from == 0 => count.saturating_sub(tail),
        _ => from,
    };
    let mut text = String::new();
    for (at, line) in all.into_iter().skip(first).filter(|(at, _)| wish.since.is_none_or(|since| *at >= since)) {
        if wish.timestamps {
            text.push_str(&format!("{at:.9} "));
        }
        text.push_str(&line);
        text.push('\n');
    }
    let mut bytes = text.into_bytes();
    if let Some(limit) = wish.limit_bytes {
        bytes.truncate(limit);
    }
    (bytes.into(), count)
}

/// Streams lines as they come, until the pod has ended or is gone.
fn follow_log(face: Face, pod: Arc<Object>, wish: Wish) -> Body {
    let changed = face.world.changes(Resource::Pods);
    let until = tokio::time::Instant::now() + FOLLOW_MAX;
    let seed = (face, Some(pod), wish, 0, changed);
    Body::from_stream(futures::stream::unfold(seed, move |(face, pod, mut wish, mut from, mut changed)| async move {
        let mut pod = pod?;
        loop {
            let (text, count) = render(&pod, &wish, from);
            from = count;
            wish.limit_bytes = wish.limit_bytes.map(|limit| limit.saturating_sub(text.len()));
            let over = matches!(pod.value["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
                || wish.limit_bytes == Some(0);
            let next = (!over).then(|| pod.clone());
            if !text.is_empty() || over {
                return Some((Ok::<Bytes, Infallible>(text), (face, next, wish, from, changed)));
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = face.stop.cancelled() => return None,
                () = tokio::time::sleep_until(until) => return None,
            }
            let (namespace, name) = pod.key();
            let now = face.world.with(|state| state.get(Resource::Pods, &namespace, &name)).ok()?;
            if now.uid() != pod.uid() {
                return None;
            }
            pod = now;
        }
    }))
}
