//! One ConfigMap, followed: what it says, told whenever that changes.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};

use super::Cluster;

/// How often it is read anew whatever the watch tells: a missed event costs at most this.
const RELIST: Duration = Duration::from_secs(300);
/// How long the server lets a watch run. A watch that died without a word is noticed five seconds after that.
const WATCH_SECS: u32 = 60;

/// What was heard of a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Its keys and their texts.
    There(BTreeMap<String, String>),
    Absent,
    /// The API server is away, or does not allow it. What was read before still stands.
    Unreadable,
}

impl Cluster {
    /// Tells of one ConfigMap, now and whenever it changes, for ever. A list and a watch of this one name alone, so that a
    /// Role may allow no other.
    pub async fn follow_config_map(&self, namespace: &str, name: &str, tell: impl Fn(Told)) {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECS);
        let mut said = None;
        loop {
            let events = watcher(api.clone(), config.clone()).default_backoff().take_until(tokio::time::sleep(RELIST));
            let mut events = std::pin::pin!(events);
            let mut listed = None;
            while let Some(event) = events.next().await {
                let told = match event {
                    Ok(Event::Init) => {
                        listed = None;
                        continue;
                    }
                    Ok(Event::InitApply(it)) => {
                        listed = Some(it.data.unwrap_or_default());
                        continue;
                    }
                    Ok(Event::InitDone) => listed.take().map_or(Told::Absent, Told::There),
                    Ok(Event::Apply(it)) => Told::There(it.data.unwrap_or_default()),
                    Ok(Event::Delete(_)) => Told::Absent,
                    Err(err) => {
                        let err = err.to_string();
                        if said.as_ref() != Some(&err) {
                            tracing::warn!(namespace, name, error = err, "a ConfigMap cannot be read; trying again");
                        }
                        said = Some(err);
                        tell(Told::Unreadable);
                        continue;
                    }
                };
                if told == Told::Absent && said.as_deref() != Some("absent") {
                    tracing::warn!(namespace, name, "a ConfigMap is not there; its templates are used when it is");
                }
                said = (told == Told::Absent).then(|| "absent".to_owned());
                tell(told);
            }
        }
    }
}
