//! What a template may be, and what is refused of it.

use serde_json::json;

use super::*;

const JOB: &str = "apiVersion: batch/v1
kind: Job
metadata: {name: theirs}
spec:
  template:
    spec:
      containers:
        - name: main
          image: busybox:latest
";

fn yaml(text: &str) -> Result<Template, Vec<Fault>> {
    Template::read(text, Form::Yaml)
}

fn pointers(text: &str) -> Vec<String> {
    yaml(text).err().unwrap_or_default().into_iter().map(|it| it.pointer).collect()
}

fn wrapped(parameters: &str, image: &str) -> String {
    let job = JOB.replace("busybox:latest", image).replace('\n', "\n  ");
    format!("parameters: {parameters}\nmanifest:\n  {job}")
}

#[test]
fn a_plain_job_is_a_template_in_yaml_and_in_json() {
    let plain = yaml(JOB).unwrap();
    let filled = plain.fill(&Map::new(), "job1", "default").unwrap();
    assert_eq!(filled["spec"]["template"]["spec"]["containers"][0]["image"], "busybox:latest");
    let same = Template::read(&filled.to_string(), Form::Json).unwrap();
    assert_eq!(same.fill(&Map::new(), "job1", "default").unwrap(), filled);
    let named = yaml(&JOB.replace("busybox:latest", "'{{ job.queue }}/{{ job.name }}'")).unwrap();
    let filled = named.fill(&Map::new(), "job1", "night").unwrap();
    assert_eq!(filled["spec"]["template"]["spec"]["containers"][0]["image"], "night/job1");
}

#[test]
fn numbers_are_read_as_kubectl_reads_them() {
    let mode = yaml(&JOB.replace("busybox:latest", "0644")).unwrap().fill(&Map::new(), "", "").unwrap();
    assert_eq!(mode["spec"]["template"]["spec"]["containers"][0]["image"], 0o644);
}

#[test]
fn declarations_that_do_not_hold_are_refused_with_their_path() {
    let image = "\"{{ image }}\"";
    let cases = [
        ("[{name: image, type: string}]", image, &[][..]),
        ("[{name: image, type: text}]", image, &["/parameters/0/type"]),
        ("[{name: image, kind: string}]", image, &["/parameters/0/kind"]),
        ("[{name: i mage, type: string}]", "\"{{ i mage }}\"", &["/parameters/0/name"]),
        ("[{name: image, type: string}, {name: image, type: string}]", image, &["/parameters/1/name"]),
        ("[{name: image, type: integer, default: a}]", image, &["/parameters/0/default"]),
        ("[{name: image, type: string, enum: [a, b], default: c}]", image, &["/parameters/0/default"]),
        ("[{name: image, type: string, enum: [a, 1]}]", image, &["/parameters/0/enum/1"]),
        ("[{name: image, type: string, enum: []}]", image, &["/parameters/0/enum"]),
        ("[{name: image, type: string, required: true, default: a}]", image, &["/parameters/0/required"]),
        ("[{name: image, type: string}]", "busybox", &["/parameters/0/name"]),
        ("[]", image, &["/manifest/spec/template/spec/containers/0/image"]),
        ("[]", "\"{{ .Values.image }}\"", &["/manifest/spec/template/spec/containers/0/image"]),
        (
            "[{name: image, type: string, required: false}]",
            "\"a:{{ image }}\"",
            &["/manifest/spec/template/spec/containers/0/image"],
        ),
        ("[{name: image, type: string, required: false}]", image, &[]),
    ];
    for (parameters, image, expected) in cases {
        assert_eq!(pointers(&wrapped(parameters, image)), expected, "{parameters} {image}");
    }
    assert_eq!(pointers(&format!("{}\ncolour: red", wrapped("[]", "a"))), ["/colour"]);
    assert_eq!(pointers(&format!("defaults: {{queue: no spaces}}\n{}", wrapped("[]", "a"))), ["/defaults/queue"]);
    assert_eq!(pointers(&format!("defaults: {{timeout: soon}}\n{}", wrapped("[]", "a"))), ["/defaults/timeout"]);
    assert_eq!(pointers("just a text"), [""]);
}

#[test]
fn values_of_requests_are_checked_and_each_wrong_one_is_named() {
    let image = "\"{{ image }}:{{ tag }}{{ loud }}\"";
    let declared = "[{name: image, type: string, enum: [a, b]}, {name: tag, type: integer}, {name: loud, type: boolean, default: false}]";
    let template = yaml(&wrapped(declared, image)).unwrap();
    let fill = |given: Value| template.fill(given.as_object().unwrap(), "", "");
    let filled = fill(json!({"image": "a", "tag": 7})).unwrap();
    assert_eq!(filled["spec"]["template"]["spec"]["containers"][0]["image"], "a:7false");
    let wrong = |given: Value| -> Vec<String> { fill(given).unwrap_err().into_iter().map(|it| it.pointer).collect() };
    assert_eq!(wrong(json!({})), ["/params/image", "/params/tag"]);
    assert_eq!(wrong(json!({"image": "c", "tag": 7.5, "a/b": 1})), ["/params/image", "/params/tag", "/params/a~1b"]);
    assert_eq!(wrong(json!({"image": "a", "tag": "7", "loud": null})), ["/params/tag"]);
}

#[test]
fn what_grows_without_end_is_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert_eq!(pointers(&bomb), [""]);
    assert_eq!(pointers(&"[".repeat(100_000)), [""]);
    assert_eq!(Template::read(&"[".repeat(100_000), Form::Json).unwrap_err()[0].pointer, "");
    assert_eq!(pointers(&format!("{JOB}# {}", "x".repeat(SOURCE_BYTES))), [""]);
    assert_eq!(pointers(&format!("{JOB}---\n{JOB}")), [""]);
    assert_eq!(pointers(&JOB.replace("kind: Job", "kind: Job\nkind: Pod")), [""]);
}
