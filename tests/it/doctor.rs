//! `longshore doctor`: each planted fault is found by its name, with what to do about it, and nothing else is said to be
//! wrong.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ResourceQuota};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use longshore::{
    cluster::needs,
    doctor::CHECKS,
    sim::{Effect, Rule},
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::harness::{World, account, cli, cluster::is_real, eventually, scalar};

/// Where nobody is said to be: the address that is assumed.
const NOWHERE: &str = "http://127.0.0.1:8000";

/// What a doctor found.
struct Found(Vec<Value>);

impl Found {
    /// The names of the checks that ended so.
    fn ended(&self, status: &str) -> BTreeSet<&str> {
        self.0.iter().filter(|it| it["status"] == status).map(|it| it["check"].as_str().unwrap()).collect()
    }

    /// What was found of one check that is not well: found and remedy.
    fn wrong(&self, check: &str) -> (&str, &str) {
        let mut of_check = self.0.iter().filter(|it| it["check"] == check);
        let it = of_check.find(|it| it["status"] == "fail" || it["status"] == "warn");
        let it = it.unwrap_or_else(|| panic!("{check} found nothing: {:?}", self.0));
        (it["found"].as_str().unwrap(), it["remedy"].as_str().expect("what is wrong has a remedy"))
    }

    /// That check alone failed, with these words in what was found and in the remedy.
    fn blames(&self, check: &str, found: &str, remedy: &str) {
        assert_eq!(self.ended("fail"), BTreeSet::from([check]), "{:?}", self.0);
        self.tells(check, found, remedy);
    }

    /// That check warned so, and nothing failed.
    fn warns(&self, check: &str, found: &str, remedy: &str) {
        assert_eq!(self.ended("fail"), BTreeSet::new(), "{:?}", self.0);
        assert!(self.ended("warn").contains(check), "{:?}", self.0);
        self.tells(check, found, remedy);
    }

    fn tells(&self, check: &str, found: &str, remedy: &str) {
        let told = self.wrong(check);
        assert!(told.0.contains(found) && told.1.contains(remedy), "{told:?} has neither {found:?} nor {remedy:?}");
    }
}

/// Examines the world, with `flags` in the place of what it has.
async fn examine(world: &World, flags: &[&str]) -> Found {
    let kubeconfig = world.target.kubeconfig();
    let defaults = [
        ("--database-url", world.url.as_str()),
        ("--kubeconfig", kubeconfig.to_str().unwrap()),
        ("--namespace", world.target.namespace()),
    ];
    let given = |name: &str| flags.iter().any(|it| it.split('=').next() == Some(name));
    let mut words = vec!["doctor".to_owned(), "--output=json".to_owned()];
    words.extend(defaults.iter().filter(|it| !given(it.0)).map(|(name, value)| format!("{name}={value}")));
    words.extend(flags.iter().map(|it| (*it).to_owned()));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = cli::say(NOWHERE, &words).await;
    assert!(!said.out.contains(password(world)) && !said.err.contains(password(world)), "a password is shown");
    let found = Found(said.json().as_array().unwrap().clone());
    assert_eq!(said.code, i32::from(!found.ended("fail").is_empty()), "{}", said.err);
    for it in &found.0 {
        let is_wrong = it["status"] == "fail" || it["status"] == "warn";
        assert_eq!((it["remedy"].is_string(), it["why"].is_string()), (is_wrong, is_wrong), "{it}");
    }
    found
}

fn password(world: &World) -> &str {
    let user = world.url.split('@').next().unwrap();
    user.rsplit(':').next().unwrap()
}

