//! The Job controller: creates pods until the Job is complete or has failed, and says so in its status.
//!
//! As the real one since 1.31, it says first how the Job will end (`SuccessCriteriaMet`, `FailureTarget`), stops what
//! still runs, and says that it has ended (`Complete`, `Failed`) in a later write, when no pod is left alive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::book::INDEX_ANNOTATION;
use super::change_status;
use super::job_status::{add_condition, holds, ranges, set_suspended};
use super::{tell::JOB_CONTROLLER, trouble};
use crate::sim::behaviour::{ANNOTATION_PREFIX, Behaviour, Outcome, Trouble};
use crate::sim::fault::Asked;
use crate::sim::state::{
    Call, DeleteOptions, Due, Hand, Object, Propagation, Refusal, Resource, State, random_suffix, seconds,
};

/// A pod that cannot be created is tried again after this, and later each time.
const CREATE_RETRY_FIRST: Duration = Duration::from_millis(250);
const CREATE_RETRY_DOUBLINGS_MAX: u32 = 3;
/// As many pods are created in one pass as the real controller does at most.
const BURST_MAX: u64 = 500;

/// The Job's pods by what they are doing.
struct Pods {
    /// Neither ended nor told to end.
    active: Vec<Arc<Object>>,
    ready: usize,
    /// Told to end, and still there.
    terminating: usize,
    restarts: i64,
}

/// How a Job ends.
struct Ending {
    interim: &'static str,
    last: &'static str,
    reason: &'static str,
    message: &'static str,
}

pub fn sync(state: &mut State, uid: Uuid, now: Instant) {
    let Some(job) = state.find(Resource::Jobs, uid) else { return };
    if job.is_leaving() {
        return;
    }
    if ["Complete", "Failed"].into_iter().any(|kind| holds(&job.value, kind)) {
        expire(state, uid, &job, now);
        return;
    }
    let mut status = job.value["status"].clone();
    let pods = Pods::of(state, uid);
    let ending = ending(state, uid, &job, &pods, now);
    let suspended = job.value["spec"]["suspend"] == Value::Bool(true);
    if let Some(ending) = &ending {
        end(state, uid, &job, &pods, ending, &mut status, now);
    } else if suspended {
        suspend(state, uid, &job, &pods, &mut status);
    } else {
        start(state, uid, &job, &mut status, now);
        create_or_delete(state, uid, &job, &pods, now);
    }
    let pods = Pods::of(state, uid);
    write_counts(state, uid, &pods, &mut status);
    if status != job.value["status"] {
        change_status(state, Hand::JobController, "update", Resource::Jobs, job, |value| value["status"] = status);
    }
}

