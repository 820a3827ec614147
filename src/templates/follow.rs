//! Keeps the templates of files and of the ConfigMap as they are there.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;

use super::{files, shelf::Shelf};

/// Until `stop`.
pub async fn follow(shelf: Arc<Shelf>, cluster: &Cluster, stop: CancellationToken) {
    let of_config_map = async {
        if let Some((namespace, name)) = &shelf.places.config_map {
            cluster.follow_config_map(namespace, name, |heard| shelf.take_config_map(heard)).await;
        }
    };
    tokio::join!(files::follow(shelf.clone(), stop.clone()), stop.run_until_cancelled(of_config_map));
}
