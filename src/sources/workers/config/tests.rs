//! An entry, from the file and from job-chief's own variables; and wrong ones.

use std::collections::HashMap;

use serde_json::json;

use super::*;

const JOB: &str = r#"{"queueName": "avi", "podConfig": {"parallelism": 2, "image": "perl", "injectPgConfig": true},
    "waitTimeAfterSuccessfulRun": "5s", "queueCheckInterval": "55s", "jobStartTimeout": "1m",
    "waitTimeAfterTimeout": "5s", "waitTimeAfterError": "15s", "waitTimeAfterFailedRun": "10s"}"#;

fn settle(more: Value, variables: &[(&str, &str)]) -> Result<Settings, Wrong> {
    let mut whole =
        json!({"jobs": [serde_json::from_str::<Value>(JOB).unwrap()], "inject_pg_config": {"secret": "db"}});
    for (field, value) in more.as_object().unwrap() {
        whole[field] = value.clone();
    }
    let job = whole.as_object_mut().unwrap().remove("job");
    let known: HashMap<&str, &str> = variables.iter().copied().collect();
    let own: Own = serde_json::from_value(whole).map_err(|err| wrong("", err))?;
    let job = job.and_then(|it| it.as_object().cloned()).unwrap_or_default();
    own.settle(job, &|name| known.get(name).map(|it| (*it).to_owned()))
}

fn refused(more: Value, variables: &[(&str, &str)]) -> (String, String) {
    settle(more, variables).err().unwrap()
}

#[test]
fn an_entry_of_its_own_needs_none_of_job_chiefs_variables() {
    let settings =
        settle(json!({"database_url_env": "BOSS"}), &[("BOSS", "postgres://a"), ("DB_SCHEMA", "other")]).unwrap();
    assert_eq!((settings.database.url.as_deref(), settings.database.schema.as_str()), (Some("postgres://a"), "pgboss"));
    let pods = settings.plan(&settings.jobs[0]).pods;
    assert_eq!((pods.least, pods.most, pods.of(1_000_000)), (2, 2, 2));
    assert!(settings.common.job.is_empty());
}

#[test]
fn growth_is_of_the_entry_or_of_a_job_and_never_without_a_bound() {
    let boss = [("BOSS", "postgres://a")];
    let of = |more: Value| {
        let mut whole = json!({"database_url_env": "BOSS"});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings = settle(whole, &boss).unwrap();
        settings.plan(&settings.jobs[0]).pods.of(10_000)
    };
    assert_eq!(of(json!({"items_per_pod": 100})), 2);
    assert_eq!(of(json!({"items_per_pod": 100, "max_parallelism": 7})), 7);
    let mut job: Value = serde_json::from_str(JOB).unwrap();
    job["podConfig"]["maxParallelism"] = 9.into();
    assert_eq!(of(json!({"items_per_pod": 100, "max_parallelism": 7, "jobs": [job]})), 9);
}

#[test]
fn job_chiefs_variables_have_a_counterpart_each() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jobs.json");
    std::fs::write(&file, format!("[{JOB}] // one")).unwrap();
    let path = file.to_str().unwrap();
    let variables = [
        ("APP_JOBS_CONFIG_PATH", path),
        ("APP_INSTANCE_UID", "aaaaaa"),
        ("DB_HOST", "db.example.com"),
        ("DB_PORT", "6432"),
        ("DB_USERNAME", "chief"),
        ("DB_PASSWORD", "p@ss/word"),
        ("DB_NAME", "queues"),
        ("DB_SCHEMA", "boss"),
        ("DB_ENABLE_SSL_AUTH", "false"),
        ("K8S_NAMESPACE", "media"),
        ("K8S_PULL_SECRET", "registry"),
    ];
    let own: Own =
        serde_json::from_value(json!({"job_chief_environment": true, "inject_pg_config": {"secret": "db"}})).unwrap();
    let known: HashMap<&str, &str> = variables.into_iter().collect();
    let settings = own.settle(Map::new(), &|name| known.get(name).map(|it| (*it).to_owned())).unwrap();
    let url = settings.database.url.unwrap();
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    assert_eq!((options.get_host(), options.get_port()), ("db.example.com", 6432));
    assert_eq!((options.get_username(), options.get_database()), ("chief", Some("queues")));
    assert!(url.contains(":p%40ss%2Fword@"));
    assert_eq!(settings.database.schema, "boss");
    assert_eq!(settings.common.owner.as_deref(), Some("aaaaaa"));
    assert_eq!(settings.common.pull_secret.as_deref(), Some("registry"));
    assert_eq!((&settings.common.job["namespace"], settings.namespace_of), (&json!("media"), "K8S_NAMESPACE"));
    assert_eq!(settings.jobs[0].queue_name, "avi");
}

