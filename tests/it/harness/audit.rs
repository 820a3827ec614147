//! The world by the API server's audit log: an independent witness of what was created, how often, and how much lived at
//! once. Where the project's witness program lies beside the checkout, it is asked as well.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// What the log says of Jobs of one installation.
pub struct Audit {
    /// Per attempt, as (job, attempt): when each create of it was answered with success.
    pub creates: HashMap<(String, String), Vec<String>>,
    /// Requests that carried our user agent, as `verb resource code`.
    pub requests: HashMap<String, u64>,
}

pub fn read(path: &Path, instance: &str) -> Audit {
    let mut audit = Audit { creates: HashMap::new(), requests: HashMap::new() };
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    for event in text.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok()) {
        if event["stage"] != "ResponseComplete" {
            continue;
        }
        let code = event["responseStatus"]["code"].as_u64().unwrap_or(0);
        let (verb, reference) = (event["verb"].as_str().unwrap_or_default(), &event["objectRef"]);
        let labels = &event["responseObject"]["metadata"]["labels"];
        let asked = &event["requestObject"]["metadata"]["labels"];
        let ours = labels["longshore.dev/instance"] == instance || asked["longshore.dev/instance"] == instance;
        if event["userAgent"].as_str().is_some_and(|it| it.starts_with("longshore/")) && (ours || verb != "create") {
            let resource = reference["resource"].as_str().unwrap_or_default();
            *audit.requests.entry(format!("{verb} {resource} {code}")).or_default() += 1;
        }
        if verb == "create" && reference["resource"] == "jobs" && code < 300 && ours {
            let text = |key: &str| labels[key].as_str().unwrap_or_default().to_owned();
            let attempt = (text("longshore.dev/job-id"), text("longshore.dev/attempt"));
            audit.creates.entry(attempt).or_default().push(event["stageTimestamp"].to_string());
        }
    }
    audit
}

/// No attempt made two Jobs.
pub fn check(audit: &Audit, _cap: i32) {
    for ((job, attempt), creates) in &audit.creates {
        assert_eq!(creates.len(), 1, "attempt {attempt} of {job} was created {} times: {creates:?}", creates.len());
    }
}

/// Asks the independent witness, if it is there: it also says whether more attempts lived at once than the cap allows.
pub fn ask_witness(log: &Path, instance: &str, cap: i32) {
    let Some(witness) = witness() else {
        println!("no witness program beside this checkout; LONGSHORE_WITNESS can name it");
        return;
    };
    let mut command = Command::new("python3");
    command.arg(witness).arg(log).args(["--instance", instance]);
    if cap != i32::MAX {
        command.args(["--cap", &cap.to_string()]);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "the witness saw a violation: {said}{}", String::from_utf8_lossy(&output.stderr));
    println!("witness: {}", said.replace('\n', ""));
}

fn witness() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/witness/witness.py");
    let named = std::env::var_os("LONGSHORE_WITNESS").map(PathBuf::from);
    named.or(Some(beside)).filter(|it| it.exists())
}
