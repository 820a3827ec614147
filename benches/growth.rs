//! Row 5: what takes longer the more there is. Databases of several sizes lie side by side on one server, and each question
//! is put to all of them by turns, through the functions that the product itself uses, and rolled back. What is told is the
//! slowest size, and the others beside it. Caps of queues do not exist yet: until they do, a claim of 1 from a queue of ten
//! jobs stands for a queue beside one with a million.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use longshore::{
    id::{JobId, ReplicaId},
    lifecycle::StateName,
    retry::Policy,
    roles::Roles,
    spec::{Spec, Start, Submission},
    store::{
        Conn, Db, claims, intents, lists, replicas,
        submit::{self, Intake, Ready},
        walk::{Filter, Name},
        why,
    },
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use uuid::Uuid;

use crate::{
    Args,
    report::{Goal, Report, median},
    world::World,
};

/// How often each question is put to each database.
const ROUNDS: usize = 6;
const TIMES_A_ROUND: usize = 5;
/// A page, as the API gives it unless it is asked for more.
const PAGE: i64 = 100;
/// How long a queue that was idle waits for a burst: the default of `--dispatch-delay`.
const GATHER_SECS: f64 = 0.1;

/// How much a database holds.
struct Size {
    name: &'static str,
    pending: u32,
    running: u32,
    finished: u32,
    queues: u32,
}

const SMALL: Size = Size { name: "small", pending: 1_000, running: 100, finished: 20_000, queues: 1 };
/// What the others are compared with is the first.
const SHORT: &[Size] = &[
    SMALL,
    Size { name: "middle", pending: 100_000, ..SMALL },
    Size { name: "backlog", pending: 1_000_000, ..SMALL },
    Size { name: "running", running: 10_000, ..SMALL },
    Size { name: "history", running: 100_000, finished: 1_000_000, ..SMALL },
    Size { name: "queues", pending: 100_000, queues: 1_000, ..SMALL },
];
const FULL: &[Size] = &[
    SMALL,
    Size { name: "middle", pending: 100_000, ..SMALL },
    Size { name: "large", pending: 1_000_000, ..SMALL },
    Size { name: "backlog", pending: 10_000_000, ..SMALL },
    Size { name: "running", running: 10_000, ..SMALL },
    Size { name: "history", running: 100_000, finished: 10_000_000, ..SMALL },
    Size { name: "queues", pending: 100_000, queues: 1_000, ..SMALL },
];

