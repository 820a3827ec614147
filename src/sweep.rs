//! Letting history age out, on a period: see `longshore.sweep` in the migrations. Every replica calls it; one does it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    error::chain,
    store::{Db, Error, history},
};

/// The longest pause between two sweeps, and the shortest. Between them it is a fortieth of the retention: a partition is
/// a tenth, and two are made ahead.
const PAUSES: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_millis(250));
/// How many steps of a sweep follow each other at most: each drops a partition or deletes a thousand rows.
const STEPS: usize = 1_000;

/// Runs until `stop`.
pub async fn run(db: &Db, retention: Duration, stop: CancellationToken) {
    let pause = if retention.is_zero() { PAUSES.0 } else { (retention / 40).clamp(PAUSES.1, PAUSES.0) };
    while !stop.is_cancelled() {
        if let Err(err) = sweep(db, retention, &stop).await {
            tracing::warn!(error = chain(&err), "history was not swept; trying again");
        }
        stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

async fn sweep(db: &Db, retention: Duration, stop: &CancellationToken) -> Result<(), Error> {
    for _ in 0..STEPS {
        let step = async { history::sweep(&mut *db.conn().await?, retention).await };
        let done = db.within(step).await?;
        for it in &done {
            tracing::info!(did = it.did, what = it.what, "swept history");
        }
        if done.is_empty() || stop.is_cancelled() {
            break;
        }
    }
    Ok(())
}
