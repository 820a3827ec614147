//! `get`: one job, described.

use clap::Args;

use super::{
    Exit, Failure, Format,
    http::{Ask, Http, job_id},
    output::{self, Paged, print},
    reason::Limit,
    text::{Clock, Shown},
    view::{Attempt, Job, Spec},
};

/// The arguments of `get`.
#[derive(Debug, Args)]
pub struct Get {
    /// The job's id, or job/ID
    id: String,
    /// How to print it; `json` is one object
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Describes a job.
pub async fn run(http: &Http, get: &Get) -> Result<Exit, Failure> {
    let id = job_id(&get.id)?;
    let answer = http.send(Ask::get(&["jobs", &id.to_string()])).await?;
    let job: Job = answer.read()?;
    print(&match get.output {
        Format::Table | Format::Wide => describe(&job, output::clock()),
        Format::Json | Format::Jsonl => get.output.json(&answer.body),
        Format::Name => format!("job/{}", job.job_id),
    })?;
    Ok(Exit::Done)
}

fn describe(job: &Job, clock: Clock) -> String {
    let mut lines = Vec::new();
    let mut say = |what: &str, text: Option<String>| {
        lines.extend(text.filter(|it| !it.is_empty()).map(|it| format!("{:<17}{it}", format!("{what}:"))));
    };
    say("Name", Some(job.name.to_string()));
    say("ID", Some(job.job_id.to_string()));
    say("State", Some(job.state_text()));
    say("Message", job.message.as_ref().map(Shown::to_string));
    if job.is_waiting() {
        let said = job.message.as_ref().map(Shown::to_string);
        say("Why it waits", job.sentence(clock).filter(|it| Some(it) != said.as_ref()));
        say("For room in", job.why.as_ref().and_then(|it| it.limit.as_ref()).map(Limit::line));
    }
    say("Starts", job.eta.as_ref().and_then(|it| it.starts(clock)));
    say("Ends", job.eta.as_ref().and_then(|it| it.ends(clock)));
    say("Queue", Some(job.queue.to_string()));
    say("Priority", Some(job.priority.to_string()));
    say("Before it", job.queue_position.as_ref().map(Shown::to_string));
    say("Namespace", Some(job.namespace.to_string()));
    say("Labels", Some(job.labels_text()));
    for (what, at) in [
        ("Submitted", job.created_at),
        ("To start at", job.due_at.filter(|_| job.is_waiting()).or(job.run_at)),
        ("Got its slot", job.claimed_at),
        ("Started", job.started_at),
        ("Cancel asked", job.cancel_requested_at),
        ("Ended", job.finished_at),
    ] {
        say(what, at.map(|it| clock.tell(it)));
    }
    let of = |most: i64| format!(" of {most}");
    let failed = job.failed_attempts.filter(|it| *it > 0 || job.max_attempts.is_some_and(|it| it > 1));
    say("Failed attempts", failed.map(|it| format!("{it}{}", job.max_attempts.map(of).unwrap_or_default())));
    say("Interruptions", job.interruptions.filter(|it| *it > 0).map(|it| it.to_string()));
    if let Some(spec) = &job.spec {
        describe_spec(spec, &mut say);
    }
    if !job.attempts.is_empty() {
        lines.push(String::new());
        lines.push("Attempts:".into());
        lines.push(attempts(&job.attempts, clock));
    }
    lines.join("\n")
}

fn describe_spec(spec: &Spec, say: &mut impl FnMut(&str, Option<String>)) {
    say("Image", spec.image.as_ref().map(Shown::to_string));
    say("Command", Some(words(&spec.command)));
    say("Args", Some(words(&spec.args)));
    say("Parallelism", spec.parallelism.map(|it| it.to_string()));
    say("Completions", spec.completions.map(|it| it.to_string()));
    say("Service account", spec.service_account.as_ref().map(Shown::to_string));
    say("Timeout", spec.timeout_secs.map(|it| format!("{it}s")));
    say("Manifest", spec.manifest.map(|_| "given whole; see it with -o json".into()));
}

/// Words as one would type them in a shell.
fn words(words: &[Shown]) -> String {
    shlex::try_join(words.iter().map(Shown::as_str)).unwrap_or_default()
}

fn attempts(attempts: &[Attempt], clock: Clock) -> String {
    let maybe = |it: &Option<Shown>| it.as_ref().map_or_else(|| "-".into(), Shown::to_string);
    let rows = attempts.iter().map(|it| {
        vec![
            it.attempt.to_string(),
            maybe(&it.kube_name),
            it.place(),
            maybe(&it.node),
            clock.tell_maybe(it.started_at),
            clock.tell_maybe(it.finished_at),
            it.exit_code.map_or_else(|| "-".into(), |it| it.to_string()),
            maybe(&it.reason),
            maybe(&it.log),
            it.words(),
        ]
    });
    let header = ["#", "KUBERNETES JOB", "POD", "NODE", "STARTED", "ENDED", "EXIT", "REASON", "LOG", "MESSAGE"];
    Paged::new(&header).page(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_says_what_is_known_and_leaves_out_the_rest() {
        let job: Job = serde_json::from_value(serde_json::json!({
            "job_id": "1", "name": "a\u{9b}b", "queue": "gpu", "namespace": "jobs", "priority": -3, "state": "failed",
            "reason": "job_failed", "message": "exit 3", "labels": {"team": "x\u{1b}y"},
            "created_at": "2026-01-01T00:00:00Z", "queue_position": null,
            "spec": {"command": ["sh", "-c", "exit 3"], "timeout_secs": 60},
            "attempts": [{"attempt": 1, "kube_name": "k", "exit_code": 3, "reason": "job_failed"}]
        }))
        .unwrap();
        let text = describe(&job, Clock::Utc);
        assert_eq!(
            text,
            "Name:            ab\n\
             ID:              1\n\
             State:           failed (job_failed)\n\
             Message:         exit 3\n\
             Queue:           gpu\n\
             Priority:        -3\n\
             Namespace:       jobs\n\
             Labels:          team=xy\n\
             Submitted:       2026-01-01T00:00:00Z\n\
             Command:         sh -c 'exit 3'\n\
             Timeout:         60s\n\
             \n\
             Attempts:\n\
             #  KUBERNETES JOB  POD  NODE  STARTED  ENDED  EXIT  REASON      LOG  MESSAGE\n\
             1  k               -    -     -        -      3     job_failed  -"
        );
    }

    #[test]
    fn a_job_that_is_to_be_tried_again_says_why_it_waits_and_what_came_of_the_times_before() {
        let job: Job = serde_json::from_value(serde_json::json!({
            "job_id": "1", "name": "a", "state": "scheduled", "due_at": "2026-01-01T00:01:00Z", "max_attempts": 3,
            "failed_attempts": 1, "interruptions": 2, "why": {"code": "backoff", "message": "waits to be tried again"},
            "attempts": [{
                "attempt": 1, "kube_name": "k", "pod": "k-x", "container": "main", "node": "n", "exit_code": 3,
                "reason": "job_failed", "message": "exit 3", "termination_message": "no\nspace", "log": "kept"
            }]
        }))
        .unwrap();
        assert_eq!(
            describe(&job, Clock::Utc),
            "Name:            a\n\
             ID:              1\n\
             State:           scheduled\n\
             Why it waits:    waits to be tried again\n\
             Priority:        0\n\
             To start at:     2026-01-01T00:01:00Z\n\
             Failed attempts: 1 of 3\n\
             Interruptions:   2\n\
             \n\
             Attempts:\n\
             #  KUBERNETES JOB  POD       NODE  STARTED  ENDED  EXIT  REASON      LOG   MESSAGE\n\
             1  k               k-x/main  n     -        -      3     job_failed  kept  exit 3; it said: no space"
        );
    }
}
