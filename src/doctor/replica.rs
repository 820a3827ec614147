//! Whether a replica answers, and which version it is of.

use serde_json::Value;

use crate::error::chain;

use super::{live::beneath, patient::Patient, report::Finding};

const OURS: &str = env!("CARGO_PKG_VERSION");
/// The characters of a server's version that are shown.
const VERSION_CHARS: usize = 40;

pub async fn answers(patient: &Patient) -> Vec<Finding> {
    let url = patient.shown_url();
    let ask = |path| patient.http.get(beneath(&patient.url, path)).send();
    let alive = match ask("livez").await {
        Ok(answer) => answer.error_for_status(),
        Err(err) => Err(err),
    };
    if let Err(err) = alive {
        let found = format!("nothing answers at {url}: {}", chain(&err.without_url()));
        let (why, remedy) = ("nobody can submit jobs there", "start `longshore serve`, or say by --url where it is");
        return vec![match patient.url_is_given {
            true => Finding::fail(found, why, remedy),
            false => Finding::warn(found, why, remedy),
        }];
    }
    let mut found = Vec::new();
    let version = async { ask("openapi.json").await?.json::<Value>().await };
    let version = version.await.ok().and_then(|it| Some(it["info"]["version"].as_str()?.to_owned()));
    let version = version.map(|it| it.chars().take(VERSION_CHARS).collect::<String>());
    match version {
        Some(version) if version == OURS => found.push(Finding::ok(format!("{url} is up, of version {version}"))),
        Some(version) => found.push(Finding::warn(
            format!("{url} is of version {version}, and this program of {OURS}"),
            "commands and checks may not fit what they speak to",
            format!("use longshore {version}, or finish the upgrade to {OURS}"),
        )),
        None => found.push(Finding::warn(
            format!("{url} answers, and not as Longshore does"),
            "something else may be there, or in between",
            "say by --url where Longshore is",
        )),
    }
    if let Ok(answer) = ask("readyz").await
        && !answer.status().is_success()
    {
        let code = answer.json::<Value>().await.ok();
        let code = code.and_then(|it| Some(it["code"].as_str()?.chars().take(VERSION_CHARS).collect::<String>()));
        let told = code.unwrap_or_else(|| "it does not say why".into());
        found.push(Finding::warn(
            format!("{url} is not ready: {told}"),
            "a Service sends nobody to it meanwhile",
            "look at what the checks below say, and at its log",
        ));
    }
    found
}
