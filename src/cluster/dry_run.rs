//! Asking the API server whether it would take a Job, before a submission is accepted. It knows what nobody here does: its
//! version, its feature gates, the webhooks of this cluster.
//!
//! Nothing depends on an answer. Where there is none within a second, or too many were asked, the checks of this process
//! have decided already; a job that Kubernetes refuses all the same ends `manifest_rejected`, as it would without this.
//! So the questions are few: one for each different Job, remembered for minutes, and no more than a few a second, whatever
//! a batch has in it.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use kube::{Resource, core::Status};
use sha2::{Digest, Sha256};

use super::{
    Cluster, KubeJob,
    answer::{is_not_permitted, is_not_ready, is_over_quota},
    manifest::{ATTEMPT, JOB_ID, NONCE},
    origin::of_kube_path,
    pod,
    policy::Checked,
};

/// How long an answer is waited for: a submitter waits with it.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long nothing is asked after an answer did not come.
const REST: Duration = Duration::from_secs(10);
/// The most questions a second, and the most at once after a rest. A batch of 100,000 different Jobs must not take the API
/// server's attention from the creates; and at 5 ms a question, this is a tenth of its time.
const ASKED_PER_SEC: std::num::NonZeroU32 = std::num::NonZeroU32::new(20).unwrap();
/// How many answers are remembered: a few hundred bytes each.
const REMEMBERED: usize = 1024;
/// How long an answer holds: webhooks and versions change, though seldom.
const HOLDS: Duration = Duration::from_secs(300);
/// How long a refusal holds: somebody is about to put right what is wrong, and it may be the cluster.
const REFUSAL_HOLDS: Duration = Duration::from_secs(5);
/// The most causes of a refusal that are told, and their longest field path, in characters.
const CAUSES: usize = 50;
const PATH_CHARS: usize = 500;
/// What every Job is called that is only asked about. Kubernetes adds letters to it.
const NAME: &str = "longshore-dry-run-";

/// What the API server would say to a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Taken,
    /// It will never take the Job: a field, as a JSON Pointer into it, and what is wrong with it.
    Invalid(Vec<(String, String)>),
    /// A webhook or a policy of the cluster forbids it, in these words.
    Denied(String),
    NoNamespace,
    /// It did not say, or says something else later.
    Unknown,
}

/// What was asked before.
#[derive(Debug)]
pub struct DryRuns {
    known: Mutex<Known>,
    rate: DefaultDirectRateLimiter,
}

#[derive(Debug, Default)]
struct Known {
    verdicts: HashMap<[u8; 32], (Verdict, Instant)>,
    /// From the oldest.
    order: VecDeque<[u8; 32]>,
    rests_until: Option<Instant>,
}

impl Default for DryRuns {
    fn default() -> Self {
        Self { known: Mutex::default(), rate: RateLimiter::direct(Quota::per_second(ASKED_PER_SEC)) }
    }
}

impl DryRuns {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What is known already; also when nothing is to be asked now.
    fn recall(&self, key: &[u8; 32], now: Instant) -> Option<Verdict> {
        let known = self.known();
        if let Some((verdict, until)) = known.verdicts.get(key)
            && now < *until
        {
            return Some(verdict.clone());
        }
        let rests = known.rests_until.is_some_and(|it| now < it);
        drop(known);
        (rests || self.rate.check().is_err()).then_some(Verdict::Unknown)
    }

    fn remember(&self, key: [u8; 32], verdict: &Verdict, now: Instant) {
        let holds = match verdict {
            Verdict::Taken => HOLDS,
            Verdict::Invalid(_) | Verdict::Denied(_) | Verdict::NoNamespace => REFUSAL_HOLDS,
            Verdict::Unknown => return,
        };
        let mut known = self.known();
        if known.verdicts.insert(key, (verdict.clone(), now + holds)).is_none() {
            known.order.push_back(key);
        }
        while known.order.len() > REMEMBERED {
            if let Some(oldest) = known.order.pop_front() {
                known.verdicts.remove(&oldest);
            }
        }
    }

