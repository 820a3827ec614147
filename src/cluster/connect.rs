//! Finding the cluster and the credentials for it: a kubeconfig that is named, else the pod's own service account, else
//! `KUBECONFIG`, else `~/.kube/config`.

use std::{path::Path, time::Duration};

use anyhow::Context;
use http::{HeaderValue, header::USER_AGENT};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// How long the API server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects as `longshore/<version>`. Fails on a missing or unreadable configuration; asks the server nothing.
pub async fn connect(kubeconfig: Option<&Path>) -> anyhow::Result<(Client, String)> {
    let config = match kubeconfig {
        Some(path) => {
            let file =
                Kubeconfig::read_from(path).with_context(|| format!("cannot read --kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .context("cannot use --kubeconfig")?
        }
        None => match Config::incluster() {
            Ok(config) => config,
            Err(_) => Config::from_kubeconfig(&KubeConfigOptions::default()).await.context(
                "no cluster to connect to: give --kubeconfig, set KUBECONFIG, run in a cluster, or try --dry-run",
            )?,
        },
    };
    // Without who logs in, should that stand in the URL.
    let url = &config.cluster_url;
    let port = url.port_u16().map(|it| format!(":{it}")).unwrap_or_default();
    let server = format!("{}://{}{port}", url.scheme_str().unwrap_or("https"), url.host().unwrap_or_default());
    Ok((client(config)?, server))
}

/// Connects to a server that wants no credentials: a simulated one.
pub fn to_url(url: &str) -> anyhow::Result<Client> {
    client(Config::new(url.parse().with_context(|| format!("{url:?} is not a URL"))?))
}

fn client(mut config: Config) -> anyhow::Result<Client> {
    let agent = HeaderValue::from_static(concat!("longshore/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, agent));
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Whether to send a request again is for the caller to say, who knows whether it still may.
    config.default_retry = false;
    Client::try_from(config).context("cannot make a client for the cluster")
}
