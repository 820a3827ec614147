//! What is examined: the same places that `serve` would use, found in the same way.

use std::{path::Path, sync::Arc, time::Duration};

use reqwest::Url;

use crate::{
    cluster::{Cluster, connect, manifest::Defaults, policy::PodPolicy},
    config,
    error::chain,
    store::Db,
};

use super::report::Finding;

/// How long one question to a replica may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Two connections at a time are enough, and a database that is nearly full is not filled up.
const CONNECTIONS: u32 = 2;

/// Something that is needed, or the finding that says why it is not there.
pub type Given<T> = Result<Arc<T>, Finding>;

pub struct Patient {
    pub config: config::Replica,
    pub url: Url,
    /// Whether somebody said where the replica is, or it was merely assumed.
    pub url_is_given: bool,
    pub http: reqwest::Client,
    pub database: Given<Db>,
    pub cluster: Given<Cluster>,
    /// The image of the job that does nothing, if one is to be submitted; with none of its own, the replica's default.
    pub noop: Option<Option<String>>,
}

impl Patient {
    pub fn defaults(&self) -> Defaults {
        Defaults {
            image: self.config.default_image.clone(),
            image_pull_policy: self.config.image_pull_policy.name().to_owned(),
            start_timeout_secs: None,
        }
    }

    /// The replica's address for people: without a password, or a token in its query.
    pub fn shown_url(&self) -> String {
        let mut url = self.url.clone();
        let _ = (url.set_password(None), url.set_username(""));
        url.set_query(None);
        url.to_string()
    }
}

/// A client for replicas.
pub fn http() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(ANSWER).user_agent("longshore-doctor").build()?)
}

pub fn database(flags: &config::Database) -> Given<Db> {
    let Some(url) = flags.given_url() else {
        // As `serve` does: in a cluster each replica would have a database of its own.
        return Err(match std::env::var_os("KUBERNETES_SERVICE_HOST") {
            Some(_) => Finding::fail(
                "no database is given",
                "replicas share one, and start without none in a cluster",
                "set LONGSHORE_DATABASE_URL from a Secret; in the chart, database.existingSecret",
            ),
            None => Finding::skipped("no --database-url is given, nor DATABASE_URL"),
        });
    };
    match Db::new(&url, CONNECTIONS) {
        Ok(db) => Ok(Arc::new(db)),
        // Its cause may quote the URL, and so a password.
        Err(_) => Err(Finding::fail(
            "the database URL is not valid",
            "no replica starts with it",
            "write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE, with % and two digits for what is special in a password",
        )),
    }
}

pub async fn cluster(config: &config::Replica, kubeconfig: Option<&Path>) -> Given<Cluster> {
    let policy = match policy(config) {
        Ok(policy) => policy,
        Err(err) => {
            let remedy = "`longshore pod-policy FILE` tells whether a file can be used";
            return Err(Finding::fail(format!("{err:#}"), "no replica starts with it", remedy));
        }
    };
    match connect::connect(kubeconfig).await {
        // As fast as it can: there are few questions.
        Ok((client, _)) => Ok(Arc::new(Cluster::new(client, config.namespace.clone(), 0).under(policy))),
        Err(err) => Err(Finding::fail(
            chain(err.as_ref()),
            "no replica starts without a cluster",
            "give --kubeconfig FILE, set KUBECONFIG, or run it in a pod with a service account",
        )),
    }
}

fn policy(config: &config::Replica) -> anyhow::Result<PodPolicy> {
    let mut policy = config.pod_policy.as_deref().map_or_else(|| Ok(PodPolicy::default()), PodPolicy::read)?;
    policy.service_accounts.extend(config.allow_service_account.iter().cloned());
    Ok(policy)
}
