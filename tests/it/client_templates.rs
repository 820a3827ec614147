//! `template`, and `submit --template`, as a user types them.

use serde_json::json;

use crate::harness::{
    World,
    cli::{say, say_with},
};

const TEMPLATE: &str = "\
description: imports a file
parameters:
  - {name: file, type: string}
  - {name: lines, type: integer, default: 1000}
manifest:
  apiVersion: batch/v1
  kind: Job
  metadata:
    annotations: {sim.longshore.dev/duration: 100ms}
  spec:
    template:
      spec:
        restartPolicy: Never
        containers:
          - name: main
            image: busybox:latest
            imagePullPolicy: IfNotPresent
            command: ['true']
            args: ['{{ file }}', '--lines={{ lines }}']
";

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_stored_shown_filled_and_deleted() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let put = say_with(&replica, &["template", "put", "import", "-f", "-"], TEMPLATE).await.with(0);
    assert_eq!(put.out, "import stored\n");
    let put = say_with(&replica, &["template", "put", "import", "-f", "-"], TEMPLATE).await.with(0);
    assert!(put.out.contains("in the place of"), "{}", put.out);
    let list = say(&replica, &["template", "list"]).await.with(0);
    assert!(list.out.lines().any(|it| it.starts_with("import ") && it.contains("file, lines")), "{}", list.out);
    let get = say(&replica, &["template", "get", "import"]).await.with(0);
    assert!(get.out.contains("(required)") && get.out.contains("1000"), "{}", get.out);
    assert_eq!(say(&replica, &["template", "get", "import", "--source"]).await.with(0).out, TEMPLATE);

    let words = ["submit", "job1", "--template", "import", "--set", "file=10", "--set", "lines=20", "--wait"];
    let words = [&words[..], &["-o", "json", "--", "--fast"]].concat();
    let job = say(&replica, &words).await.with(0).json();
    assert_eq!(job["spec"]["params"], json!({"file": "10", "lines": 20}), "each is what the template says it is");
    let container = &job["spec"]["manifest"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["10", "--lines=20", "--fast"]), "{job}");
    let wrong = say(&replica, &["submit", "job2", "--template", "import", "--set", "lines=many"]).await.with(6);
    assert!(wrong.err.contains("/params/lines"), "{}", wrong.err);
    say(&replica, &["submit", "job3", "--set", "file=x"]).await.with(2);
    say(&replica, &["submit", "job4", "--template", "nowhere", "--set", "file=x"]).await.with(4);

    let broken = say_with(&replica, &["template", "put", "broken", "-f", "-"], "kind: CronJob\n").await.with(6);
    assert!(broken.err.contains("error: "), "{}", broken.err);
    say(&replica, &["template", "delete", "import"]).await.with(0);
    say(&replica, &["template", "get", "import"]).await.with(4);
    let none = say(&replica, &["template", "list", "-o", "json"]).await.with(0);
    assert_eq!(none.json(), json!([]));
    world.all_end().await;
    world.finish().await;
}