impl Size {
    fn words(&self) -> String {
        let mut words = format!("{} pending", thousands(self.pending));
        if self.queues > 1 {
            words += &format!(" in {} queues", thousands(self.queues));
        }
        if self.running > SMALL.running {
            words += &format!(", {} running", thousands(self.running));
        }
        if self.finished > SMALL.finished {
            words += &format!(", {} finished", thousands(self.finished));
        }
        words
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Claim1,
    Claim100,
    Submit,
    GetPending,
    GetFinished,
    PagePending,
    PageRunning,
    Page,
    PageOlder,
    PageOf(StateName),
    PageQueue,
    PageName,
    Position,
    Why,
    Cancel,
}

const ASKS: &[(Ask, &str, f64)] = &[
    (Ask::Claim1, "claim of 1, from a queue beside the others", 1.2),
    (Ask::Claim100, "claim of 100", 1.2),
    (Ask::Submit, "submit", 1.2),
    (Ask::GetPending, "GET /jobs/{id}, the last that waits", 1.2),
    (Ask::GetFinished, "GET /jobs/{id}, finished", 1.2),
    (Ask::PagePending, "GET /jobs/pending, 100", 2.0),
    (Ask::PageRunning, "GET /jobs/running, 100", 2.0),
    (Ask::Page, "GET /jobs, 100", 2.0),
    (Ask::PageOlder, "GET /jobs?cursor=, 100", 2.0),
    (Ask::PageOf(StateName::Pending), "GET /jobs?state=pending", 2.0),
    (Ask::PageOf(StateName::Running), "GET /jobs?state=running", 2.0),
    (Ask::PageOf(StateName::Scheduled), "GET /jobs?state=scheduled, none", 2.0),
    (Ask::PageOf(StateName::Failed), "GET /jobs?state=failed", 2.0),
    (Ask::PageOf(StateName::Cancelled), "GET /jobs?state=cancelled, none", 2.0),
    (Ask::PageQueue, "GET /jobs?queue=, 10 of all", 2.0),
    (Ask::PageName, "GET /jobs?name=, 1 of all", 2.0),
    (Ask::Position, "position of the last", 2.0),
    (Ask::Why, "why of the last", 2.0),
    (Ask::Cancel, "DELETE /jobs/{id}", 2.0),
];

/// A database of a size, and what is asked for in it.
struct Filled {
    db: Db,
    replica: ReplicaId,
    last: JobId,
    last_at: (i32, i64),
    finished: JobId,
}

pub async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let world = World::new().await?;
    let sizes = if args.full { FULL } else { SHORT };
    let mut filled = Vec::with_capacity(sizes.len());
    for size in sizes {
        let begun = Instant::now();
        filled.push(fill(&world, size).await?);
        println!("{}: filled in {} s", size.words(), begun.elapsed().as_secs());
    }
    // Pages that were written by the filling are not to be written to the disk while something is measured.
    world.sql("checkpoint").await?;
    let mut millis: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for round in 0..=ROUNDS {
        for (nth, (ask, what, _)) in ASKS.iter().enumerate() {
            for (number, it) in filled.iter().enumerate() {
                for _ in 0..TIMES_A_ROUND {
                    let took = measure(it, *ask, what).await?;
                    // The first round prepares the statements, and lets Postgres settle on their plans.
                    if round > 0 {
                        millis.entry((number, nth)).or_default().push(took.as_secs_f64() * 1000.0);
                    }
                }
            }
        }
    }
    let medians: BTreeMap<(usize, usize), f64> = millis.into_iter().map(|(key, all)| (key, median(all))).collect();
    tell(sizes, &medians, report);
    Ok(())
}

/// Of each question the slowest size, and apart from that many queues, where they matter to it.
fn tell(sizes: &[Size], medians: &BTreeMap<(usize, usize), f64>, report: &mut Report) {
    for (nth, (ask, what, goal)) in ASKS.iter().enumerate() {
        let (queues, sizes): (Vec<_>, Vec<_>) =
            sizes.iter().enumerate().skip(1).partition(|(_, size)| size.queues > SMALL.queues);
        let goes_by_queues = matches!(ask, Ask::Claim1 | Ask::Claim100 | Ask::Submit | Ask::PagePending | Ask::Why);
        for sizes in [sizes, if goes_by_queues { queues } else { Vec::new() }] {
            let took = |number: &usize| medians.get(&(*number, nth)).copied().unwrap_or_default();
            let slowest = sizes.iter().max_by(|one, other| took(&one.0).total_cmp(&took(&other.0)));
            let Some((number, size)) = slowest else { continue };
            let what = format!("{what}: {}", size.words());
            report.beside(what, took(number), "ms", (&SMALL.words(), took(&0)), Goal::AtMost(*goal));
            let others = sizes.iter().filter(|it| it.0 != *number);
            let words: Vec<String> = others.map(|(it, size)| format!("{}: {:.2} ms", size.words(), took(it))).collect();
            report.note(words.join("; "));
        }
    }
}

async fn fill(world: &World, size: &Size) -> anyhow::Result<Filled> {
    let url = world.another(size.name).await?;
    let values =
        [("pending", size.pending), ("running", size.running), ("finished", size.finished), ("queues", size.queues)];
    let text = values.iter().fold(include_str!("sql/fill.sql").to_owned(), |text, (name, it)| {
        text.replace(&format!(":{name}"), &it.to_string())
    });
    let mut conn = PgConnection::connect(&url).await?;
    conn.execute(AssertSqlSafe(text)).await?;
    conn.execute("vacuum analyze").await?;
    let (last, priority, seq): (Uuid, i32, i64) = sqlx::query_as(
        "select id, priority, seq from longshore.jobs_live where state = 'pending' order by priority, seq desc limit 1",
    )
    .fetch_one(&mut conn)
    .await?;
    let finished: Uuid =
        sqlx::query_scalar("select id from longshore.jobs where state = 'succeeded' order by id limit 1 offset 500")
            .fetch_one(&mut conn)
            .await?;
    conn.close().await?;
    let (db, replica) = (Db::new(&url, 1)?, ReplicaId::new());
    replicas::beat(&mut *db.conn().await?, replica, "bench", Roles::ALL, 86_400.0).await?;
    Ok(Filled { db, replica, last: JobId(last), last_at: (priority, seq), finished: JobId(finished) })
}

