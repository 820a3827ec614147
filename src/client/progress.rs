//! How a job stands while somebody waits for it: one line on stderr, written over itself, where a person watches.

use std::{
    convert::Infallible,
    io::{IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use crate::id::JobId;

use super::{
    failure::Failure,
    http::{Ask, Http},
    text::{Clock, cut},
    view::Job,
};

/// How often the line is written again: often enough to be believed, and a small request each time.
const REFRESH: Duration = Duration::from_secs(2);
/// The width of a terminal that does not say its own, in characters.
const WIDTH: u16 = 80;

/// Whether the line is there: of one terminal there is one.
static IS_DRAWN: AtomicBool = AtomicBool::new(false);

/// Waits for what `waiting` comes to, and meanwhile tells how the job stands.
pub async fn shown<T>(http: &Http, id: JobId, waiting: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    if !std::io::stderr().is_terminal() {
        return waiting.await;
    }
    let done = tokio::select! {
        done = waiting => done,
        never = tell(http, id) => match never {},
    };
    clear();
    done
}

async fn tell(http: &Http, id: JobId) -> Infallible {
    let id = id.to_string();
    let mut ticks = interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Whoever waits hears of a failure from the wait itself.
        if let Ok(job) = http.send(Ask::get(&["jobs", &id])).await.and_then(|it| it.read::<Job>()) {
            IS_DRAWN.store(true, Ordering::Relaxed);
            draw(&line(&job, Clock::Ago { now: Timestamp::now() }));
        }
    }
}

/// Takes the line away, if there is one, for others to be printed.
pub fn clear() {
    if IS_DRAWN.swap(false, Ordering::Relaxed) {
        draw("");
    }
}

fn draw(line: &str) {
    let width = terminal_size::terminal_size_of(std::io::stderr()).map_or(WIDTH, |(width, _)| width.0);
    let line = cut(line, usize::from(width.saturating_sub(1)).max(1));
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "\r\u{1b}[K{line}").and_then(|()| err.flush());
}

/// The state, what is before it, why, and when it is likely to go on.
fn line(job: &Job, clock: Clock) -> String {
    let mut parts = vec![match job.queue_position.as_ref().map(|it| it.as_str()) {
        Some("0") => format!("{}, next to start", job.state),
        Some("1") => format!("{}, 1 job before it", job.state),
        Some(position) => format!("{}, {position} jobs before it", job.state),
        None => job.state.to_string(),
    }];
    let starts = job.eta.as_ref().and_then(|it| it.starts_p50);
    let ends = job.eta.as_ref().and_then(|it| it.ends_p50);
    match (starts, ends, job.state.as_str()) {
        (Some(at), _, "pending" | "scheduled") => parts.push(format!("starts about {}", clock.tell(at))),
        (_, Some(at), _) => parts.push(format!("ends about {}", clock.tell(at))),
        (_, None, "running") => parts.extend(job.started_at.map(|it| format!("started {}", clock.tell(it)))),
        _ => {}
    }
    parts.extend(job.sentence(clock).filter(|_| job.is_waiting()));
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_job_stands_fits_in_a_line() {
        let tell = |job: serde_json::Value| {
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            line(&serde_json::from_value(job).unwrap(), Clock::Ago { now })
        };
        let waits = serde_json::json!({
            "job_id": "1", "name": "a", "state": "pending", "queue_position": "3",
            "why": {"code": "global_cap", "message": "every slot\nis held"}, "eta": {"starts_p50": "2026-01-01T00:01:30Z"}
        });
        assert_eq!(tell(waits), "pending, 3 jobs before it; starts about in 90s; every slot is held");
        let runs =
            serde_json::json!({"job_id": "1", "name": "a", "state": "running", "started_at": "2025-12-31T23:59:50Z"});
        assert_eq!(tell(runs), "running; started 10s ago");
    }
}
