//! `/ui/system`: the replicas, and whether this one can do its work.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    http::{Method, StatusCode},
    response::Response,
};

use super::{
    Ui,
    ask::Refusal,
    clock::{Clock, When},
    shell::{self, Place, Shell},
};

struct Replica {
    id: String,
    own: bool,
    hostname: String,
    version: String,
    roles: String,
    alive: bool,
    started: When,
    beat: When,
}

#[derive(Template)]
#[template(path = "ui/system.html")]
struct Page {
    shell: Shell,
    /// Why this replica cannot do its work, if it cannot.
    not_ready: Option<Refusal>,
    database: String,
    database_away: bool,
    cluster_away: bool,
    version: &'static str,
    replicas: Vec<Replica>,
    settings: Vec<(&'static str, String)>,
    as_of: String,
}

/// `GET /ui/system`
pub async fn page(State(ui): State<Arc<Ui>>) -> Response {
    let sample = ui.sample().await;
    let not_ready = ui.ask.answer(Method::GET, "/readyz", None).await.err();
    let own = ui.api.replica.to_string();
    let clock = sample.harbour.as_ref().map_or_else(Clock::now, |it| Clock::at(it.at.to_jiff()));
    let replicas = sample.harbour.iter().flat_map(|it| &it.replicas).map(|it| Replica {
        own: it.id.to_string() == own,
        id: it.id.to_string(),
        hostname: super::text::visible(&it.hostname),
        version: it.version.clone(),
        roles: it.roles.join(", "),
        alive: it.alive,
        started: clock.when(it.started_at.to_jiff()),
        beat: clock.when(it.heartbeat_at.to_jiff()),
    });
    let defaults = &ui.api.reader.defaults;
    let start_timeout = defaults.start_timeout_secs.map_or("none".into(), |it| super::clock::length(it as i64));
    let settings = vec![
        ("Default image", defaults.image.clone()),
        ("Image pull policy", defaults.image_pull_policy.clone()),
        ("Start timeout", start_timeout),
        ("Namespaces", ui.api.cluster.namespaces().join(", ")),
        ("Filter of POST /job", if ui.api.filters.is_some() { "on" } else { "none" }.into()),
    ];
    let page = Page {
        shell: Shell::new("System", Place::System, 2).refused(not_ready.clone().filter(Refusal::is_away)),
        not_ready,
        // Server and database, without who logs in and how.
        database: ui.api.db.place(),
        database_away: sample.away,
        cluster_away: sample.cluster_away,
        version: env!("CARGO_PKG_VERSION"),
        replicas: replicas.collect(),
        settings,
        as_of: sample.read_at.map_or_else(|| "never".into(), |it| it.strftime("%H:%M:%S").to_string()),
    };
    shell::page(StatusCode::OK, &page)
}