    fn rest(&self, now: Instant) {
        self.known().rests_until = Some(now + REST);
    }
}

impl Cluster {
    /// Whether the API server would take this Job, as far as it can be known soon.
    pub async fn would_take(&self, job: &Checked, namespace: &str) -> Verdict {
        let Ok(body) = serde_json::to_vec(&nobodys(job.job())) else { return Verdict::Unknown };
        let key: [u8; 32] = Sha256::digest(&body).into();
        if let Some(verdict) = self.dry_runs.recall(&key, Instant::now()) {
            return verdict;
        }
        let path = KubeJob::url_path(&(), Some(namespace));
        // kube has no parameter for the validation of fields; a server before 1.25 does not know it, and lets it be.
        let request = http::Request::post(format!("{path}?dryRun=All&fieldValidation=Strict"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body);
        let Ok(request) = request else { return Verdict::Unknown };
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.client.request_text(request)).await;
        let verdict = match answer {
            Ok(Ok(_)) => Verdict::Taken,
            Ok(Err(kube::Error::Api(status))) => {
                if status.code == 429 || status.code >= 500 {
                    self.dry_runs.rest(Instant::now());
                }
                verdict(&status)
            }
            Ok(Err(_)) | Err(_) => {
                tracing::debug!("the API server did not say in time whether it would take a Job");
                self.dry_runs.rest(Instant::now());
                Verdict::Unknown
            }
        };
        self.dry_runs.remember(key, &verdict, Instant::now());
        verdict
    }
}

/// The Job without what makes it one attempt's: whoever reads the audit log must not take the question for a creation, and
/// the same question is asked once.
fn nobodys(job: &KubeJob) -> KubeJob {
    let mut job = job.clone();
    job.metadata.name = None;
    job.metadata.generate_name = Some(NAME.into());
    let of_pods = job.spec.as_mut().and_then(|it| it.template.metadata.as_mut());
    for meta in std::iter::once(&mut job.metadata).chain(of_pods) {
        for key in [JOB_ID, ATTEMPT] {
            meta.labels.get_or_insert_default().remove(key);
        }
        for key in [NONCE, super::manifest::SPEC_HASH, super::manifest::JOB_NAME] {
            meta.annotations.get_or_insert_default().remove(key);
        }
    }
    job
}

/// What an answer that is no success says of the Job.
fn verdict(status: &Status) -> Verdict {
    let message = pod::cut(&status.message);
    if message.contains("does not support dry run") {
        return Verdict::Unknown;
    }
    // Whatever code it answers with.
    if message.starts_with("admission webhook") && message.contains("denied the request") {
        return Verdict::Denied(message);
    }
    match status.code {
        422 => Verdict::Invalid(causes(status, &message)),
        400 if message.contains("strict decoding error") => Verdict::Invalid(strict(&message)),
        400 | 413 => Verdict::Invalid(vec![(String::new(), message)]),
        403 if is_over_quota(&message) || is_not_permitted(&message) || is_not_ready(&message) => Verdict::Unknown,
        403 => Verdict::Denied(message),
        404 if status.details.as_ref().is_some_and(|it| it.kind == "namespaces") => Verdict::NoNamespace,
        500 if message.contains("request is too large") => Verdict::Invalid(vec![(String::new(), message)]),
        _ => Verdict::Unknown,
    }
}

fn causes(status: &Status, message: &str) -> Vec<(String, String)> {
    let causes = status.details.as_ref().map(|it| it.causes.as_slice()).unwrap_or_default();
    let told: Vec<(String, String)> =
        causes.iter().take(CAUSES).map(|it| (pointer(&it.field), pod::cut(&it.message))).collect();
    if told.is_empty() { vec![(String::new(), message.to_owned())] } else { told }
}

/// Takes `strict decoding error: unknown field "spec.x", unknown field "spec.y"` apart.
fn strict(message: &str) -> Vec<(String, String)> {
    let fields = message.split(" field \"").skip(1).filter_map(|it| it.split('"').next());
    let told: Vec<(String, String)> = fields
        .take(CAUSES)
        .map(|it| (pointer(it), "is not a field that this cluster's version of Kubernetes knows".to_owned()))
        .collect();
    if told.is_empty() { vec![(String::new(), message.to_owned())] } else { told }
}

