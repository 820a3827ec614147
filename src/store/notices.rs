//! Hearing what Postgres says besides its answer.
//!
//! A commit that waits for a synchronous standby, and whose wait is cut short, answers with success and a WARNING: the row
//! is there, and may be gone after a failover. The client library passes warnings on to the log alone, in the task that
//! reads the answer; so they are heard there.

use std::cell::Cell;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Where the client library logs what Postgres says.
pub const TARGET: &str = "sqlx::postgres::notice";

tokio::task_local! {
    static WARNED: Cell<bool>;
}

/// Part of the log's subscriber, which hears the warnings.
pub struct Listening;

impl<S: Subscriber> Layer<S> for Listening {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == TARGET && *event.metadata().level() <= Level::WARN {
            // Outside of `listen` nobody asks.
            let _ = WARNED.try_with(|it| it.set(true));
        }
    }
}

/// Does `work`, and tells whether Postgres warned meanwhile.
pub async fn listen<T>(work: impl Future<Output = T>) -> (T, bool) {
    WARNED
        .scope(Cell::new(false), async {
            let done = work.await;
            (done, WARNED.with(Cell::get))
        })
        .await
}