/// Asks once, and leaves the database as it was.
async fn measure(it: &Filled, ask: Ask, what: &str) -> anyhow::Result<Duration> {
    let mut conn = it.db.conn().await?;
    let mut tx = conn.begin().await?;
    let begun = Instant::now();
    let right = put(&mut tx, it, ask).await?;
    let took = begun.elapsed();
    tx.rollback().await?;
    anyhow::ensure!(right, "{what}: not what was expected");
    Ok(took)
}

/// Answers whether the answer is the one to be expected.
async fn put(conn: &mut Conn, it: &Filled, ask: Ask) -> anyhow::Result<bool> {
    Ok(match ask {
        Ask::Claim1 => claim(conn, it, 1).await?,
        Ask::Claim100 => claim(conn, it, 100).await?,
        Ask::Submit => {
            let ready = [Ready::new(submission())];
            // One that has not counted lately what is ahead.
            Intake::new(it.replica).submit(conn, &ready).await?.len() == 1
        }
        Ask::GetPending => whole(conn, it.last).await?,
        Ask::GetFinished => whole(conn, it.finished).await?,
        Ask::PagePending => lists::pending(conn, None, PAGE).await?.len() == 100,
        Ask::PageRunning => lists::holding(conn, PAGE).await?.len() == 100,
        Ask::Page => page(conn, Filter::default(), None).await? == 100,
        Ask::PageOlder => page(conn, Filter::default(), Some(it.last)).await? == 100,
        Ask::PageOf(state) => {
            let rows = page(conn, Filter { states: vec![state], ..Filter::default() }, None).await?;
            (rows == 0) == matches!(state, StateName::Scheduled | StateName::Cancelled)
        }
        Ask::PageQueue => page(conn, Filter { queue: Some("aside".into()), ..Filter::default() }, None).await? == 10,
        Ask::PageName => {
            page(conn, Filter { name: Some(Name::Exact("job-5".into())), ..Filter::default() }, None).await? == 1
        }
        Ask::Position => lists::position(conn, "queue-0", it.last_at.0, it.last_at.1).await? == submit::POSITION_LIMIT,
        Ask::Why => why::why(conn, it.last).await?.is_some_and(|it| it.queue_position.is_some()),
        Ask::Cancel => matches!(intents::cancel(conn, it.replica, it.last).await?, intents::Cancel::Done { .. }),
    })
}

async fn claim(conn: &mut Conn, it: &Filled, most: i64) -> anyhow::Result<bool> {
    let claimed = claims::claim(conn, it.replica, most, GATHER_SECS, true).await?;
    Ok(matches!(claimed, claims::Claim::Claimed { jobs, .. } if jobs as i64 == most))
}

/// What `GET /jobs/{id}` asks.
async fn whole(conn: &mut Conn, id: JobId) -> anyhow::Result<bool> {
    let (job, why) = (lists::get(conn, id).await?, why::why(conn, id).await?);
    lists::attempts(conn, id).await?;
    Ok(job.is_some() && why.is_some())
}

async fn page(conn: &mut Conn, filter: Filter, before: Option<JobId>) -> anyhow::Result<usize> {
    Ok(lists::list(conn, &filter, before, PAGE).await?.0.len())
}

fn submission() -> Submission {
    Submission {
        name: "job".into(),
        priority: 0,
        queue: "queue-0".into(),
        namespace: "default".into(),
        start: Start::Now,
        idempotency_key: None,
        policy: Policy::default(),
        spec: Spec { image: Some("busybox:latest".into()), command: vec!["true".into()], ..Spec::default() },
    }
}

fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|it| std::str::from_utf8(it).ok()).collect();
    groups.join(",")
}
