//! Jobs files as they are, and as they must not be.

use super::*;

/// Every field, with comments and with commas after the last items, as job-chief's README has one.
const WHOLE: &str = r#"// what we run
[
  {
    "queueName": "thumbnails", // the queue
    "podConfig": {
      "parallelism": 3,
      "image": "registry.example.com/thumbs:4",
      "command": ["node", "worker.js"],
      "args": ["--once"], /* ends when the queue is empty */
      "injectPgConfig": true,
      "env": [{ "name": "LEVEL", "value": "debug // no comment" }],
      "configmaps": ["thumbs"],
      "secrets": ["thumbs-keys"],
      "resources": { "limits": {"cpu": "500m", "memory": "128Mi"}, "requests": {"cpu": "500m", "memory": "128Mi"} },
      "liveness": {
        "enabled": true, "path": "/liveness", "port": 1337,
        "initialDelaySeconds": 30, "periodSeconds": 30, "timeoutSeconds": 60,
      },
      "pullPolicy": "IfNotPresent",
      "annotations": { "sidecar.istio.io/inject": "false" },
    },
    "waitTimeAfterSuccessfulRun": "5s",
    "queueCheckInterval": "55s",
    "jobStartTimeout": "1m",
    "waitTimeAfterTimeout": "2h",
    "waitTimeAfterError": "15s",
    "waitTimeAfterFailedRun": "1d",
  },
]
"#;

/// The same without what is not JSON.
fn plain() -> Value {
    serde_json::from_str(
        r#"[{"queueName": "avi", "podConfig": {"parallelism": 1, "image": "perl", "injectPgConfig": false,
             "pullPolicy": "Never", "liveness": {"enabled": false}},
             "waitTimeAfterSuccessfulRun": "5s", "queueCheckInterval": "55s", "jobStartTimeout": "1m",
             "waitTimeAfterTimeout": "5s", "waitTimeAfterError": "15s", "waitTimeAfterFailedRun": "10s"}]"#,
    )
    .unwrap()
}

/// What is said of a file with this at `pointer`.
fn refused(pointer: &str, value: Value) -> String {
    let mut jobs = plain();
    match jobs.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => {
            let (object, field) = pointer.rsplit_once('/').unwrap();
            jobs.pointer_mut(object).unwrap()[field] = value;
        }
    }
    parse(&jobs.to_string(), "jobs.json").unwrap_err().to_string()
}

#[test]
fn a_file_with_every_field_is_read_comments_and_all() {
    let jobs = parse(WHOLE, "jobs.json").unwrap();
    let [job] = jobs.as_slice() else { panic!("{jobs:?}") };
    assert_eq!((job.queue_name.as_str(), job.pod_config.parallelism), ("thumbnails", 3));
    assert_eq!(job.wait_time_after_failed_run, Duration::from_secs(86_400));
    assert_eq!(job.wait_time_after_timeout, Duration::from_secs(7_200));
    assert_eq!(job.job_start_timeout, Duration::from_secs(60));
    let env = job.pod_config.env.as_ref().unwrap();
    assert_eq!((env[0].name.as_str(), env[0].value.as_str()), ("LEVEL", "debug // no comment"));
    assert_eq!(job.pod_config.liveness.as_ref().unwrap().port, Some(1337));
    assert_eq!(job.pod_config.annotations.as_ref().unwrap().len(), 1);
}

#[test]
fn a_plain_file_is_read_and_nulls_are_as_left_out() {
    let jobs = from_value(plain(), "jobs.json").unwrap();
    assert!(!jobs[0].pod_config.inject_pg_config);
    let mut with_nulls = plain();
    with_nulls[0]["podConfig"]["command"] = Value::Null;
    assert!(from_value(with_nulls, "jobs.json").unwrap()[0].pod_config.command.is_none());
}

#[test]
fn what_is_no_json_is_told_with_its_line() {
    let told = |text: &str| parse(text, "jobs.json").unwrap_err().to_string();
    let colon = told("[{\n  \"queueName\": \"avi\",\n  \"args\" [\"-l\"]\n}]");
    assert!(colon.starts_with("jobs.json, line 3, column 1"), "{colon}");
    let comma = told("[{\n  \"queueName\": \"avi\"\n  \"args\": [\"-l\"]\n}]");
    assert!(comma.starts_with("jobs.json, line "), "{comma}");
    assert!(comma.contains("It must be JSON; comments"), "{comma}");
    assert!(told("").contains("must be a list of 1 to 200 jobs"));
    assert!(told("[]").contains("must be a list of 1 to 200 jobs"));
    assert!(told(&"[".repeat(100_000)).starts_with("jobs.json, line 1"));
}

#[test]
fn what_is_wrong_is_told_with_file_job_and_field() {
    let cases = [
        ("/0/podConfig/parallelism", Value::from(0), "podConfig.parallelism: must be 1 to 1000, and is 0"),
        ("/0/podConfig/parallelism", "two".into(), "podConfig.parallelism: invalid type: string \"two\""),
        ("/0/podConfig/image", " ".into(), "podConfig.image: must not be empty"),
        ("/0/podConfig/pullPolicy", "Sometimes".into(), "podConfig.pullPolicy: unknown variant `Sometimes`"),
        ("/0/podConfig/annotation", "a".into(), "podConfig.annotation: unknown field `annotation`, expected one of"),
        ("/0/podConfig/liveness/enabled", true.into(), "podConfig.liveness.path: must be given"),
        ("/0/podConfig/liveness/port", 70_000.into(), "podConfig.liveness.port: invalid value"),
        ("/0/podConfig/maxParallelism", 0.into(), "podConfig.maxParallelism: must be 1 (parallelism) to 1000"),
        ("/0/podConfig/itemsPerPod", 0.into(), "podConfig.itemsPerPod: must be 1 or more"),
        ("/0/queueCheckInterval", "55 parsecs".into(), "queueCheckInterval: \"55 parsecs\" is not a duration such as"),
        ("/0/queueCheckInterval", "999d".into(), "queueCheckInterval: must be a year at most"),
        ("/0/jobStartTimeout", "0s".into(), "jobStartTimeout: must be 1s or more"),
    ];
    for (pointer, value, wanted) in cases {
        let told = refused(pointer, value);
        assert!(told.starts_with("jobs.json, job 1 (\"avi\"): "), "{told}");
        assert!(told.contains(wanted), "{told}, and not {wanted}");
    }
    assert!(refused("/0/queueName", "".into()).contains("queueName: must have 1 to 200 characters"));
    assert!(refused("/0/queueName", "a\nb".into()).contains("none of them a control character"));
    let mut nameless = plain();
    nameless[0].as_object_mut().unwrap().remove("queueName");
    assert_eq!(from_value(nameless, "f").unwrap_err().to_string(), "f, job 1: missing field `queueName`");
}

#[test]
fn two_jobs_of_one_queue_are_refused() {
    let mut jobs = plain();
    let again = jobs[0].clone();
    jobs.as_array_mut().unwrap().push(again);
    let told = from_value(jobs, "jobs.json").unwrap_err().to_string();
    assert!(told.contains("job 2 (\"avi\"): queueName: job 1 has the same queue"), "{told}");
}
