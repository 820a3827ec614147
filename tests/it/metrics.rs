//! Metrics: those that alerts and the dashboard ask for are there, documented, and say what the rows say.

use std::collections::{BTreeMap, BTreeSet};

use longshore::metrics::{
    self, Accepted, AttemptOutcome, Exit, Http, Metrics, Restart, Throttled, Told, Via,
    levels::{Levels, QueueLevel},
    names::{ALL, Described, Kind, Over},
};
use serde_json::json;

use crate::{
    harness::{
        World, eventually,
        jobs::job,
        proxy::{Mode, Proxy},
        scalar,
    },
    quota::{lift, limit},
};

type LabelSet = BTreeMap<String, String>;

/// One line of the text format.
#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: LabelSet,
    value: f64,
}

impl Sample {
    fn read(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let mut rest = labels.strip_suffix('}').unwrap();
        let mut read = LabelSet::new();
        while let Some((key, more)) = rest.split_once("=\"") {
            // No value here has a quotation mark in it.
            let (value, more) = more.split_once('"').unwrap();
            read.insert(key.to_owned(), value.to_owned());
            rest = more.trim_start_matches(',');
        }
        Self { name: name.to_owned(), labels: read, value: value.parse().unwrap() }
    }

    /// The metric that it is of.
    fn of(&self) -> &'static Described {
        let named = |name: &str| ALL.iter().find(|it| it.name == name);
        let of_histogram = || {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|it| self.name.strip_suffix(it))?;
            named(name).filter(|it| it.kind == Kind::Histogram)
        };
        named(&self.name).or_else(of_histogram).unwrap_or_else(|| panic!("{} is not in the table", self.name))
    }
}

fn samples(text: &str) -> Vec<Sample> {
    text.lines().filter(|it| !it.starts_with('#')).map(Sample::read).collect()
}

/// The sum of a metric over those series that have these labels; none where there is no such series.
fn sum(of: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let found = of.iter().filter(|it| {
        it.name == name && labels.iter().all(|(key, value)| it.labels.get(*key).is_some_and(|it| it == value))
    });
    found.map(|it| it.value).reduce(|a, b| a + b)
}

/// Metrics of which each has a value.
fn of_everything() -> String {
    let all = Metrics::new();
    all.submitted(Via::Sql, Some("q"), Accepted::New);
    let attempt = Some((AttemptOutcome::Interrupted, Some(1.0)));
    let (waited, started) = (Some(1.0), Some(1.0));
    all.moved(&Exit { queue: "q", waited, started, attempt, finished: Some(("failed", "lost")) });
    let job = longshore::id::JobId::new();
    all.estimated(job, 5.0);
    all.came_true(job, "q");
    all.watch_told("jobs", "default", Told::Listed);
    all.watch_restarts("jobs", Restart::Expired);
    all.throttled(Throttled::Client);
    all.kube_request("get", "jobs").answered(200);
    all.http_answered(&Http { method: "GET", route: None, code: 418, took: std::time::Duration::ZERO });
    all.nothing_to_do(metrics::Loop::Reap);
    let source = all.source("mails");
    source.waits(Some(1), Some(1.0));
    source.lag(std::time::Duration::ZERO);
    source.up(true);
    let queue = QueueLevel { name: "q".into(), cap: Some(1), max_pending: Some(1), ..QueueLevel::default() };
    let jobs = vec![("q".into(), "pending", "next", 1)];
    all.looked(Levels { queues: vec![queue], jobs, ..Levels::default() });
    all.at_scrape(&metrics::names::DB_POOL, || vec![(["idle".into()], 1.0)]);
    all.at_scrape(&metrics::names::STREAM_CLIENTS, || vec![([], 1.0)]);
    all.at_scrape(&metrics::names::UNEXPLAINED, || vec![([], 1.0)]);
    all.encode().unwrap()
}

#[test]
fn what_alerts_and_the_dashboard_ask_for_is_exported_with_just_these_labels() {
    let asked: BTreeMap<String, Vec<String>> = serde_saphyr::from_str(include_str!("../chart/metrics.yaml")).unwrap();
    assert!(asked.len() > 20);
    for (name, labels) in &asked {
        let found = ALL.iter().find(|it| it.name == name).unwrap_or_else(|| panic!("{name} is not exported"));
        assert_eq!(found.labels, labels, "{name}");
    }
    let exported = samples(&of_everything());
    let mut seen = BTreeSet::new();
    for sample in &exported {
        let of = sample.of();
        let labels: BTreeSet<&str> = sample.labels.keys().map(String::as_str).filter(|it| *it != "le").collect();
        assert_eq!(labels, of.labels.iter().copied().collect(), "{}", sample.name);
        seen.insert(of.name);
    }
    let missing: Vec<&str> = ALL.iter().map(|it| it.name).filter(|it| !seen.contains(it)).collect();
    assert_eq!(missing, [""; 0], "in the table, and not exported");
}

