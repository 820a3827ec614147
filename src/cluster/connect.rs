//! Finding the cluster and the credentials for it: a kubeconfig that is named, else the pod's own service account, else
//! `KUBECONFIG`, else `~/.kube/config`.

use std::path::Path;

use http::{HeaderValue, header::USER_AGENT};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// Connects as `longshore/<version>`. Fails on a missing or unreadable configuration; asks the server nothing.
pub async fn connect(kubeconfig: Option<&Path>) -> anyhow::Result<(Client, String)> {
    use anyhow::Context;
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("cannot read --kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.context("cannot use --kubeconfig")?
        }
        None => match Config::incluster() {
            Ok(config) => config,
            Err(_) => Config::from_kubeconfig(&KubeConfigOptions::default()).await.context(
                "no cluster to connect to: give --kubeconfig, set KUBECONFIG, run in a cluster, or try --dry-run",
            )?,
        },
    };
    let agent = HeaderValue::from_static(concat!("longshore/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, agent));
    config.connect_timeout = Some(std::time::Duration::from_secs(5));
    let server = config.cluster_url.to_string();
    Ok((Client::try_from(config).context("cannot make a client for the cluster")?, server))
}
