//! `GET /jobs`: every filter, pages that join while jobs move, and a bounded cost however many there are.

use longshore::{
    lifecycle::StateName,
    store::{
        Db, console,
        walk::{self, Filter, LOOKS, Name},
    },
};
use serde_json::{Value, json};
use sqlx::Connection;

use crate::harness::{World, jobs::job, scalar};

/// The names of all pages, as they come.
async fn names(world: &World, replica: &str, query: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world.get(replica, &format!("/jobs?limit=4&{query}{cursor}")).await;
        names.extend(page["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return names,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_narrowed_by_every_filter_and_by_all_of_them_together() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let jobs = [
        ("nightly-1", "reports", json!({"team": "blue", "tier": "1"}), None),
        ("nightly_2", "reports", json!({"team": "red"}), None),
        ("100%", "default", json!({"team": "blue"}), None),
        ("later", "default", json!({}), Some("1h")),
        ("weekly-1", "reports", json!({"team": "blue", "tier": "2"}), None),
    ];
    let mut ids = Vec::new();
    for (name, queue, labels, delay) in jobs {
        let request = job(name, 50, 0).with("queue", json!(queue)).with("labels", labels).with("delay", json!(delay));
        ids.push(world.submit(&replica, &request).await);
    }
    let gone = world.submit(&replica, &job("gone", 50, 0).with("labels", json!({"team": "blue"}))).await;
    world.cancel(&replica, &gone).await;
    let created = world.get(&replica, &format!("/jobs/{}", ids[2])).await["created_at"].as_str().unwrap().to_owned();
    let (since, until) = (format!("created_after={created}"), format!("created_before={created}"));
    let cases: &[(&str, &[&str])] = &[
        ("", &["gone", "weekly-1", "later", "100%", "nightly_2", "nightly-1"]),
        ("state=pending", &["weekly-1", "100%", "nightly_2", "nightly-1"]),
        ("state=scheduled,cancelled", &["gone", "later"]),
        ("state=running,stopping,failed", &[]),
        ("queue=reports", &["weekly-1", "nightly_2", "nightly-1"]),
        ("queue=nowhere", &[]),
        ("name=later", &["later"]),
        ("name=night", &[]),
        ("name=night*", &["nightly_2", "nightly-1"]),
        ("name=*_2", &["nightly_2"]),
        ("name=*-1", &["weekly-1", "nightly-1"]),
        ("name=*%25", &["100%"]),
        ("label=team%3Dblue", &["gone", "weekly-1", "100%", "nightly-1"]),
        ("label=team%3Dblue&label=tier", &["weekly-1", "nightly-1"]),
        ("label=tier&label=team%3Dblue&label=tier%3D2", &["weekly-1"]),
        ("label=team", &["gone", "weekly-1", "100%", "nightly_2", "nightly-1"]),
        ("label=team%3D", &[]),
        ("reason=cancelled", &["gone"]),
        ("created_after=1h", &["gone", "weekly-1", "later", "100%", "nightly_2", "nightly-1"]),
        ("created_before=1h", &[]),
        (&since, &["gone", "weekly-1", "later", "100%"]),
        (&until, &["nightly_2", "nightly-1"]),
        ("state=pending&queue=reports&label=team%3Dblue&name=*-1&created_after=1h&label=tier%3D1", &["nightly-1"]),
    ];
    for (query, expected) in cases {
        assert_eq!(names(&world, &replica, query).await, *expected, "{query}");
    }
    let labelled = world.get(&replica, "/jobs?name=nightly-1").await;
    assert_eq!(labelled["items"][0]["labels"], json!({"team": "blue", "tier": "1"}));
    assert!(labelled["items"][0].get("spec").is_none(), "a list does not carry whole specs");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_filter_is_refused_with_the_parameter_named() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let cases = [
        ("state=pending,gone", "/state"),
        ("state=", "/state"),
        ("state=pending&state=failed", "/state"),
        ("colour=red", "/colour"),
        ("name=", "/name"),
        ("label=team%3Dno%20spaces", "/labels/team"),
        ("label=", "/labels/"),
        (&"label=a&".repeat(9), "/labels"),
        ("reason=bad-luck", "/reason"),
        ("created_after=yesterday", "/created_after"),
        ("created_before=-1h", "/created_before"),
        ("limit=0", "/limit"),
        ("limit=many", "/limit"),
        ("cursor=x", "/cursor"),
    ];
    for (query, pointer) in cases {
        let answer = world.http.get(format!("{replica}/jobs?{query}")).send().await.unwrap();
        assert_eq!(answer.status(), 422, "{query}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{query}: {problem}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_each_job_once_while_jobs_come_and_move_and_end() {
    let mut world = World::new(5).await;
    let replica = world.start(&[]).await;
    let mut ids = Vec::new();
    for index in 0..60 {
        ids.push(world.submit(&replica, &job(&format!("job{index}"), 50, index % 2)).await);
    }
    // Everything moves between two pages: jobs start and end, and others come.
    for query in ["", "queue=default&", "state=pending,starting,running,stopping,succeeded,failed&"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = world.get(&replica, &format!("/jobs?limit=3&{query}{cursor}")).await;
            seen.extend(page["items"].as_array().unwrap().iter().map(|it| it["job_id"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("cursor={next}");
            world.submit(&replica, &job("newcomer", 50, 0)).await;
        }
        let newest_first: Vec<&String> = ids.iter().rev().collect();
        let of_mine: Vec<&String> = seen.iter().filter(|it| ids.contains(it)).collect();
        assert_eq!(of_mine, newest_first, "{query:?}");
        // What came meanwhile is of the next list.
        ids = world.accepted.lock().unwrap().clone();
    }
    world.all_end().await;
    world.finish().await;
}

/// Rows as if this many jobs had been submitted, one a millisecond: in each hundred one failed, one waits, one is labelled
/// `rare`; all others succeeded.
async fn fill(world: &World, from: i64, to: i64) {
    let mut conn = world.conn().await;
    let sql = format!(
        "create temporary table made as
         select longshore.first_id(timestamptz '2026-01-01 00:00:00Z' + n * interval '1 ms') as id, n,
                case n % 100 when 0 then 'failed' when 1 then 'pending' else 'succeeded' end as state
           from generate_series({from}, {to}) n;
         insert into longshore.jobs (id, priority, queue, name, namespace, state, pending_at, reason, message, finished_at, part)
         select id, 0, case when n % 10 = 0 then 'tenth' else 'default' end, 'job' || n, 'default', state, now(),
                case state when 'failed' then 'job_failed' when 'succeeded' then 'completed' end,
                case when state <> 'pending' then 'm' end, case when state <> 'pending' then now() end,
                case when state <> 'pending' then now() else 'infinity' end from made;
         insert into longshore.job_specs (job_id, spec, spec_hash, name, queue)
         select id, '{{}}', '', 'job' || n, case when n % 10 = 0 then 'tenth' else 'default' end from made;
         insert into longshore.job_labels select id, 'team', 'blue' from made;
         insert into longshore.job_labels select id, 'rare', 'yes' from made where n % 100 = 2;
         insert into longshore.job_events (job_id, attempt, to_state, reason) select id, 0, state, 'submitted' from made;
         drop table made"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
    // Rows that are rewritten all the time are on no page that vacuum calls visible to all, so that no index answers alone:
    // then any other one may look as good as the one whose order is asked for.
    let busy = "vacuum analyze; update pg_class set relallvisible = 0 where relnamespace = 'longshore'::regnamespace";
    for sql in busy.split(';') {
        sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    }
}

/// How many entries of indexes, and rows of tables, one page costs; and how many jobs are on it, and whether more may follow.
async fn cost(db: &Db, filter: &Filter) -> (i64, usize, bool) {
    let mut conn = db.conn().await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    let read = "select coalesce(sum(pg_stat_get_xact_tuples_returned(c.oid)), 0)::bigint from pg_class c
                  join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'longshore' and c.relkind in ('r', 'i')";
    let before: i64 = scalar(&mut tx, read).await;
    let found = walk::walk(&mut tx, filter, None, 100).await.unwrap();
    let after: i64 = scalar(&mut tx, read).await;
    tx.rollback().await.unwrap();
    (after - before, found.ids.len(), found.reached.is_some())
}

/// The same of all that the console shows of the whole.
async fn cost_of_console(db: &Db) -> i64 {
    let mut conn = db.conn().await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    let read = "select coalesce(sum(pg_stat_get_xact_tuples_returned(c.oid)), 0)::bigint from pg_class c
                  join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'longshore' and c.relkind in ('r', 'i')";
    let before: i64 = scalar(&mut tx, read).await;
    let harbour = console::read(&mut tx).await.unwrap();
    let after: i64 = scalar(&mut tx, read).await;
    tx.rollback().await.unwrap();
    assert!(harbour.counts.failed > 0 && harbour.counts.pending > 0 && !harbour.next.is_empty());
    after - before
}

fn label(key: &str, value: &str) -> (String, Option<String>) {
    (key.to_owned(), Some(value.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_costs_no_more_with_twenty_times_as_many_jobs() {
    let world = World::new(0).await;
    let states = |states: &[StateName]| Filter { states: states.to_vec(), ..Filter::default() };
    let named = |name: &str| Filter { name: Some(Name::new(name.into())), ..Filter::default() };
    let queue = |queue: &str| Filter { queue: Some(queue.into()), ..Filter::default() };
    let filters = [
        ("all", Filter::default()),
        ("waiting", states(&[StateName::Pending])),
        ("failed", states(&[StateName::Failed])),
        ("cancelled", states(&[StateName::Cancelled])),
        ("mixed", states(&[StateName::Failed, StateName::Pending, StateName::Running])),
        ("name", named("job5")),
        ("queue", queue("tenth")),
        ("no queue", queue("nowhere")),
        ("label", Filter { labels: vec![label("rare", "yes")], ..Filter::default() }),
        ("two labels", Filter { labels: vec![label("team", "blue"), label("rare", "yes")], ..Filter::default() }),
        ("failed of a name", Filter { name: Some(Name::new("job100".into())), ..states(&[StateName::Failed]) }),
        ("nothing to go by", named("*no such*")),
        ("nothing among many", Filter { labels: vec![label("team", "blue")], ..named("*no such*") }),
    ];
    let (mut costs, mut consoles) = (Vec::new(), Vec::new());
    for (from, to) in [(1, 10_000), (10_001, 200_000)] {
        fill(&world, from, to).await;
        // A connection of its own, whose plans are made for what there is now.
        let db = Db::new(&world.url, 1).unwrap();
        consoles.push(cost_of_console(&db).await);
        for (what, filter) in &filters {
            costs.push((*what, cost(&db, filter).await));
        }
    }
    // Counts stop at a thousand, and what ended lately is looked for among some thousands: with the smaller number of jobs
    // neither bound is reached everywhere.
    assert!(consoles[1] <= 60_000 && consoles[1] <= 4 * consoles[0], "{consoles:?}");
    let (few, many) = costs.split_at(filters.len());
    for ((what, (before, ..)), (_, (after, found, more))) in few.iter().zip(many) {
        // Each job that is looked at is an entry of the index that is walked, once more for how far that came, and a few of
        // others; and each fitting index was tried.
        assert!(*after <= 8 * LOOKS && (*after <= 2 * before + 3_000 || *before >= LOOKS), "{what}: {before}, {after}");
        assert!(*found > 0 || *more || ["cancelled", "no queue"].contains(what), "{what}: {found} {more}");
    }
    assert!(
        many.iter().all(|(what, (_, found, _))| *found == 100 || !["all", "label", "two labels"].contains(what)),
        "{many:?}"
    );
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_for_what_is_rare_is_answered_in_parts_and_finds_all_of_it() {
    let mut world = World::new(0).await;
    fill(&world, 1, 3 * LOOKS + 17).await;
    let replica = world.start(&[]).await;
    let (mut found, mut pages, mut empty, mut cursor) = (Vec::new(), 0, 0, String::new());
    loop {
        let page = world.get(&replica, &format!("/jobs?name=job*7777&{cursor}")).await;
        let items = page["items"].as_array().unwrap();
        (pages, empty) = (pages + 1, empty + i32::from(items.is_empty()));
        found.extend(items.iter().map(|it| it["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("cursor={next}");
    }
    assert_eq!(found, ["job7777"]);
    assert_eq!((pages, empty), (4, 3), "each page is the end of a bounded look");
    world.finish().await;
}
