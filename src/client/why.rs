//! `why`: what a job waits for, since when, and who has it.

use clap::Args;
use serde_json::{Value, json};

use super::{
    Exit, Failure, Format,
    http::{Ask, Http, job_id},
    output::{self, print},
    reason::Why as Reason,
    slots::Slots,
    text::{Clock, Shown},
    view::Job,
};

/// The arguments of `why`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 it is running or has ended, 3 it still waits (pending, scheduled, starting), \
4 there is no such job, 1 the request failed.")]
pub struct Why {
    /// The job's id, or job/ID
    id: String,
    /// Show who holds a slot, also where it is something else that the job waits for
    #[arg(long)]
    slots: bool,
    /// How to print it; `json` is one object, always with those that hold a slot
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Says why a job does not run.
pub async fn run(http: &Http, why: &Why) -> Result<Exit, Failure> {
    let id = job_id(&why.id)?;
    let answer = http.send(Ask::get(&["jobs", &id.to_string()])).await?;
    let job: Job = answer.read()?;
    match why.output {
        Format::Table | Format::Wide => {
            print(&describe(&job, output::clock()))?;
            let of_queue = job.why.as_ref().is_some_and(Reason::is_queue_cap) && !why.slots;
            if why.slots || of_queue || job.why.as_ref().is_some_and(Reason::is_global_cap) {
                let mut slots = Slots::ask(http).await?;
                // Who waits for room in a queue is not helped by who is in another.
                slots.holders.retain(|it| !of_queue || it.queue == job.queue);
                let table = slots.table(output::clock());
                print(&if slots.holders.is_empty() { "\nNobody holds a slot.".into() } else { format!("\n{table}") })?;
            }
        }
        Format::Json | Format::Jsonl => {
            let field = |name| answer.body.get(name).cloned().unwrap_or(Value::Null);
            let slots = Slots::ask(http).await?.value;
            let document = json!({
                "job_id": field("job_id"), "state": field("state"), "why": field("why"), "eta": field("eta"),
                "slots": slots,
            });
            print(&why.output.json(&document))?;
        }
        Format::Name => print(&format!("job/{}", job.job_id))?,
    }
    Ok(if job.is_waiting() { Exit::NotYet } else { Exit::Done })
}

fn describe(job: &Job, clock: Clock) -> String {
    let why = job.why.clone().unwrap_or_default();
    let mut lines = vec![format!("{} {} {}", job.job_id, job.name, job.state_text())];
    if let Some(sentence) = job.sentence(clock) {
        lines.push(sentence);
    }
    let mut say = |what: &str, text: Option<String>| {
        lines.extend(text.filter(|it| !it.is_empty()).map(|it| format!("{:<12}{it}", format!("{what}:"))));
    };
    let position = why.position.as_ref().or(job.queue_position.as_ref());
    say("Since", why.since.or(job.entered_at()).map(|it| clock.tell(it)));
    say("Until", why.until.map(|it| clock.tell(it)));
    say("Before it", position.map(Shown::to_string));
    say("Limit", why.limit.as_ref().map(|it| it.line()));
    say("Starts", job.eta.as_ref().and_then(|it| it.starts(clock)));
    say("Ends", job.eta.as_ref().and_then(|it| it.ends(clock)));
    if why.is_queue_paused() {
        lines.push(format!("`longshore queue resume {}` lets its jobs start again", job.queue));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(fields: Value) -> Job {
        let mut whole = json!({"job_id": "1", "name": "a", "state": "pending", "created_at": "2026-01-01T00:00:00Z"});
        whole.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn what_the_server_says_is_told_with_the_limit_and_its_fill() {
        let waits = job(json!({"why": {
            "code": "global_cap", "message": "both slots are taken", "since": "2026-01-02T00:00:00Z",
            "until": "2026-01-03T00:00:00Z", "position": 3, "limit": {"name": "global", "cap": 2, "held": 2}
        }}));
        assert_eq!(
            describe(&waits, Clock::Utc),
            "1 a pending\n\
             both slots are taken\n\
             Since:      2026-01-02T00:00:00Z\n\
             Until:      2026-01-03T00:00:00Z\n\
             Before it:  3\n\
             Limit:      global, 2 of 2"
        );
        assert!(waits.is_waiting());
    }

    #[test]
    fn without_a_word_of_the_server_the_state_says_it() {
        let waits = job(json!({"why": null, "queue_position": "1"}));
        assert_eq!(
            describe(&waits, Clock::Utc),
            "1 a pending\nit waits for a slot\nSince:      2026-01-01T00:00:00Z\nBefore it:  1"
        );
        let later = job(json!({"state": "scheduled", "run_at": "2026-01-05T00:00:00Z"}));
        assert!(describe(&later, Clock::Utc).contains("not to start before 2026-01-05T00:00:00Z"));
        let over = job(json!({"state": "failed", "reason": "job_failed", "message": "exit 3"}));
        assert_eq!(describe(&over, Clock::Utc), "1 a failed (job_failed)\nexit 3");
        assert!(later.is_waiting() && !over.is_waiting());
    }

    #[test]
    fn a_paused_queue_comes_with_the_remedy_and_a_guess_with_its_range() {
        let waits = job(json!({
            "queue": "gpu", "why": {"code": "queue_paused", "message": "the queue gpu is paused"}, "eta": {
                "starts_p50": "2026-01-01T00:01:00Z", "starts_p90": "2026-01-01T00:03:00Z",
                "ends_p50": "2026-01-01T00:05:00Z", "ends_p90": "2026-01-01T00:09:00Z", "samples": 40, "basis": "name"
            }
        }));
        assert_eq!(
            describe(&waits, Clock::Utc),
            "1 a pending\nthe queue gpu is paused\nSince:      2026-01-01T00:00:00Z\n\
             Starts:     2026-01-01T00:01:00Z, 9 in 10 by 2026-01-01T00:03:00Z, judged by 40 runs\n\
             Ends:       2026-01-01T00:05:00Z, 9 in 10 by 2026-01-01T00:09:00Z\n\
             `longshore queue resume gpu` lets its jobs start again"
        );
    }
}