fn pointer(path: &str) -> String {
    of_kube_path(&path.chars().take(PATH_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    fn answered(code: u16, message: &str, details: Option<StatusDetails>) -> Verdict {
        verdict(&Status { code, message: message.into(), details, ..Status::failure(message, "") })
    }

    fn details(kind: &str, causes: Vec<StatusCause>) -> StatusDetails {
        let kind = kind.to_owned();
        let (name, group, uid) = Default::default();
        StatusDetails { name, group, kind, uid, causes, retry_after_seconds: 0 }
    }

    #[test]
    fn only_what_concerns_the_job_itself_refuses_it() {
        let said = |code, message| answered(code, message, None);
        let webhook = "admission webhook \"a.example.com\" denied the request: no team label";
        for code in [400, 403, 422, 500] {
            assert_eq!(said(code, webhook), Verdict::Denied(webhook.into()));
        }
        assert!(matches!(said(403, "jobs \"a\" is forbidden: denied by no-latest"), Verdict::Denied(_)));
        for (code, waits) in [
            (403, "jobs \"a\" is forbidden: exceeded quota: q, requested: count/jobs.batch=1"),
            (403, "User \"x\" cannot create resource \"jobs\" in API group \"batch\""),
            (403, "jobs \"a\" is forbidden: not yet ready to handle request"),
            (400, "admission webhook \"a.example.com\" does not support dry run"),
            (401, "Unauthorized"),
            (404, "the server could not find the requested resource"),
            (409, "jobs \"a\" already exists"),
            (429, "slow down"),
            (500, "etcd"),
            (503, "away"),
        ] {
            assert_eq!(said(code, waits), Verdict::Unknown, "{code} {waits}");
        }
        let no_namespace = details("namespaces", Vec::new());
        assert_eq!(answered(404, "namespaces \"x\" not found", Some(no_namespace)), Verdict::NoNamespace);
    }

    #[test]
    fn every_cause_is_told_with_its_field() {
        let cause = |field: &str| StatusCause { reason: String::new(), message: "wrong".into(), field: field.into() };
        let details = details("Job", vec![cause("spec.template.spec.containers[0].image"), cause("")]);
        let told = [("/spec/template/spec/containers/0/image", "wrong"), ("", "wrong")];
        let told = told.map(|(field, detail)| (field.to_owned(), detail.to_owned()));
        assert_eq!(answered(422, "Job is invalid", Some(details)), Verdict::Invalid(told.into()));
        let message = "Job in version \"v1\" cannot be handled as a Job: strict decoding error: unknown field \"spec.a\", \
                       duplicate field \"spec.b[0].c\"";
        let Verdict::Invalid(told) = answered(400, message, None) else { panic!("it is a refusal") };
        assert_eq!(told.iter().map(|it| it.0.as_str()).collect::<Vec<_>>(), ["/spec/a", "/spec/b/0/c"]);
    }

    #[test]
    fn what_is_remembered_is_bounded_in_number_and_time() {
        let runs = DryRuns::default();
        let now = Instant::now();
        for index in 0..REMEMBERED + 10 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&index.to_le_bytes());
            runs.remember(key, &Verdict::Taken, now);
        }
        let sizes = |it: &Known| (it.verdicts.len(), it.order.len());
        assert_eq!(sizes(&runs.known()), (REMEMBERED, REMEMBERED));
        let key = [255; 32];
        runs.remember(key, &Verdict::NoNamespace, now);
        assert_eq!(runs.recall(&key, now), Some(Verdict::NoNamespace));
        assert_eq!(runs.recall(&key, now + REFUSAL_HOLDS), None, "it is asked again");
        runs.rest(now);
        assert_eq!(runs.recall(&[1; 32], now), Some(Verdict::Unknown));
        assert_eq!(runs.recall(&[1; 32], now + REST), None);
    }
}