#[test]
fn names_units_and_helps_are_as_prometheus_wants_them() {
    let text = of_everything();
    for it in ALL {
        let name = it.name;
        assert!(name.starts_with("longshore_") || name.starts_with("process_"), "{name}");
        assert!(name.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_'), "{name}");
        assert_eq!(
            name.ends_with("_total"),
            it.kind == Kind::Counter,
            "{name}: counters, and nothing else, are totals"
        );
        let without = name.trim_end_matches("_total");
        if let Some(unit) = it.unit {
            assert!(without.ends_with(&format!("_{unit}")), "{name} does not end with its unit");
            assert!(["seconds", "bytes", "ratio"].contains(&unit), "{name}: {unit} is no base unit");
        }
        for unit in ["seconds", "bytes", "ratio"] {
            assert!(!without.ends_with(&format!("_{unit}")) || it.unit == Some(unit), "{name} does not tell its unit");
        }
        for scaled in ["milli", "micro", "minutes", "hours", "kilo", "mega", "percent"] {
            assert!(!name.contains(scaled), "{name}");
        }
        let help = it.help();
        assert!(!it.about.is_empty() && !it.about.ends_with('.') && !help.contains('\n'), "{name}: {help}");
        let over = if it.over == Over::Sum { "sum" } else { "max" };
        assert!(help.contains(over), "{name}: {help}");
        for forbidden in ["job_id", "name", "pod", "user", "priority", "path", "message"] {
            assert!(!it.labels.contains(&forbidden), "{name} has a label without a bound");
        }
        assert!(text.contains(&format!("# HELP {without} {help}.\n")), "{name} is not described by its help");
        assert!(text.contains(&format!("# TYPE {without} {}\n", it.kind.name())), "{name}");
    }
    assert!(text.ends_with("# EOF\n"));
}

/// docs/metrics.md, below its introduction.
fn reference() -> String {
    let mut table = String::from("| name | type | unit | labels | what |\n| --- | --- | --- | --- | --- |\n");
    for it in ALL {
        let labels: Vec<String> = it.labels.iter().map(|it| format!("`{it}`")).collect();
        let (unit, labels) = (it.unit.unwrap_or("–"), if labels.is_empty() { "–".into() } else { labels.join(", ") });
        table += &format!("| `{}` | {} | {unit} | {labels} | {}. |\n", it.name, it.kind.name(), it.help());
    }
    table
}

#[test]
fn the_reference_of_metrics_is_what_the_code_says() {
    const MARK: &str =
        "<!-- From here on made from the code by `make reference`; a test compares the two. Do not edit. -->\n\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (above, below) = page.split_once(MARK).expect("docs/metrics.md has lost its mark");
    if std::env::var_os("LONGSHORE_WRITE_DOCS").is_some() {
        std::fs::write(path, format!("{above}{MARK}{}", reference())).unwrap();
        return;
    }
    assert_eq!(below, reference(), "docs/metrics.md is not what the code says; `make reference` writes it");
}

async fn scrape(world: &World, replica: &str) -> Vec<Sample> {
    let request = world.http.get(format!("{replica}/metrics")).header("accept", "application/openmetrics-text");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    samples(&answer.text().await.unwrap())
}

/// What all replicas counted.
async fn scrape_all(world: &World, replicas: &[&String]) -> Vec<Sample> {
    let mut all = Vec::new();
    for replica in replicas {
        all.extend(scrape(world, replica).await);
    }
    all
}

/// What the rows say of counters that they can be compared with.
async fn by_rows(world: &World, name: &str, sql: &'static str) -> Vec<(String, Vec<String>, f64)> {
    let rows: Vec<(Vec<String>, i64)> = sqlx::query_as(sql).fetch_all(&mut world.conn().await).await.unwrap();
    rows.into_iter().map(|(labels, count)| (name.to_owned(), labels, count as f64)).collect()
}

/// Ends when the replicas together counted just what the rows say, series by series.
async fn agrees_with_rows(world: &World, replicas: &[&String], name: &str, sql: &'static str) {
    let labels = ALL.iter().find(|it| it.name == name.trim_end_matches("_count")).unwrap().labels;
    let mut last = String::new();
    let same = async || {
        let rows: BTreeMap<Vec<String>, f64> =
            by_rows(world, name, sql).await.into_iter().map(|it| (it.1, it.2)).collect();
        let mut counted: BTreeMap<Vec<String>, f64> = BTreeMap::new();
        for it in scrape_all(world, replicas).await.iter().filter(|it| it.name == name && it.value > 0.0) {
            *counted.entry(labels.iter().map(|label| it.labels[*label].clone()).collect()).or_default() += it.value;
        }
        last = format!("{name}: counted {counted:?}, in rows {rows:?}");
        // What is counted twice is never uncounted.
        let over: f64 = counted.values().sum::<f64>() - rows.values().sum::<f64>();
        assert!(over <= 0.0, "{last}");
        (counted == rows).then_some(())
    };
    eventually(&format!("{name} agrees with the rows"), same).await;
}

async fn submits(world: &World, replica: &str, request: &serde_json::Value) -> u16 {
    world.http.post(format!("{replica}/jobs")).json(request).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_together_count_what_the_rows_say_and_each_shows_what_is_held() {
    let mut world = World::new(2).await;
    let (a, b) = (world.start(&[]).await, world.start(&[]).await);
    world.set_queue(&a, "tight", json!({"cap": 1, "max_pending": 1})).await;
    // Two jobs hold both slots, one of them that of its queue, and others wait.
    let long = world.submit(&a, &job("long", 600_000, 0)).await;
    let tight = world.submit(&b, &job("tight", 600_000, 0).with("queue", "tight".into())).await;
    world.reaches(&a, &long, "running").await;
    world.reaches(&b, &tight, "running").await;
    let waits = world.submit(&a, &job("waits", 100, 0)).await;
    let queued = world.submit(&b, &job("queued", 100, 0).with("queue", "tight".into())).await;
    assert_eq!(submits(&world, &a, &job("full", 100, 0).with("queue", "tight".into()).0).await, 429);
    assert_eq!(submits(&world, &b, &json!({"name": "x", "no_such_field": 1})).await, 422);
    for replica in [&a, &b] {
        eventually("the gauges say what the rows say", async || {
            let now = scrape(&world, replica).await;
            let is = |name, labels: &[(&str, &str)], value: f64| sum(&now, name, labels) == Some(value);
            let all = is("longshore_slots_held", &[("limit", "global")], 2.0)
                && is("longshore_slots_limit", &[("limit", "global")], 2.0)
                && is("longshore_slots_held", &[("limit", "queue:tight")], 1.0)
                && is("longshore_slots_limit", &[("limit", "queue:tight")], 1.0)
                && is("longshore_queue_max_pending", &[("queue", "tight")], 1.0)
                && is("longshore_jobs", &[("state", "running")], 2.0)
                && is("longshore_jobs", &[("queue", "tight"), ("state", "pending"), ("reason", "queue_cap")], 1.0)
                && is("longshore_jobs", &[("queue", "default"), ("state", "pending"), ("reason", "global_cap")], 1.0)
                && is("longshore_db_up", &[], 1.0)
                && sum(&now, "longshore_oldest_pending_age_seconds", &[("queue", "default")])? > 0.0;
            all.then_some(())
        })
        .await;
    }
    eventually("passes that found no slot are counted", async || {
        let now = scrape_all(&world, &[&a, &b]).await;
        let refused =
            |limit| sum(&now, "longshore_claims_refused_total", &[("limit", limit)]).is_some_and(|it| it > 0.0);
        (refused("global") && refused("queue:tight")).then_some(())
    })
    .await;
    // One of each way to end: while it waits, while it runs, well, badly, after another try.
    world.cancel(&b, &waits).await;
    world.cancel(&b, &tight).await;
    world.cancel(&a, &long).await;
    let again = job("again", 100, 3).with("max_attempts", 2.into()).with("backoff", json!({"initial": "100ms"}));
    let (fails, again) = (world.submit(&a, &job("fails", 100, 1)).await, world.submit(&b, &again).await);
    let late = job("late", 100, 0).with("delay", "1h".into());
    let late = world.submit(&a, &late).await;
    assert_eq!(world.cancel(&b, &late).await, 200);
    for (id, state) in [(&queued, "succeeded"), (&fails, "failed"), (&again, "failed"), (&tight, "cancelled")] {
        world.reaches(&a, id, state).await;
    }
    world.reaches(&a, &long, "cancelled").await;
    let key = json!({"name": "twice", "idempotency_key": "k", "command": ["true"]});
    let batch = world.http.post(format!("{b}/jobs/batch")).json(&json!([key, key, {"name": ""}]));
    assert_eq!(batch.send().await.unwrap().status(), 200);
    world.all_end().await;
    limit(&world, "count/jobs.batch", "0").await;
    let aside = world.submit(&a, &job("aside", 100, 0)).await;
    eventually("a job that is over a quota is seen, and why", async || {
        let now = scrape_all(&world, &[&a, &b]).await;
        let refused = sum(&now, "longshore_kube_throttled_total", &[("cause", "quota_403")])?;
        let waits = sum(&now, "longshore_jobs", &[("state", "scheduled"), ("reason", "quota")])?;
        (refused > 0.0 && waits > 0.0).then_some(())
    })
    .await;
    lift(&world).await;
    world.reaches(&b, &aside, "succeeded").await;
    world.all_end().await;
    let both = [&a, &b];
    let finished = "select array[queue, state, reason], count(*) from longshore.jobs group by queue, state, reason";
    agrees_with_rows(&world, &both, "longshore_jobs_finished_total", finished).await;
    let attempts = "select array[j.queue, case a.reason when 'completed' then 'succeeded' when 'cancelled' then 'cancelled' else 'failed' end],
                           count(*) from longshore.attempts a join longshore.jobs j on j.id = a.job_id group by 1";
    agrees_with_rows(&world, &both, "longshore_job_attempts_total", attempts).await;
    let claimed =
        "select array[j.queue], count(*) from longshore.attempts a join longshore.jobs j on j.id = a.job_id group by 1";
    agrees_with_rows(&world, &both, "longshore_job_wait_seconds_count", claimed).await;
    let now = scrape_all(&world, &both).await;
    let submitted = |via, result| sum(&now, "longshore_jobs_submitted_total", &[("via", via), ("result", result)]);
    assert_eq!(submitted("http", "accepted"), Some(8.0));
    assert_eq!(submitted("http", "rejected"), Some(2.0));
    assert_eq!(
        (submitted("batch", "accepted"), submitted("batch", "duplicate"), submitted("batch", "rejected")),
        (Some(1.0), Some(1.0), Some(1.0))
    );
    assert_eq!(sum(&now, "longshore_cap_invariant_violations_total", &[]), Some(0.0));
    let created = sum(&now, "longshore_kube_request_duration_seconds_count", &[("verb", "create"), ("code", "201")]);
    assert!(created >= Some(6.0), "{created:?}");
    let route = [("route", "/jobs/{id}"), ("method", "GET"), ("code", "200")];
    assert!(sum(&now, "longshore_http_request_duration_seconds_count", &route) > Some(0.0));
    for it in ["claim", "launch", "observe", "reap", "age"] {
        assert!(sum(&now, "longshore_pass_last_success_timestamp_seconds", &[("loop", it)]) > Some(1e9), "{it}");
    }
    assert!(now.iter().all(|it| !it.labels.values().any(|it| it.contains(&long))), "an id is no label");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_there_while_the_database_is_away_and_say_so() {
    let mut world = World::new(1).await;
    let host = world.url.split(['@', '/']).nth(3).unwrap().to_owned();
    let proxy = Proxy::to(host.clone()).await;
    let through = world.url.replace(&host, &proxy.address.to_string());
    let replica = world.start_on(&through, &[]).await;
    let up = async |value: f64| {
        eventually(&format!("db_up is {value}"), async || {
            let now = scrape(&world, &replica).await;
            (sum(&now, "longshore_db_up", &[]) == Some(value)).then_some(now)
        })
        .await
    };
    up(1.0).await;
    proxy.set(Mode::Refuse);
    let away = up(0.0).await;
    assert_eq!(sum(&away, "longshore_cap_invariant_violations_total", &[]), Some(0.0), "what is counted is still told");
    let plain = world.http.get(format!("{replica}/metrics")).header("accept", "text/plain").send().await.unwrap();
    assert_eq!(plain.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let plain = plain.text().await.unwrap();
    assert!(plain.contains("# TYPE longshore_claims_total counter\nlongshore_claims_total 0\n"), "{plain}");
    assert!(!plain.contains("# EOF") && !plain.contains("# UNIT"));
    proxy.set(Mode::Pass);
    up(1.0).await;
    let held: i64 = scalar(&mut world.conn().await, "select jobs from longshore.held").await;
    assert_eq!(held, 0);
    world.finish().await;
}