async fn execute(conn: &mut PgConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(conn).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_well_is_found_well_with_the_rights_of_the_role_alone() {
    let mut world = World::new(2).await;
    let templates = json!({"metadata": {"name": "job-template-cm"}, "data": {"a.yaml": "manifest: {apiVersion: batch/v1, kind: Job, spec: {template: {spec: {containers: [{name: main, image: busybox}]}}}}"}});
    let maps: Api<ConfigMap> = Api::namespaced(world.target.stranger().await, world.target.namespace());
    maps.create(&PostParams::default(), &serde_json::from_value(templates).unwrap()).await.unwrap();
    let replica = world.start(&[]).await;
    let url = format!("--url={replica}");
    let found = examine(&world, &[&url, "--submit-noop", "--template-config-map=job-template-cm"]).await;
    assert_eq!(found.ended("fail"), BTreeSet::new(), "{:?}", found.0);
    // The database of a test does not wait for its disk.
    assert_eq!(found.ended("warn"), BTreeSet::from(["settings"]), "{:?}", found.0);
    let well = found.ended("ok");
    for check in [
        "replica",
        "schema",
        "rights",
        "held",
        "partitions",
        "permissions",
        "watch",
        "default-job",
        "templates",
        "no-op",
    ] {
        assert!(well.contains(check), "{check}: {:?}", found.0);
    }
    if is_real() {
        // It needs no right to read quotas, so it says that it has none.
        assert!(found.ended("skipped").is_superset(&BTreeSet::from(["quota", "namespace", "pod-security"])));
    }
    assert_eq!(world.get(&replica, "/jobs/running").await, json!([]));

    let said = cli::say(&replica, &["doctor", "--live"]).await.with(0);
    assert_eq!(said.out, "OK\n");
    let said = cli::say(NOWHERE, &["doctor", "--live", "--port", replica.rsplit(':').next().unwrap()]).await;
    assert_eq!(said.with(0).out, "OK\n");
    let said = cli::say("http://user:hidden@127.0.0.1:1", &["doctor", "--live"]).await.with(1);
    assert!(!said.err.contains("hidden") && said.err.contains("does not answer"), "{}", said.err);
    cli::say("ftp://x", &["doctor"]).await.with(2);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_the_database_is_found_and_nothing_else() {
    let world = World::new(2).await;
    let mut conn = world.conn().await;

    let elsewhere = world.url.replace(world.url.rsplit(':').next().unwrap(), "1/longshore");
    examine(&world, &[&format!("--database-url={elsewhere}")]).await.blames(
        "database",
        "the database is away",
        "`psql URL`",
    );
    let wrong = world.url.replace(password(&world), "wrong");
    examine(&world, &[&format!("--database-url={wrong}")]).await.blames("database", "password", "alter role");
    let unknown = format!("{}-unknown", world.url);
    examine(&world, &[&format!("--database-url={unknown}")]).await.blames("database", "does not exist", "createdb");
    examine(&world, &["--database-url=postgres://a:b@h:port/x"]).await.blames(
        "database",
        "not valid",
        "postgres://USER",
    );

    // This connection was made before, and may go on writing.
    execute(&mut conn, "alter database longshore set default_transaction_read_only = on").await;
    examine(&world, &[]).await.blames("writable", "read-only", "reset default_transaction_read_only");
    execute(&mut conn, "alter database longshore reset default_transaction_read_only").await;

    execute(&mut conn, "create table public.kept as select * from longshore.schema_migrations").await;
    let restore =
        "delete from longshore.schema_migrations; insert into longshore.schema_migrations select * from public.kept";
    let newest = "delete from longshore.schema_migrations where version = (select max(version) from longshore.schema_migrations)";
    execute(&mut conn, newest).await;
    let older = examine(&world, &[]).await;
    older.warns("schema", "this program's is", "longshore migrate");
    assert!(older.ended("skipped").contains("held"), "an older schema may not have what is looked at");
    execute(&mut conn, restore).await;
    execute(&mut conn, "insert into longshore.schema_migrations select 9999, 'later', now(), true, '', 0").await;
    examine(&world, &[]).await.blames("schema", "at version 9999", "newer program");
    execute(&mut conn, restore).await;
    execute(&mut conn, "update longshore.schema_migrations set checksum = 'x' where version = 2").await;
    examine(&world, &[]).await.blames(
        "schema",
        "version 2 was applied from another file",
        "longshore.schema_migrations",
    );
    execute(&mut conn, restore).await;

    execute(&mut conn, "create role reader login password 'reads'").await;
    let reader =
        world.url.split_once('@').map(|it| format!("--database-url=postgres://reader:reads@{}", it.1)).unwrap();
    examine(&world, &[&reader]).await.blames("rights", "reader does not own", "grant");
    execute(
        &mut conn,
        "grant usage on schema longshore to reader; grant select on all tables in schema longshore to reader",
    )
    .await;
    examine(&world, &[&reader]).await.blames("rights", "reader does not own", "grant");
    execute(&mut conn, "create database bare").await;
    let bare = reader.replace("/longshore", "/bare");
    examine(&world, &[&bare]).await.blames(
        "rights",
        "may not create the schema longshore",
        "grant create on database \"bare\"",
    );

    execute(&mut conn, "update longshore.held set jobs = jobs + 1").await;
    examine(&world, &[]).await.blames("held", "the number of held slots is 1, and that of the rows 0", "check_held");
    execute(&mut conn, "update longshore.held set jobs = jobs - 1").await;

    // No replica ran yet, which makes them.
    let fresh = examine(&world, &[]).await;
    fresh.warns("partitions", "job_events", "let a replica run");
    fresh.warns("settings", "is off", "alter system set");
    execute(&mut conn, "alter database longshore connection limit 20").await;
    examine(&world, &[]).await.warns("connections", "the database allows 20", "connection limit -1");
    execute(&mut conn, "alter database longshore connection limit -1").await;
    execute(&mut conn, "insert into longshore.replicas (id, hostname, version, lease_secs) values (gen_random_uuid(), 'old-pod', '0.0.1', 600)").await;
    examine(&world, &[]).await.warns("replicas", "old-pod of 0.0.1", "rollout status");
    execute(&mut conn, "delete from longshore.replicas; drop table public.kept").await;

    assert_eq!(scalar::<i64>(&mut conn, "select count(*) from longshore.jobs").await, 0, "it submits nothing unasked");
    conn.close().await.unwrap();
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named_with_the_rule_that_grants_it() {
    let world = World::new(2).await;
    let rights = needs::ALWAYS.iter().flat_map(|need| need.verbs.iter().map(move |verb| (need, *verb)));
    for (nth, (need, verb)) in rights.enumerate() {
        let kubeconfig = match is_real() {
            true => world.target.account(&format!("without-{nth}"), &[(need.resource, verb)]).await,
            false => {
                let rule = Rule::new(verb, need.resource, Effect::NotAllowed).from_agent("longshore");
                world.target.sim().faults().set(vec![rule]);
                world.target.kubeconfig()
            }
        };
        let flag = format!("--kubeconfig={}", kubeconfig.display());
        let found = eventually("the server has heard of the account's other rights", async || {
            let found = examine(&world, &[&flag]).await;
            let missing = found.0.iter().filter(|it| it["check"] == "permissions" && it["status"] == "fail").count();
            (missing == 1).then_some(found)
        })
        .await;
        found.blames(
            "permissions",
            &format!("may not {verb} {}", need.qualified()),
            &format!("\"verbs\":[\"{verb}\"]"),
        );
        assert!(found.wrong("permissions").1.contains(&format!("\"resources\":[\"{}\"]", need.resource)));
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_namespace_does_not_let_through_is_found() {
    let world = World::new(2).await;
    let admin = std::env::var("KUBECONFIG").unwrap_or_else(|_| world.target.kubeconfig().display().to_string());
    // With rights that the Role does not have, and need not.
    let own = format!("--kubeconfig={admin}");
    let quotas: Api<ResourceQuota> = Api::namespaced(world.target.stranger().await, world.target.namespace());
    let limit = async |what: &str, hard: &str| {
        let quota = json!({"metadata": {"name": "tight"}, "spec": {"hard": {what: hard}}});
        quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    };
    limit("count/jobs.batch", "0").await;
    let full = eventually("the quota is in force", async || {
        let found = examine(&world, &[&own]).await;
        // The API server, asked whether it would take a Job, has heard of it a little later.
        found.ended("skipped").contains("default-job").then_some(found)
    })
    .await;
    full.blames("quota", "the quota tight allows no count/jobs.batch", "patch resourcequota tight");
    quotas.delete("tight", &DeleteParams::default()).await.unwrap();
    limit("requests.memory", "1Gi").await;
    examine(&world, &[&own]).await.warns("quota", "bounds requests.memory", "LimitRange");
    quotas.delete("tight", &DeleteParams::default()).await.unwrap();

    let names: Api<Namespace> = Api::all(world.target.stranger().await);
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    names.patch(world.target.namespace(), &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    let found = examine(&world, &[&own]).await;
    match is_real() {
        // It is too old to know Pod Security.
        true => assert!(
            found.0.iter().any(|it| it["check"] == "pod-security" && it["found"].to_string().contains("means nothing"))
        ),
        false => found.warns("pod-security", "restricted is enforced", "runAsNonRoot"),
    }
    let found = examine(&world, &[&own, "--namespace=longshore-nowhere"]).await;
    found.blames("namespace", "there is no such namespace", "kubectl create namespace longshore-nowhere");
    if is_real() {
        let found = examine(&world, &[&own, "--allow-service-account=robot"]).await;
        found.blames("service-accounts", "there is no service account robot", "create serviceaccount robot");
    }

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.yaml"), "manifest: 1").unwrap();
    let templates = format!("--templates={}", dir.path().display());
    examine(&world, &[&templates]).await.blames("templates", "bad.yaml", "correct");
    let found = examine(&world, &["--template-config-map=job-template-cm"]).await;
    found.blames("templates", "there is no such ConfigMap", "create configmap job-template-cm");
    let file = dir.path().join("sources.yaml");
    std::fs::write(&file, "sources: [{name: a, type: tape}]").unwrap();
    let sources = format!("--sources={}", file.display());
    examine(&world, &[&sources]).await.blames("sources", "source a: type", "docs/sources.md");
    let job = json!({"name": "a", "type": "pg-boss", "queue": "q", "job": {"namespace": "prod"}});
    std::fs::write(&file, json!({"sources": [job]}).to_string()).unwrap();
    examine(&world, &[&sources]).await.blames("sources", "source a: job.namespace: \"prod\"", "docs/sources.md");
    // In the same database, where nobody has installed it.
    std::fs::write(&file, "sources: [{name: mails, type: pg-boss, queue: mails}]").unwrap();
    examine(&world, &[&sources]).await.blames("sources", "does not answer as it should", "docs/sources.md");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_server_that_is_away_that_lags_or_whose_watches_hang_is_found() {
    let world = World::new(2).await;
    let faults = world.target.sim().faults().clone();
    let dir = tempfile::tempdir().unwrap();
    let away = dir.path().join("kubeconfig");
    let text = std::fs::read_to_string(world.target.kubeconfig()).unwrap();
    let port = world.target.sim().url().rsplit(':').next().unwrap().to_owned();
    std::fs::write(&away, text.replace(&port, "1")).unwrap();
    let away = format!("--kubeconfig={}", away.display());
    examine(&world, &[&away]).await.blames("cluster", "does not answer", "kubectl get --raw /version");
    examine(&world, &["--kubeconfig=/nowhere"]).await.blames("cluster", "/nowhere", "--kubeconfig");

    faults.set(vec![Rule::new("get", "version", Effect::ClockOff { secs: -3_600 })]);
    examine(&world, &[]).await.blames("cluster-clock", "s behind this machine's", "ntp");
    faults.set(vec![Rule::new("get", "version", Effect::ClockOff { secs: 20 })]);
    examine(&world, &[]).await.warns("cluster-clock", "s ahead of this machine's", "ntp");
    faults.set(vec![Rule::new("watch", "pods", Effect::SilentWatch)]);
    examine(&world, &[]).await.blames("watch", "a watch of pods opens, and tells nothing", "proxies");
    faults.set(vec![Rule::new("watch", "jobs", Effect::Delay { before_ms: 600_000, after_ms: 0 })]);
    examine(&world, &[]).await.blames("watch", "no answer within", "proxies");
    let denied = Effect::Status {
        code: 403,
        reason: None,
        message: Some("admission webhook \"no.example\" denied the request: no\u{1b}[2J team".into()),
        retry_after: None,
    };
    faults.set(vec![Rule::new("create", "jobs", denied)]);
    let found = examine(&world, &[]).await;
    found.blames("default-job", "no.example", "--default-template");
    let kubeconfig = world.target.kubeconfig();
    let words = ["doctor", "--database-url", &world.url, "--kubeconfig", kubeconfig.to_str().unwrap()];
    let table = cli::say(NOWHERE, &words).await.with(1).out;
    assert!(!table.contains('\u{1b}') && table.contains("✘ default-job"), "{table}");
    assert!(table.contains("1 failed, ") && !table.contains(password(&world)), "{table}");
    faults.clear();
    world.finish().await;
}

fn document(name: &str) -> String {
    std::fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn the_documents_and_the_chart_show_the_checks_and_the_rights_that_the_code_has() {
    let page = document("docs/doctor.md");
    for check in CHECKS {
        let row = format!("| `{}` | {} | {} |", check.name, check.looks, check.remedy);
        assert!(page.contains(&row), "docs/doctor.md lacks this row:\n{row}");
        for needed in check.needs {
            let before = CHECKS.iter().take_while(|it| it.name != check.name).any(|it| it.name == *needed);
            assert!(before, "{} needs {needed}, which is not made before", check.name);
        }
    }
    let rows = page.lines().filter(|it| it.starts_with("| `")).count();
    assert_eq!(rows, CHECKS.len(), "docs/doctor.md has rows of checks that are not there");

    let permissions = document("docs/operating.md");
    for need in needs::ALWAYS.iter().chain([&needs::TEMPLATES]) {
        let row = format!("| {} | {} |", need.resource, need.verbs.join(", "));
        assert!(permissions.contains(&row), "docs/operating.md lacks: {row}");
    }
    let bare = |text: &str| text.replace("],", "]").split_whitespace().collect::<String>();
    let (readme, chart) = (bare(&document("README.md")), bare(&document("charts/longshore/templates/role.yaml")));
    for need in &needs::ALWAYS {
        let rule = format!("resources:[{}]verbs:[{}]", need.resource, need.verbs.join(","));
        assert!(readme.contains(&rule) && chart.contains(&rule), "README or chart lack {rule}");
    }
    let granted = chart.matches("apiGroups:[").count();
    assert_eq!(granted, needs::ALWAYS.len() + 1, "the chart's Role grants more than the code says that it needs");
    assert_eq!(account::rules(&[]).len(), granted);
}
