//! `GET /ui/live`: tells pages that are open when there is something new to see (server-sent events).
//!
//! The overview comes whole, as the server would render it; other pages only hear whether anything has changed, and
//! then ask for themselves anew. All of it hangs on one sample a period for all who listen.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Query, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use serde::Deserialize;

use super::{
    Ui,
    overview::{self, Board},
    sampler::PERIOD,
};

/// How often something is sent though nothing is new, so that no proxy takes the line for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// When a browser comes back after the line was lost.
const RETRY: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
pub struct Wanted {
    /// `overview`, or any other page.
    #[serde(default)]
    page: String,
}

/// Where one listener is.
struct Listener {
    ui: Arc<Ui>,
    whole: bool,
    seen: u64,
    /// Kept for as long as it listens.
    _place: tokio::sync::OwnedSemaphorePermit,
}

pub async fn stream(State(ui): State<Arc<Ui>>, Query(wanted): Query<Wanted>) -> Response {
    let Ok(place) = ui.streams.clone().try_acquire_owned() else {
        let retry = [(header::RETRY_AFTER, HeaderValue::from_static("30"))];
        return (StatusCode::SERVICE_UNAVAILABLE, retry).into_response();
    };
    let stop = ui.api.stop.clone();
    let first = Listener { ui, whole: wanted.page == "overview", seen: 0, _place: place };
    let events = futures::stream::unfold(first, |it| async { it.next().await });
    let events = futures::StreamExt::take_until(events, stop.cancelled_owned());
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    // A proxy that gathers would hold events back.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

impl Listener {
    /// Waits for a sample that it has not seen.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            let sample = self.ui.sample().await;
            if sample.number == self.seen {
                tokio::time::sleep(PERIOD.saturating_sub(sample.taken.elapsed())).await;
                continue;
            }
            let first = self.seen == 0;
            self.seen = sample.number;
            let event = Event::default().id(sample.number.to_string()).retry(RETRY);
            let event = match self.whole {
                true => event.event("board").data(overview::fragment(&Board::new(&sample))),
                // The page was made just before.
                false if first => event.event("hello").data(sample.mark()),
                false => event.event("tick").data(sample.mark()),
            };
            return Some((Ok(event), self));
        }
    }
}