impl Pods {
    fn of(state: &State, job: Uuid) -> Pods {
        let all = state.owned_pods(job);
        let ended = |pod: &Object| matches!(pod.value["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let alive = || all.iter().filter(|pod| !ended(pod));
        let active: Vec<_> = alive().filter(|pod| !pod.is_leaving()).cloned().collect();
        let ready = active.iter().filter(|pod| holds(&pod.value, "Ready")).count();
        let terminating = alive().filter(|pod| pod.is_leaving()).count();
        let containers =
            active.iter().flat_map(|pod| pod.value["status"]["containerStatuses"].as_array().into_iter().flatten());
        let restarts = containers.filter_map(|container| container["restartCount"].as_i64()).sum();
        Pods { active, ready, terminating, restarts }
    }
}

/// Whether and how this Job has to end; what was said once stays said.
fn ending(state: &mut State, uid: Uuid, job: &Object, pods: &Pods, now: Instant) -> Option<Ending> {
    let spec = &job.value["spec"];
    let book = state.books.entry(uid).or_default();
    let said = |kind: &str, reason: &str| {
        let conditions = job.value["status"]["conditions"].as_array().into_iter().flatten();
        conditions.clone().any(|c| c["type"] == kind && (reason.is_empty() || c["reason"] == reason))
    };
    if said("SuccessCriteriaMet", "") {
        return Some(COMPLETE);
    }
    if said("FailureTarget", "") {
        return Some(if said("FailureTarget", DEADLINE.reason) { DEADLINE } else { BACKOFF });
    }
    let limit = spec["backoffLimit"].as_u64().unwrap_or(6);
    let restarted = u64::try_from(pods.restarts).unwrap_or(0);
    let on_failure = spec["template"]["spec"]["restartPolicy"] == "OnFailure";
    let restarted_too_often = on_failure && restarted > 0 && restarted >= limit;
    let complete = match spec["completions"].as_u64() {
        Some(wanted) => book.succeeded >= wanted,
        None => book.succeeded > 0 && pods.active.is_empty(),
    };
    if complete && spec["suspend"] != Value::Bool(true) && book.started.is_some() {
        return Some(COMPLETE);
    }
    if book.failed > limit || restarted_too_often {
        return Some(BACKOFF);
    }
    let deadline = Duration::from_secs(spec["activeDeadlineSeconds"].as_u64()?);
    let at = book.started?.checked_add(deadline)?;
    if now >= at {
        return Some(DEADLINE);
    }
    state.timers.by(Due::Job(uid), at);
    None
}

const COMPLETE: Ending = Ending {
    interim: "SuccessCriteriaMet",
    last: "Complete",
    reason: "CompletionsReached",
    message: "Reached expected number of succeeded pods",
};
const BACKOFF: Ending = Ending {
    interim: "FailureTarget",
    last: "Failed",
    reason: "BackoffLimitExceeded",
    message: "Job has reached the specified backoff limit",
};
const DEADLINE: Ending = Ending {
    interim: "FailureTarget",
    last: "Failed",
    reason: "DeadlineExceeded",
    message: "Job was active longer than specified deadline",
};

fn end(state: &mut State, uid: Uuid, job: &Object, pods: &Pods, how: &Ending, status: &mut Value, now: Instant) {
    let announced = holds(&job.value, how.interim);
    add_condition(status, how.interim, how.reason, how.message);
    for pod in &pods.active {
        delete_pod(state, job, pod);
    }
    if !announced || !pods.active.is_empty() || pods.terminating > 0 {
        return;
    }
    add_condition(status, how.last, how.reason, how.message);
    if how.last == "Complete" {
        status["completionTime"] = seconds(Timestamp::now()).into();
        JOB_CONTROLLER.tell(state, Resource::Jobs, job, "Completed", "Job completed");
    } else {
        JOB_CONTROLLER.warns().tell(state, Resource::Jobs, job, how.reason, how.message);
    }
    state.books.entry(uid).or_default().finished = Some(now);
}

fn suspend(state: &mut State, uid: Uuid, job: &Object, pods: &Pods, status: &mut Value) {
    state.books.entry(uid).or_default().started = None;
    for pod in &pods.active {
        excuse(state, uid, pod);
        delete_pod(state, job, pod);
    }
    if !holds(&job.value, "Suspended") {
        set_suspended(status, true);
        JOB_CONTROLLER.tell(state, Resource::Jobs, job, "Suspended", "Job suspended");
    }
    if let Some(status) = status.as_object_mut() {
        status.remove("startTime");
    }
}

/// The Job's clock starts when the controller first sees it unsuspended.
fn start(state: &mut State, uid: Uuid, job: &Object, status: &mut Value, now: Instant) {
    if holds(&job.value, "Suspended") {
        set_suspended(status, false);
        JOB_CONTROLLER.tell(state, Resource::Jobs, job, "Resumed", "Job resumed");
    }
    if status["startTime"].is_null() {
        status["startTime"] = seconds(Timestamp::now()).into();
    }
    let book = state.books.entry(uid).or_default();
    if book.started.is_none() {
        book.started = Some(now);
        if let Some(at) = deadline(job).and_then(|deadline| now.checked_add(deadline)) {
            state.timers.by(Due::Job(uid), at);
        }
    }
}

fn deadline(job: &Object) -> Option<Duration> {
    job.value["spec"]["activeDeadlineSeconds"].as_u64().map(Duration::from_secs)
}

fn create_or_delete(state: &mut State, uid: Uuid, job: &Object, pods: &Pods, now: Instant) {
    let spec = &job.value["spec"];
    let parallelism = spec["parallelism"].as_u64().unwrap_or(1);
    let active = pods.active.len() as u64;
    let (succeeded, not_before) = {
        let book = state.books.entry(uid).or_default();
        (book.succeeded, book.not_before)
    };
    let wanted = match spec["completions"].as_u64() {
        Some(completions) => parallelism.min(completions.saturating_sub(succeeded)),
        None if succeeded > 0 => active.min(parallelism),
        None => parallelism,
    };
    let surplus = pods.active.iter().skip(usize::try_from(wanted).unwrap_or(usize::MAX));
    for pod in surplus {
        excuse(state, uid, pod);
        delete_pod(state, job, pod);
    }
    if wanted <= active {
        return;
    }
    if let Some(at) = not_before.filter(|at| *at > now) {
        state.timers.by(Due::Job(uid), at);
        return;
    }
    let indexes = free_indexes(state, uid, job, pods);
    for number in 0..(wanted - active).min(BURST_MAX) {
        let index = indexes.as_ref().and_then(|free| free.get(usize::try_from(number).ok()?));
        if let Err(refusal) = create_pod(state, uid, job, index.copied(), now) {
            let message = format!("Error creating: {refusal}");
            JOB_CONTROLLER.warns().tell(state, Resource::Jobs, job, "FailedCreate", &message);
            let book = state.books.entry(uid).or_default();
            let retry = now + CREATE_RETRY_FIRST * 2u32.pow(book.refused.min(CREATE_RETRY_DOUBLINGS_MAX));
            book.refused = book.refused.saturating_add(1);
            book.not_before = Some(retry);
            state.timers.by(Due::Job(uid), retry);
            return;
        }
        state.books.entry(uid).or_default().refused = 0;
    }
}

/// The indexes of an indexed Job that neither completed nor have a pod.
fn free_indexes(state: &State, uid: Uuid, job: &Object, pods: &Pods) -> Option<Vec<u64>> {
    let spec = &job.value["spec"];
    if spec["completionMode"] != "Indexed" {
        return None;
    }
    let busy: std::collections::HashSet<u64> =
        pods.active.iter().filter_map(|pod| pod.annotation(INDEX_ANNOTATION)?.parse().ok()).collect();
    let done = state.books.get(&uid).map(|book| &book.indexes);
    let free = |index: &u64| !busy.contains(index) && done.is_none_or(|done| !done.contains(index));
    let most = usize::try_from(BURST_MAX).unwrap_or(usize::MAX);
    Some((0..spec["completions"].as_u64().unwrap_or(0)).filter(free).take(most).collect())
}

fn create_pod(state: &mut State, uid: Uuid, job: &Object, index: Option<u64>, now: Instant) -> Result<(), Refusal> {
    let template = &job.value["spec"]["template"];
    let mut metadata = json!({
        "labels": template["metadata"]["labels"],
        "annotations": template["metadata"]["annotations"],
        "finalizers": template["metadata"]["finalizers"],
        "ownerReferences": [{
            "apiVersion": "batch/v1", "kind": "Job", "name": job.name(), "uid": job.uid(),
            "controller": true, "blockOwnerDeletion": true,
        }],
    });
    if let Some(map) = metadata.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    inherit_behaviour(job, &mut metadata);
    let mut base = format!("{}-", job.name());
    if let Some(index) = index {
        base = format!("{}-{index}-", job.name());
        for map in ["labels", "annotations"] {
            metadata[map][INDEX_ANNOTATION] = index.to_string().into();
        }
    }
    let base: String = base.chars().take(58).collect();
    if has_no_pod(state, uid, &metadata, now) {
        return Err(trouble::no_pod(job.namespace(), &base, &template["spec"]));
    }
    metadata["generateName"] = base.as_str().into();
    metadata["name"] = format!("{base}{}", random_suffix()).into();
    let pod = json!({"metadata": metadata, "spec": template["spec"]});
    let call = Call::by(Hand::JobController, "create", Resource::Pods, job.namespace(), "");
    if let Some(refusal) = state.faults.refuses_pod(&Asked::from(&call).about(&pod)) {
        return Err(refusal);
    }
    let request = state.audit.is_on().then(|| pod.clone());
    let pod = state.create(&call, pod, false)?;
    state.record(&call, 201, request.as_ref(), pod.text());
    let message = format!("Created pod: {}", pod.name());
    JOB_CONTROLLER.tell(state, Resource::Jobs, job, "SuccessfulCreate", &message);
    Ok(())
}

/// Whether this Job is to play that its pods cannot be created, and has not got over it.
fn has_no_pod(state: &State, uid: Uuid, metadata: &Value, now: Instant) -> bool {
    let behaviour = Behaviour::read(metadata, &state.config.behaviour());
    let started = state.books.get(&uid).and_then(|book| book.started);
    let heals_at = behaviour.heals_after.and_then(|after| started?.checked_add(after));
    behaviour.outcome == Outcome::Stuck(Trouble::NoPod) && heals_at.is_none_or(|at| now < at)
}

/// What the Job's annotations say about the simulation is about its pods, unless the template says otherwise.
fn inherit_behaviour(job: &Object, metadata: &mut Value) {
    let annotations = job.value["metadata"]["annotations"].as_object().into_iter().flatten();
    for (key, value) in annotations.filter(|(key, _)| key.starts_with(ANNOTATION_PREFIX)) {
        if metadata["annotations"][key].is_null() {
            metadata["annotations"][key] = value.clone();
        }
    }
}

/// A pod that the controller itself has no more use for did not fail.
fn excuse(state: &mut State, job: Uuid, pod: &Object) {
    if let Ok(uid) = pod.uid().parse() {
        state.books.entry(job).or_default().excused.insert(uid);
    }
}

fn delete_pod(state: &mut State, job: &Object, pod: &Object) {
    if super::collect::delete(state, Hand::JobController, Resource::Pods, pod, &DeleteOptions::default()) {
        let message = format!("Deleted pod: {}", pod.name());
        JOB_CONTROLLER.tell(state, Resource::Jobs, job, "SuccessfulDelete", &message);
    }
}

/// Deletes a finished Job whose time to live is over.
fn expire(state: &mut State, uid: Uuid, job: &Object, now: Instant) {
    let Some(ttl) = job.value["spec"]["ttlSecondsAfterFinished"].as_u64() else { return };
    let finished = *state.books.entry(uid).or_default().finished.get_or_insert(now);
    let Some(at) = finished.checked_add(Duration::from_secs(ttl)) else { return };
    if now < at {
        state.timers.by(Due::Job(uid), at);
        return;
    }
    let options = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    super::collect::delete(state, Hand::TtlController, Resource::Jobs, job, &options);
}

fn write_counts(state: &State, uid: Uuid, pods: &Pods, status: &mut Value) {
    let Some(book) = state.books.get(&uid) else { return };
    for (field, count) in [("active", pods.active.len() as u64), ("succeeded", book.succeeded), ("failed", book.failed)]
    {
        match (count, status.as_object_mut()) {
            (0, Some(status)) => drop(status.remove(field)),
            _ => status[field] = count.into(),
        }
    }
    status["ready"] = pods.ready.into();
    status["terminating"] = pods.terminating.into();
    status["uncountedTerminatedPods"] = json!({});
    if !book.indexes.is_empty() {
        status["completedIndexes"] = ranges(book.indexes.iter().copied()).into();
    }
}