#[test]
fn client_certificates_are_shown_instead_of_a_password_and_given_to_the_pods() {
    let dir = tempfile::tempdir().unwrap();
    let [ca, cert, key] = ["root.crt", "postgresql.crt", "postgresql.key"].map(|name| {
        let file = dir.path().join(name);
        std::fs::write(&file, "").unwrap();
        file.display().to_string()
    });
    let mut variables = [
        ("DB_HOST", "db"),
        ("DB_PASSWORD", "secret"),
        ("DB_ENABLE_SSL_AUTH", "true"),
        ("DB_CA_PATH", ca.as_str()),
        ("DB_CERT_PATH", cert.as_str()),
        ("DB_KEY_PATH", key.as_str()),
        ("DB_CERT_SECRET_NAME", "chief-tls"),
    ];
    let settings = settle(json!({"job_chief_environment": true}), &variables).unwrap();
    let url = &settings.database.url.unwrap();
    assert!(!url.contains("secret"), "{url}");
    assert!(url.contains("sslmode=verify-full") && url.ends_with("%2Fpostgresql%2Ekey"), "{url}");
    let certificates = settings.common.inject.unwrap().certificates.unwrap();
    assert_eq!((certificates.secret.as_str(), &certificates.ca), ("chief-tls", &ca));
    let (field, cause) = refused(json!({"job_chief_environment": true}), &variables[..3]);
    assert_eq!((field.as_str(), cause.contains("DB_CA_PATH is not set")), ("job_chief_environment", true));
    let (field, cause) = refused(json!({"job_chief_environment": true}), &variables[..6]);
    assert_eq!(field, "DB_CERT_SECRET_NAME", "the pods would have no certificate: {cause}");
    assert!(cause.contains("`inject_pg_config.certificates.secret`"), "{cause}");
    variables[4].1 = "/no/such.crt";
    let (field, cause) = refused(json!({"job_chief_environment": true}), &variables);
    assert_eq!(field, "DB_CERT_PATH");
    assert!(cause.starts_with("cannot read /no/such.crt: No such file"), "{cause}");
}

#[test]
fn a_wrong_entry_is_refused_with_field_and_remedy() {
    let boss = [("BOSS", "postgres://a")];
    let cases = [
        (json!({"job_chief_environment": true}), "job_chief_environment", "DB_HOST is not set"),
        (json!({"database_url_env": "NONE"}), "database_url_env", "the variable NONE is not set"),
        (json!({"database_url_env": "BOSS", "database_url_file": "/a"}), "database_url_file", "cannot be combined"),
        (json!({"database_url_file": "/nowhere/url"}), "database_url_file", "cannot read /nowhere/url"),
        (json!({"database_url_env": "BOSS", "jobs_file": "a"}), "jobs", "cannot be combined"),
        (json!({"database_url_env": "BOSS", "jobs": null}), "jobs_file", "give a jobs.json"),
        (
            json!({"database_url_env": "BOSS", "jobs": null, "jobs_file": "/nowhere"}),
            "jobs_file",
            "cannot read /nowhere",
        ),
        (json!({"database_url_env": "BOSS", "inject_pg_config": null}), "inject_pg_config", "{secret: NAME}"),
        (
            json!({"database_url_env": "BOSS", "inject_pg_config": {"secret": "a", "keys": {"B": "c"}}}),
            "inject_pg_config.keys",
            "DB_HOST",
        ),
        (json!({"database_url_env": "BOSS", "job": {"image": "a"}}), "job.image", "podConfig.image"),
        (json!({"database_url_env": "BOSS", "pod": {"containers": []}}), "pod.containers", "podConfig"),
        (json!({"database_url_env": "BOSS", "items_per_pod": 0}), "items_per_pod", "1 or more"),
    ];
    for (more, field, remedy) in cases {
        let told = refused(more, &boss);
        assert_eq!(told.0, field, "{told:?}");
        assert!(told.1.contains(remedy), "{told:?}, and not {remedy}");
    }
}
