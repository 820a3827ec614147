//! `wait`: a long poll per job, until each has ended or the time is up.

use std::time::Duration;

use clap::Args;
use futures::{StreamExt, stream::FuturesUnordered};
use serde_json::Value;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};

use crate::id::JobId;

use super::{
    Exit, Failure, Format,
    http::{Ask, Http, job_id},
    output::{note, print},
    progress,
    text::{self, Span},
    view::Job,
};

/// The long polls that are open at once: each is a connection, and a replica has many clients.
const POLLS: usize = 32;
/// How long a poll is held: below the time after which proxies on the way cut it.
const POLL: Duration = Duration::from_secs(25);
/// How long a poll is held where the jobs have to take turns.
const TURN: Duration = Duration::from_secs(1);
/// How long after the time is up the last answer may still come.
const GRACE: Duration = Duration::from_secs(2);
/// The longest time that `--timeout` is taken for: ten years, which is for ever and yet can be added to a clock.
const FOR_EVER: Duration = Duration::from_secs(10 * 366 * 86_400);

/// The exit codes of waiting, for the help.
pub const EXITS: &str = "0 succeeded, 10 failed, 11 cancelled, 12 its deadline passed, 13 lost, 1 the request failed";

/// The arguments of `wait`.
#[derive(Debug, Args)]
#[command(after_help = format!("Exit codes, of several jobs that of the first that has not succeeded: {EXITS}, \
4 there is no such job, 124 --timeout ran out. With --exit-code-from-job: the container's own where one failed, else those."))]
pub struct Wait {
    /// Ids of jobs, or job/ID
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Wait no longer than this, such as 90s or 1h30m
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,
    /// Exit as the container did that decided how the job ended, where one did
    #[arg(long)]
    exit_code_from_job: bool,
    /// How to print them as they end; `json` is one array, at the end and in the order given
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// What came of waiting for a job.
enum Waited {
    Ended(Value, Job),
    /// The time is up; how it stood when it was last seen.
    NotYet(Option<(Value, Job)>),
}

impl Wait {
    /// For these jobs, without a limit.
    pub fn for_all(ids: Vec<String>, output: Format, exit_code_from_job: bool) -> Self {
        Self { ids, timeout: None, exit_code_from_job, output }
    }
}

/// Waits for jobs; with one, says on stderr how it stands where a person watches.
pub async fn run(http: &Http, wait: &Wait) -> Result<Exit, Failure> {
    match wait.ids.as_slice() {
        [id] => match job_id(id) {
            Ok(id) => progress::shown(http, id, until_all_ended(http, wait)).await,
            Err(_) => until_all_ended(http, wait).await,
        },
        _ => until_all_ended(http, wait).await,
    }
}

async fn until_all_ended(http: &Http, wait: &Wait) -> Result<Exit, Failure> {
    let deadline = wait.timeout.as_ref().map(|it| Instant::now() + it.length.min(FOR_EVER));
    let turns = Turns::of(wait.ids.len());
    let mut waiting: FuturesUnordered<_> = (wait.ids.iter().enumerate())
        .map(|(index, id)| {
            let turns = &turns;
            async move { (index, id, one(http, id, deadline, turns).await) }
        })
        .collect();
    let mut exits = vec![Exit::Done; wait.ids.len()];
    let mut found = vec![Value::Null; wait.ids.len()];
    while let Some((index, id, waited)) = waiting.next().await {
        let (exit, value) = match waited {
            Ok(Waited::Ended(value, job)) => {
                tell(&job, &value, wait.output)?;
                (job.exit_of(wait.exit_code_from_job), value)
            }
            Ok(Waited::NotYet(seen)) => {
                let state = seen.as_ref().map_or("not known to have ended", |(_, job)| job.state.as_str());
                note(&text::clean(&format!("error: the time is up, and {id} is {state}")));
                (Exit::TimedOut, seen.map_or(Value::Null, |(value, _)| value))
            }
            Err(failure) => {
                let exit = failure.report(wait.output);
                if failure.is_for_all() {
                    print_found(found, wait.output)?;
                    return Ok(exit);
                }
                (exit, Value::Null)
            }
        };
        if let (Some(to_exit), Some(to_value)) = (exits.get_mut(index), found.get_mut(index)) {
            (*to_exit, *to_value) = (exit, value);
        }
    }
    print_found(found, wait.output)?;
    Ok(Exit::first_bad(exits))
}

fn print_found(mut found: Vec<Value>, format: Format) -> Result<(), Failure> {
    found.retain(|it| !it.is_null());
    // As lines they were printed one by one.
    if format == Format::Json { format.print_all(found) } else { Ok(()) }
}

/// Waits for one job without a limit: the job as it ended.
pub async fn to_the_end(http: &Http, id: JobId) -> Result<(Value, Job), Failure> {
    let turns = Turns::of(1);
    loop {
        if let Waited::Ended(value, job) = until_ended(http, id, None, &turns, &mut None).await? {
            return Ok((value, job));
        }
    }
}

/// Waits until a job has an attempt after number `shown`, or has ended: the job as it is then.
pub async fn for_attempt_after(http: &Http, id: JobId, shown: u32) -> Result<Job, Failure> {
    let id = id.to_string();
    loop {
        let asked = Instant::now();
        let answer = http.send(Ask::get(&["jobs", &id, "wait"]).held(TURN)).await?;
        let job: Job = answer.read()?;
        if job.is_finished() || job.attempt_after(shown).is_some() {
            return Ok(job);
        }
        pause_after(asked, TURN).await;
    }
}

/// A replica that is stopping answers at once; whoever takes over should not be asked in a tight loop.
async fn pause_after(asked: Instant, held: Duration) {
    if asked.elapsed() < held / 2 {
        sleep(Duration::from_millis(rand::random_range(200..1_000)).min(held)).await;
    }
}

/// Says how a job ended, unless that is kept for the end.
pub fn tell(job: &Job, value: &Value, format: Format) -> Result<(), Failure> {
    progress::clear();
    match format {
        Format::Table | Format::Wide => print(&job.line()),
        Format::Name => print(&format!("job/{}", job.job_id)),
        Format::Jsonl => print(&text::json(value, false)),
        Format::Json => Ok(()),
    }
}

/// Whose turn it is to have a poll open, and for how long.
struct Turns {
    polls: Semaphore,
    length: Duration,
}

impl Turns {
    fn of(jobs: usize) -> Self {
        Self { polls: Semaphore::new(POLLS), length: if jobs <= POLLS { POLL } else { TURN } }
    }
}

async fn one(http: &Http, id: &str, deadline: Option<Instant>, turns: &Turns) -> Result<Waited, Failure> {
    let id = job_id(id)?;
    let mut seen = None;
    let Some(deadline) = deadline else { return until_ended(http, id, None, turns, &mut seen).await };
    match timeout_at(deadline + GRACE, until_ended(http, id, Some(deadline), turns, &mut seen)).await {
        Ok(waited) => waited,
        Err(_) => Ok(Waited::NotYet(seen)),
    }
}

async fn until_ended(
    http: &Http,
    id: JobId,
    deadline: Option<Instant>,
    turns: &Turns,
    seen: &mut Option<(Value, Job)>,
) -> Result<Waited, Failure> {
    let id = id.to_string();
    loop {
        let turn = turns.polls.acquire().await;
        let left = deadline.map_or(Duration::MAX, |it| it.saturating_duration_since(Instant::now()));
        let (asked, held) = (Instant::now(), left.min(turns.length));
        let answer = http.send(Ask::get(&["jobs", &id, "wait"]).held(held)).await?;
        drop(turn);
        let job: Job = answer.read()?;
        if job.is_finished() {
            return Ok(Waited::Ended(answer.body, job));
        }
        *seen = Some((answer.body, job));
        if deadline.is_some_and(|it| it <= Instant::now()) {
            return Ok(Waited::NotYet(seen.take()));
        }
        pause_after(asked, held).await;
    }
}
