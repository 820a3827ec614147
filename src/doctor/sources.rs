//! The queues elsewhere: whether the file can be read, and whether each of them answers. Nothing is taken from them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    api::{KnownDefaults, Reader},
    error::chain,
    id::ReplicaId,
    metrics::Metrics,
    sources::{self, Configured, Shared},
    store::{signals::Signals, submit::Intake},
    templates::shelf::{Places, Shelf},
};

use super::{patient::Patient, report::Finding};

pub async fn reached(patient: &Patient) -> Vec<Finding> {
    let Some(file) = &patient.config.sources else {
        return vec![Finding::skipped("no --sources is given")];
    };
    let configured = match sources::configured(file) {
        Ok(configured) => configured,
        Err(err) => return vec![wrong(&err)],
    };
    let metrics = Metrics::new();
    let shared = match shared(patient, metrics.clone()) {
        Ok(shared) => shared,
        Err(finding) => return vec![finding],
    };
    let mut found = Vec::new();
    for it in &configured {
        if let Err(err) = it.check(&shared.reader.served()) {
            found.push(wrong(&err));
            continue;
        }
        found.push(look(it, shared.clone(), &metrics).await.about(&it.name));
    }
    if found.is_empty() {
        found.push(Finding::ok("the file names none"));
    }
    found
}

fn wrong(err: &sources::config::Unusable) -> Finding {
    Finding::fail(chain(err), "no replica starts with it", "correct it as docs/sources.md says")
}

async fn look(source: &Configured, shared: Arc<Shared>, metrics: &Arc<Metrics>) -> Finding {
    let reads = &source.reads;
    match source.look(shared, metrics).await {
        Ok(backlog) => Finding::ok(match backlog.waiting {
            Some(waiting) => format!("{reads} answers; {waiting} wait there"),
            None => format!("{reads} answers"),
        }),
        Err(err) => Finding::fail(
            format!("{reads} does not answer as it should: {err:#}"),
            "its messages wait there, and become jobs when it does",
            "correct the address, the credentials or the rights, as docs/sources.md says for its type",
        ),
    }
}

/// What a replica's sources share, of which nothing is run.
fn shared(patient: &Patient, metrics: Arc<Metrics>) -> Result<Arc<Shared>, Finding> {
    let db = patient.database.clone().map_err(|_| Finding::because_of("database"))?;
    let cluster = super::cluster::given(patient)?;
    let defaults = Arc::new(patient.defaults());
    let places = Places { default: patient.config.default_template.clone(), ..Places::default() };
    let shelf = Shelf::open(places, defaults.clone()).map_err(|_| Finding::because_of("templates"))?;
    let reader = Arc::new(Reader {
        db: db.clone(),
        cluster,
        defaults,
        shelf: Arc::new(shelf),
        of_queues: KnownDefaults::default(),
    });
    let replica = ReplicaId::new();
    let (intake, signals) = (Arc::new(Intake::new(replica)), Signals::new());
    let (retention, stop) = (patient.config.retention, CancellationToken::new());
    Ok(Arc::new(Shared { replica, db, reader, intake, signals, retention, metrics, stop }))
}
