//! What a worker's Job is made of; and that no password gets into it.

use super::*;
use crate::sources::workers::jobs_json;

fn job(pod_config: Value) -> Job {
    let mut whole = json!({"image": "thumbs:4", "pullPolicy": "IfNotPresent", "liveness": {"enabled": false}});
    whole.as_object_mut().unwrap().extend(pod_config.as_object().unwrap().clone());
    let job = json!([{"queueName": "thumbnails", "podConfig": whole, "queueCheckInterval": "55s", "jobStartTimeout": "90s",
        "waitTimeAfterSuccessfulRun": "1s", "waitTimeAfterFailedRun": "1s", "waitTimeAfterTimeout": "1s",
        "waitTimeAfterError": "1s"}]);
    jobs_json::from_value(job, "f").unwrap().remove(0)
}

fn inject(more: Value) -> Inject {
    let mut whole = json!({"secret": "chief-db"});
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(whole).unwrap()
}

fn container(request: &Map<String, Value>) -> &Value {
    &request["manifest"]["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn every_field_of_pod_config_is_in_the_job() {
    let resources =
        json!({"limits": {"cpu": "500m", "memory": "128Mi"}, "requests": {"cpu": "500m", "memory": "128Mi"}});
    let job = job(json!({
        "command": ["node"], "args": ["--once"], "env": [{"name": "LEVEL", "value": "debug"}], "configmaps": ["settings"],
        "secrets": ["keys"], "resources": resources, "annotations": {"example.com/a": "b"},
        "liveness": {"enabled": true, "path": "/live", "port": 80, "initialDelaySeconds": 1, "periodSeconds": 2, "timeoutSeconds": 3},
    }));
    let common = Common {
        owner: Some("eu-1".into()),
        pull_secret: Some("registry".into()),
        pod: Map::from_iter([("serviceAccountName".to_owned(), "thumbs".into())]),
        job: Map::from_iter([("queue".to_owned(), "workers".into()), ("labels".to_owned(), json!({"team": "media"}))]),
        inject: None,
    };
    let request = request(&job, 3, &common);
    assert_eq!(
        container(&request),
        &json!({
            "name": "worker", "image": "thumbs:4", "imagePullPolicy": "IfNotPresent", "command": ["node"], "args": ["--once"],
            "env": [{"name": "QUEUE_NAME", "value": "thumbnails"}, {"name": "LEVEL", "value": "debug"}],
            "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "keys"}}],
            "resources": resources,
            "livenessProbe": {"httpGet": {"path": "/live", "port": 80}, "initialDelaySeconds": 1, "periodSeconds": 2,
                "timeoutSeconds": 3},
        })
    );
    assert_eq!(request["manifest"]["spec"]["parallelism"], 3);
    let pod = &request["manifest"]["spec"]["template"]["spec"];
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
    assert_eq!(pod["serviceAccountName"], "thumbs");
    assert_eq!((&request["name"], &request["queue"]), (&"thumbnails".into(), &"workers".into()));
    assert_eq!(request["start_timeout"], "90000ms");
    assert_eq!(request["labels"], json!({"queue-name": "thumbnails", "owner-id": "eu-1", "team": "media"}));
    assert_eq!(request["annotations"], json!({"example.com/a": "b"}));
}

#[test]
fn settings_of_the_database_are_references_and_never_values() {
    let job = job(json!({"injectPgConfig": true, "env": [{"name": "DB_PASSWORD", "value": "in-the-clear"}]}));
    let keys = json!({"config_map": "chief-settings", "keys": {"DB_PASSWORD": "password"}});
    let common = Common { inject: Some(inject(keys)), ..Common::default() };
    let request = request(&job, 1, &common);
    assert_eq!(
        container(&request)["env"],
        json!([
            {"name": "QUEUE_NAME", "value": "thumbnails"},
            {"name": "DB_HOST", "valueFrom": {"configMapKeyRef": {"name": "chief-settings", "key": "DB_HOST"}}},
            {"name": "DB_PORT", "valueFrom": {"configMapKeyRef": {"name": "chief-settings", "key": "DB_PORT"}}},
            {"name": "DB_USERNAME", "valueFrom": {"secretKeyRef": {"name": "chief-db", "key": "DB_USERNAME"}}},
            {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "chief-db", "key": "password"}}},
            {"name": "DB_NAME", "valueFrom": {"configMapKeyRef": {"name": "chief-settings", "key": "DB_NAME"}}},
            {"name": "DB_SCHEMA", "valueFrom": {"configMapKeyRef": {"name": "chief-settings", "key": "DB_SCHEMA"}}},
        ])
    );
    let without = Common { inject: Some(inject(json!({}))), ..Common::default() };
    let other = super::request(&self::job(json!({"injectPgConfig": false})), 1, &without);
    assert_eq!(container(&other)["env"].as_array().unwrap().len(), 1);
}

#[test]
fn certificates_are_mounted_where_the_variables_say() {
    let certificates = json!({"secret": "chief-tls", "ca": "/tmp/certs/root.crt", "cert": "/tmp/certs/a.crt", "key": "/tmp/certs/a.key"});
    let common = Common { inject: Some(inject(json!({"certificates": certificates}))), ..Common::default() };
    let request = request(&job(json!({"injectPgConfig": true})), 1, &common);
    let container = container(&request);
    assert_eq!(
        container["volumeMounts"],
        json!([{"name": "db-ssl-certs", "mountPath": "/tmp/certs", "readOnly": true}])
    );
    let env = container["env"].as_array().unwrap();
    let value = |name: &str| env.iter().find(|it| it["name"] == name).unwrap().clone();
    assert_eq!(value("DB_ENABLE_SSL_AUTH")["value"], "true");
    assert_eq!(value("DB_KEY_PATH")["value"], "/tmp/certs/a.key");
    assert_eq!(value("DB_PASSWORD")["valueFrom"]["secretKeyRef"]["optional"], true);
    let pod = &request["manifest"]["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"], json!([{"name": "db-ssl-certs", "secret": {"secretName": "chief-tls"}}]));
}

#[test]
fn wrong_references_are_refused() {
    assert!(inject(json!({})).check().is_ok());
    let (field, cause) = inject(json!({"keys": {"DB_PASS": "a"}})).check().unwrap_err();
    assert_eq!((field, cause.contains("DB_PASS")), ("keys", true));
    for (ca, cert) in [("/a/ca", "/b/cert"), ("a/ca", "a/cert")] {
        let it = json!({"certificates": {"secret": "s", "ca": ca, "cert": cert, "key": "/a/key"}});
        assert_eq!(inject(it).check().unwrap_err().0, "certificates");
    }
}

#[test]
fn a_queue_whose_name_cannot_be_a_label_has_a_job_all_the_same() {
    let mut odd = job(json!({}));
    odd.queue_name = "mails/high priority".into();
    let request = request(&odd, 1, &Common::default());
    assert_eq!((&request["labels"], &request["name"]), (&json!({}), &"mails/high priority".into()));
}
