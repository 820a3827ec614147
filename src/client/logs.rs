//! `logs`: what a job printed, as it comes; and following a job through its attempts to its end.

use clap::Args;

use crate::id::JobId;

use super::{
    Exit, Failure,
    http::{Ask, Http, job_id},
    output::{self, note, print_part},
    scrub::Scrub,
    stream::Stream,
    text::clean,
    view::Job,
    wait,
};

/// The arguments of `logs`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 the log was shown to its end, 4 there is no such job or no such log, \
1 the request failed, or the log was cut off.")]
pub struct Logs {
    /// The job's id, or job/ID
    id: String,
    /// Wait for the job to start, and go on until its container ends
    #[arg(short, long)]
    follow: bool,
    /// Of this attempt [default: the last]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// Begin so many lines before the end
    #[arg(long, value_name = "N")]
    tail: Option<u64>,
    /// Of this container, where the pod has several
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    /// Print the bytes as they are, escape sequences with them; not to a terminal
    #[arg(long)]
    raw: bool,
}

/// Which log of a job.
#[derive(Default)]
struct Which<'a> {
    follow: bool,
    attempt: Option<u32>,
    tail: Option<u64>,
    container: Option<&'a str>,
}

/// Shows a log.
pub async fn run(http: &Http, logs: &Logs) -> Result<Exit, Failure> {
    if logs.raw && output::is_watched() {
        let fix = "send it somewhere else, as in `longshore logs ID --raw > FILE`, or leave --raw out";
        return Err(Failure::usage("--raw does not print to a terminal, which would obey what a log says", fix));
    }
    let Logs { follow, attempt, tail, .. } = *logs;
    let which = Which { follow, attempt, tail, container: logs.container.as_deref() };
    let mut stream = open(http, job_id(&logs.id)?, &which).await?;
    match logs.raw {
        true => {
            while let Some(piece) = stream.next().await? {
                print_part(&piece)?;
            }
        }
        false => pour(&mut stream).await?,
    }
    Ok(Exit::Done)
}

async fn open(http: &Http, id: JobId, which: &Which<'_>) -> Result<Stream, Failure> {
    let id = id.to_string();
    let path = ["jobs", &id, "logs"];
    let ask = Ask::get(&path)
        .query("follow", which.follow.then_some(true))
        .query("attempt", which.attempt)
        .query("tail", which.tail)
        .query("container", which.container);
    let stream = http.stream(ask.endless()).await?;
    if stream.header("longshore-log") == Some("kept") && stream.header("longshore-log-truncated") == Some("true") {
        // With --tail, what comes may be less than what was kept.
        let length = stream.length().filter(|_| which.tail.is_none());
        note(&format!("note: only {} were kept", length.map_or_else(|| "the last lines".into(), last)));
    }
    Ok(stream)
}

/// That many bytes, as people say it.
fn last(bytes: u64) -> String {
    match bytes {
        1 => "the last byte".into(),
        0..1024 => format!("the last {bytes} bytes"),
        // What is kept begins with a whole line or character, so it is a little less than the round number.
        _ => format!("the last {} KiB", bytes.div_ceil(1024)),
    }
}

async fn pour(stream: &mut Stream) -> Result<(), Failure> {
    let mut scrub = Scrub::default();
    while let Some(piece) = stream.next().await? {
        print_part(scrub.feed(&piece).as_bytes())?;
    }
    Ok(())
}

/// Shows what a job prints, attempt after attempt, until it has ended: the job as it ended. A log that cannot be had
/// keeps nobody from waiting.
pub async fn to_the_end(http: &Http, id: JobId) -> Result<Job, Failure> {
    let mut attempt = None;
    loop {
        let which = Which { follow: true, attempt, ..Which::default() };
        let mut shown = attempt.unwrap_or(0);
        let poured = match open(http, id, &which).await {
            Ok(mut stream) => {
                let told = stream.header("longshore-attempt").and_then(|it| it.parse().ok());
                shown = shown.max(told.unwrap_or(1));
                pour(&mut stream).await
            }
            Err(failure) => Err(failure),
        };
        match poured {
            Ok(()) => {}
            Err(failure @ Failure::Stdout(_)) => return Err(failure),
            // Which of its attempts has none is told when each is asked about, below.
            Err(failure) if attempt.is_none() && failure.exit() == Exit::NotFound => {}
            Err(failure) => {
                note(&clean(&format!("note: the log cannot be shown: {}", failure.in_a_line())));
                if !matches!(failure, Failure::CutOff { .. }) && failure.exit() != Exit::NotFound {
                    return Ok(wait::to_the_end(http, id).await?.1);
                }
            }
        }
        let job = wait::for_attempt_after(http, id, shown).await?;
        attempt = job.attempt_after(shown);
        if attempt.is_none() {
            return Ok(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_told_in_round_numbers() {
        assert_eq!(
            [0, 1, 1023, 16_300, 16_384].map(last),
            ["the last 0 bytes", "the last byte", "the last 1023 bytes", "the last 16 KiB", "the last 16 KiB"]
        );
    }
}
