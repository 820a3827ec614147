//! Filters that mean harm, or are merely wrong: each costs its own request an answer in time, and nobody anything else.

use std::time::Duration;

use clap::Parser;
use futures::{StreamExt, stream::FuturesUnordered};
use longshore::templates::jq::{FilterFlags, Filters, Refused};
use serde_json::{Value, json};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    filter: FilterFlags,
}

async fn start(filter: &str, timeout: &str) -> anyhow::Result<Filters> {
    let program = format!("--filter-program={}", env!("CARGO_BIN_EXE_longshore"));
    let timeout = format!("--filter-timeout={timeout}");
    let flags = Flags::try_parse_from(["test", "--filter", filter, &program, &timeout]).unwrap();
    Ok(flags.filter.start().await?.expect("a filter was given"))
}

/// What becomes of a hostile filter.
#[derive(Debug)]
enum Fate {
    /// It runs for ever.
    Time,
    /// It fails, with this in the message.
    Fails(&'static str),
    /// It fails in one way or another.
    Stopped,
    /// It does no harm, and gives this.
    Harmless(Value),
}
use Fate::{Fails, Harmless, Stopped, Time};

fn corpus() -> Vec<(&'static str, Fate)> {
    let memory = "needs more than 256 MiB";
    let stack = "recurses too deeply";
    vec![
        // Time.
        ("def f: f; f", Time),
        ("last(repeat(1))", Time),
        ("[range(1e18)] | length", Fails(memory)),
        ("reduce range(1e18) as $i (0; . + $i)", Time),
        ("first(range(1e18) | select(. < 0))", Time),
        ("until(false; .)", Time),
        ("[limit(1e12; repeat(0))] | length", Fails(memory)),
        (r#"("a" * 30000) | test("(a*)*(a*)*(a*)*b")"#, Stopped),
        // Depth.
        ("def f: 1 + f; f", Fails(stack)),
        ("def f: [f]; f", Fails(stack)),
        ("reduce range(1e7) as $i (0; [.]) | tojson", Stopped),
        (r#"("[" * 1000000) | fromjson"#, Stopped),
        ("[recurse([.])] | length", Stopped),
        // Memory.
        (r#""x" * 10000000000"#, Fails(memory)),
        (r#"reduce range(60) as $i ("x"; . + .)"#, Fails(memory)),
        ("reduce range(60) as $i ([1]; . + .)", Fails(memory)),
        (".[4000000000] = 1", Fails("")),
        ("null | .[1e9] = 1", Stopped),
        ("[range(1e9)] | sort | length", Fails(memory)),
        (r#"pow(2; 1000000) | tostring | . * 1e9"#, Fails("")),
        // Output.
        (r#""x" * 2000000"#, Fails("larger than 1048576 bytes")),
        ("[range(500000)]", Fails("larger than 1048576 bytes")),
        (r#"error("x" * 10000000)"#, Fails("xxx")),
        ("empty", Fails("no output")),
        ("nan", Fails("not JSON")),
        ("infinite", Fails("not JSON")),
        ("{(1): 2}", Fails("not JSON")),
        (r#""\u0000a" | tobytes"#, Fails("not JSON")),
        // Reaching out.
        ("halt", Fails("cannot halt")),
        ("halt_error", Fails("cannot halt")),
        ("input", Fails("no further input")),
        ("[inputs]", Harmless(json!([]))),
        ("debug", Harmless(json!({"bad": true}))),
        ("stderr", Harmless(json!({"bad": true}))),
        (r#""\u001b[2J" | debug("x" * 100000) | 1"#, Harmless(json!(1))),
        ("[$ENV.PATH, env.HOME, env.CARGO_MANIFEST_DIR]", Harmless(json!([null, null, null]))),
        (r#"[env, $ENV | keys[] | select(startswith("JOB_") | not)]"#, Harmless(json!([]))),
        (r#""$(reboot)'; reboot" | @sh"#, Harmless(json!(r"'$(reboot)'\''; reboot'"))),
        (r#"0 | strflocaltime("%Z")"#, Stopped),
        (r#"error({"a": 1})"#, Fails(r#"{"a":1}"#)),
        (r#"error(null)"#, Fails("null")),
    ]
}

#[tokio::test]
async fn a_hostile_filter_costs_its_own_request_and_the_next_is_served() {
    for (hostile, fate) in corpus() {
        let filter = format!(r#"if .good then "fine" else ({hostile}) end"#);
        let filters = start(&filter, "1s").await.unwrap_or_else(|err| panic!("{hostile}: {err:#}"));
        let ended = filters.run("/job", &json!({"bad": true})).await;
        match (&fate, &ended) {
            (Time, Err(Refused::TimedOut(after))) => assert_eq!(*after, Duration::from_secs(1)),
            (Fails(why), Err(Refused::Failed(said))) => {
                assert!(said.contains(why) && said.len() <= 4096, "{hostile}: {ended:?}, and should say {why}");
            }
            // A busy machine may run out of time first.
            (Fails(_), Err(Refused::TimedOut(_))) => {}
            (Stopped, Ok(_) | Err(Refused::Failed(_) | Refused::TimedOut(_))) => {}
            (Harmless(expected), Ok(output)) => assert_eq!(output, expected, "{hostile}"),
            _ => panic!("{hostile}: {ended:?}, and should have been {fate:?}"),
        }
        println!("{hostile}: {}", format!("{ended:?}").chars().take(120).collect::<String>());
        assert_eq!(filters.run("/job", &json!({"good": true})).await, Ok(json!("fine")), "after {hostile}");
    }
}

#[tokio::test]
async fn what_cannot_be_had_in_a_filter_does_not_compile_and_is_named_with_its_place() {
    for (filter, place, what) in [
        ("$__prog_args", "filter:1:1", "no variable $__prog_args"),
        ("\n  .a | $HOME", "filter:2:8", "no variable $HOME"),
        ("input_filename", "filter:1:1", "no filter input_filename/0"),
        ("{a: 1", "filter:1:6", "closing brace"),
        ("1 +", "filter:1:4", "there is the end"),
        ("import \"secrets\" as s; 1", "filter:1:9", "modules cannot be imported"),
        ("include \"/etc/passwd\"; 1", "filter:1:10", "modules cannot be imported"),
        ("import \"/etc/passwd\" as $s; 1", "filter:1:9", "modules cannot be imported"),
        ("", "filter:1:1", "there is the end"),
    ] {
        let err = match start(filter, "1s").await {
            Ok(_) => panic!("{filter} compiles"),
            Err(err) => format!("{err:#}"),
        };
        assert!(
            err.starts_with("the filter does not compile: ") && err.contains(place) && err.contains(what),
            "{filter}: {err}"
        );
    }
}

#[tokio::test]
async fn a_filter_has_the_builtins_of_the_dispatcher() {
    let sees = async |filter: &str, body: Value| {
        let filters = start(filter, "10s").await.unwrap();
        filters.run("/job/a/b", &body).await.unwrap()
    };
    assert_eq!(sees("$PATH", json!(1)).await, "/job/a/b");
    assert_eq!(sees("@sha1", json!("abc")).await, "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_eq!(sees("@md5", json!("abc")).await, "900150983cd24fb0d6963f7d28e17f72");
    // Of anything but a string its JSON, keys in order however they came.
    assert_eq!(sees("@sha1", json!({"args": ["Hello", "world!"]})).await, "a59c882c2fcdd8f26a5fd326110d667620368145");
    assert_eq!(sees(r#"@sha1 "x\(.)""#, json!("abc")).await, "xa9993e364706816aba3e25717850c26c9cd0d89d");
    let ids = sees("[cuid2, cuid2]", json!(null)).await;
    let (one, two) = (ids[0].as_str().unwrap(), ids[1].as_str().unwrap());
    assert!(one != two && one.len() == 24 && one.starts_with(|c: char| c.is_ascii_lowercase()), "{ids}");
    assert_eq!(sees("1, error(\"the first is enough\")", json!(null)).await, 1);
    let number: Value = serde_json::from_str("123456789012345678").unwrap();
    assert_eq!(
        sees(".", json!({"b": [number, 1.5, "ü\u{7f}\u{0}"], "a": null})).await,
        json!({"a": null, "b": [number, 1.5, "ü\u{7f}\u{0}"]})
    );
}

#[tokio::test]
async fn no_more_requests_wait_for_a_filter_than_can_be_served_in_time() {
    let filters = start("def f: f; f", "10s").await.unwrap();
    let body = json!(null);
    let mut asked: FuturesUnordered<_> = (0..300).map(|_| filters.run("/job", &body)).collect();
    assert_eq!(asked.next().await, Some(Err(Refused::Busy)));
    drop(asked);
    // Who gave up left nothing behind that others would have to wait for.
    let filters = start("if . == null then def f: f; f else . end", "10s").await.unwrap();
    let mut asked: FuturesUnordered<_> = (0..16).map(|_| filters.run("/job", &body)).collect();
    assert!(futures::poll!(asked.next()).is_pending());
    drop(asked);
    assert_eq!(filters.run("/job", &json!(1)).await, Ok(json!(1)));
}

/// The processes that this one started.
fn children() -> Vec<i32> {
    let me = std::process::id().to_string();
    let all =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
    let parent = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1).map(str::to_owned)
    };
    all.filter(|pid| parent(*pid).as_deref() == Some(&me)).collect()
}

#[tokio::test]
async fn a_worker_that_dies_at_rest_is_replaced_and_none_outlives_its_filter() {
    let filters = start(".", "10s").await.unwrap();
    assert_eq!(filters.run("/job", &json!(1)).await, Ok(json!(1)));
    let workers = children();
    assert_eq!(workers.len(), 1, "it is used again and again");
    let worker = nix::unistd::Pid::from_raw(workers[0]);
    nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGKILL).unwrap();
    crate::harness::eventually("the worker is dead", async || {
        let stat = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    })
    .await;
    assert_eq!(filters.run("/job", &json!(2)).await, Ok(json!(2)));
    drop(filters);
    crate::harness::eventually("no worker is left", async || children().is_empty().then_some(())).await;
}
