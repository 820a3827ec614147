//! What is in the way of jobs, each with what helps.

use std::collections::BTreeMap;

use crate::store::console::Harbour;

use super::text::{visible, words};

/// Something in the way, and what helps.
pub struct Trouble {
    pub what: String,
    /// What others say of it.
    pub said: Option<String>,
    pub remedy: &'static str,
    /// Where to look, from `/`, and what that is called.
    pub link: Option<(String, &'static str)>,
}

impl Trouble {
    fn new(what: impl Into<String>, remedy: &'static str, href: impl Into<String>, label: &'static str) -> Self {
        Self { what: what.into(), said: None, remedy, link: Some((href.into(), label)) }
    }

    fn saying(self, message: &str) -> Self {
        Self { said: Some(visible(message)), ..self }
    }

    pub fn database() -> Self {
        let remedy = "Jobs that run go on; nothing new starts until it is back. Look at the server, and at the log of this \
                      replica.";
        Self::new("The database cannot be used right now.", remedy, "ui/system", "System")
    }

    pub fn cluster() -> Self {
        let remedy =
            "Nothing is lost: what ends meanwhile is seen later. Look at the API server, and at what it permits.";
        Self::new("The Kubernetes API server does not answer as it should.", remedy, "ui/system", "System")
    }
}

/// Everything that is in the way.
pub fn problems(harbour: &Harbour, away: bool, cluster_away: bool) -> Vec<Trouble> {
    let mut found = Vec::new();
    found.extend(away.then(Trouble::database));
    found.extend(cluster_away.then(Trouble::cluster));
    if !away && !harbour.replicas.iter().any(|it| it.alive && it.roles.iter().any(|role| role == "scheduler")) {
        let remedy = "Nothing is started until one is back: look at its log.";
        found.push(Trouble::new("No replica that starts jobs is alive.", remedy, "ui/system", "System"));
    }
    if harbour.global.cap == 0 {
        found.push(Trouble::new("The global cap is 0, so nothing starts.", "Raise it.", "ui/queues", "Set the cap"));
    }
    for queue in &harbour.paused {
        let what = format!("The queue {queue} is paused: none of its jobs starts.");
        let remedy = "Resume it when what it waits for is there.";
        found.push(Trouble::new(what, remedy, format!("ui/queues/{queue}"), "Resume it"));
    }
    for queue in &harbour.nearly_full {
        let what = format!("The queue {} is nearly full: no more than {} may wait.", queue.name, queue.max_pending);
        let remedy = "Submissions beyond that are refused. Raise the bound or the cap, or submit more slowly.";
        found.push(Trouble::new(what, remedy, format!("ui/queues/{}", queue.name), "Look at it"));
    }
    for aside in &harbour.aside {
        let jobs = if aside.jobs == 1 { "1 job was".into() } else { format!("{} jobs were", aside.jobs) };
        let what = format!("{jobs} put aside: {}.", words(&aside.code));
        let remedy = match aside.code.as_str() {
            "not_permitted" => {
                "Grant the Role of the chart in that namespace; `longshore doctor` names what is missing."
            }
            _ => "Raise the quota of that namespace, or wait: they are tried again as soon as something there ends.",
        };
        found.push(Trouble::new(what, remedy, "ui/jobs?state=scheduled", "Look at them").saying(&aside.message));
    }
    found.extend(starts_in_trouble(harbour));
    found
}

/// What helps, by what a start waits for.
const REMEDIES: [(&str, &str); 9] = [
    (
        "image_pull",
        "Check the image's name and the registry's credentials. A job that cannot be mended is best cancelled.",
    ),
    ("config_error", "Look for a Secret or ConfigMap that its pods name, and that is not there."),
    ("volume_mount", "Look at the claim, and at what it names."),
    ("unschedulable", "No node has room for its pods: look at their requests, and at the nodes."),
    ("no_pod", "Look at what refuses its pods: a policy, a webhook, or a service account that is not there."),
    ("quota", "Raise the quota of the namespace, or wait until something there ends."),
    ("pod_quota", "Raise the quota of the namespace, or wait until something there ends."),
    ("api_trouble", "It is sent again by itself. Look at the API server if it does not end."),
    ("suspended", "Someone suspended its Kubernetes Job: set `spec.suspend` to false."),
];

/// Holders whose pods do not start, by what is said of it.
fn starts_in_trouble(harbour: &Harbour) -> Vec<Trouble> {
    let mut by_code: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for it in harbour.slots.iter().filter(|it| it.state == "starting") {
        let entry = by_code.entry(&it.code).or_insert((0, it.message.as_deref().unwrap_or_default()));
        entry.0 += 1;
    }
    let found = REMEDIES.into_iter().filter_map(|(code, remedy)| {
        let (count, message) = *by_code.get(code)?;
        let what = match count {
            1 => format!("1 job that holds a slot does not start: {}.", words(code)),
            _ => format!("{count} jobs that hold a slot do not start: {}.", words(code)),
        };
        Some(Trouble::new(what, remedy, "ui/jobs?state=starting", "Look at them").saying(message))
    });
    found.collect()
}
