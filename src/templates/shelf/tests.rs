//! What a broken file or key does at the start, and later.

use super::*;

const JOB: &str = r#"{"apiVersion": "batch/v1", "kind": "Job",
    "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}}}"#;

fn defaults() -> Arc<manifest::Defaults> {
    let (image, image_pull_policy) = ("busybox:latest".into(), "IfNotPresent".into());
    Arc::new(manifest::Defaults { image, image_pull_policy, start_timeout_secs: None })
}

fn open(dir: Option<&Path>, config_map: Option<&str>) -> anyhow::Result<Shelf> {
    Shelf::open(Places::of_flags(dir, config_map, None, &["here".to_owned()])?, defaults())
}

#[test]
fn a_replica_does_not_start_on_a_broken_file_and_says_which_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let error = || open(Some(dir.path()), None).err().map(|err| format!("{err:#}")).unwrap_or_default();
    write("good.json", JOB);
    assert_eq!(error(), "");
    write("bad.yaml", &JOB.replace("image", "imagee"));
    let said = error();
    assert!(said.contains("bad.yaml") && said.contains("/spec/template/spec/containers/0/imagee"), "{said}");
    std::fs::remove_file(dir.path().join("bad.yaml")).unwrap();
    write("good.yml", JOB);
    assert!(error().contains("has the same name as another one"), "{}", error());
    std::fs::remove_file(dir.path().join("good.yml")).unwrap();
    write("no spaces.json", JOB);
    assert!(error().contains("its name must be"), "{}", error());
    assert!(open(Some(&dir.path().join("nowhere")), None).is_err());
}

#[tokio::test]
async fn what_the_config_map_said_stands_while_it_cannot_be_read() {
    let shelf = open(None, Some("templates")).unwrap();
    assert_eq!(shelf.places.config_map, Some(("here".to_owned(), "templates".to_owned())));
    shelf.take_config_map(Told::Unreadable);
    assert!(matches!(shelf.find("a").await, Found::NotRead), "it may be there");
    let keys =
        |text: &str| BTreeMap::from([("a.json".to_owned(), text.to_owned()), ("notes".to_owned(), String::new())]);
    shelf.take_config_map(Told::There(keys(JOB)));
    shelf.take_config_map(Told::Unreadable);
    assert!(matches!(shelf.find("a").await, Found::There(_)));
    assert!(matches!(shelf.find("notes").await, Found::Absent), "what is no YAML and no JSON is somebody else's");
    shelf.take_config_map(Told::There(keys("{")));
    assert!(matches!(shelf.find("a").await, Found::There(_)), "the last good one stays");
    shelf.take_config_map(Told::Absent);
    assert!(matches!(shelf.find("a").await, Found::Absent));
    shelf.take_config_map(Told::There(keys("{")));
    assert!(matches!(shelf.find("a").await, Found::Broken(Home::ConfigMap, _)), "there never was a good one");
}

#[test]
fn a_config_map_is_named_as_kubernetes_names_it() {
    for name in ["", "/", "a/", "/a", "a/b/c", "A", "a b", "a,metadata.name=b"] {
        assert!(open(None, Some(name)).is_err(), "{name}");
    }
    let shelf = open(None, Some("there/with.dots")).unwrap();
    assert_eq!(shelf.places.config_map, Some(("there".to_owned(), "with.dots".to_owned())));
}
