//! The door that requests come through: it is there before the replica behind it, and says so.

use std::sync::{Arc, OnceLock};

use axum::{Router, extract::Request};
use tokio::net::TcpListener;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};
use tower::ServiceExt;

use crate::api;

/// A listener that answers. Gone with its owner.
pub(super) struct Door {
    behind: Arc<OnceLock<Router>>,
    stop: DropGuard,
    served: AbortOnDropHandle<()>,
}

impl Door {
    /// Begins to answer: that this process lives, and that it is starting.
    pub(super) fn new(listener: TcpListener) -> Self {
        let behind = Arc::new(OnceLock::<Router>::new());
        let there = behind.clone();
        let starting = api::starting();
        let router = Router::new().fallback(move |request: Request| {
            let router = there.get().unwrap_or(&starting).clone();
            async move { router.oneshot(request).await }
        });
        let stop = CancellationToken::new();
        let served = tokio::spawn(api::serve(listener, router, api::Limits::default(), stop.clone()));
        Self { behind, stop: stop.drop_guard(), served: AbortOnDropHandle::new(served) }
    }

    /// From now on this router answers.
    pub(super) fn open(&self, router: Router) {
        // It is opened once.
        let _ = self.behind.set(router);
    }

    /// Takes no more requests; ends when those that are under way are answered.
    pub(super) async fn close(self) {
        drop(self.stop);
        let _ = self.served.await;
    }
}
