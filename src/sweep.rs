//! Keeping house in the database, on a period: history ages out, and the number of held slots is compared with the rows. See
//! `longshore.sweep` and `longshore.check_held` in the migrations. Every replica calls them; one does the work.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    error::chain,
    metrics::{Loop, Metrics},
    store::{Db, Error, claims, deliveries, history},
};

/// The longest pause between two sweeps, and the shortest. Between them it is a fortieth of the retention: a partition is
/// a tenth, and two are made ahead.
const PAUSES: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_millis(250));
/// How many steps of a sweep follow each other at most: each makes or drops a partition, or deletes a thousand rows.
const STEPS: usize = 1_000;

/// Runs until `stop`.
pub async fn run(db: &Db, metrics: &Metrics, retention: Duration, stop: CancellationToken) {
    let pause = if retention.is_zero() { PAUSES.0 } else { (retention / 40).clamp(PAUSES.1, PAUSES.0) };
    metrics.nothing_to_do(Loop::Age);
    while !stop.is_cancelled() {
        let pass = metrics.pass(Loop::Age);
        match sweep(db, retention).await {
            Ok(()) => pass.succeeded(),
            Err(err) => tracing::warn!(error = chain(&err), "history was not swept; trying again"),
        }
        if let Err(err) = check(db).await {
            tracing::warn!(error = chain(&err), "the number of held slots was not checked; trying again");
        }
        stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// Does what is to be done now.
pub async fn sweep(db: &Db, retention: Duration) -> Result<(), Error> {
    for _ in 0..STEPS {
        let step = async { history::sweep(&mut *db.conn().await?, retention).await };
        match db.within(step).await? {
            Some(done) => tracing::info!(did = done.did, what = done.what, "swept history"),
            None => break,
        }
    }
    // Zero keeps everything.
    for _ in 0..if retention.is_zero() { 0 } else { STEPS } {
        if db.within(async { deliveries::sweep(&mut *db.conn().await?, retention).await }).await? == 0 {
            break;
        }
    }
    Ok(())
}

async fn check(db: &Db) -> Result<(), Error> {
    let too_high = db.within(async { claims::check_held(&mut *db.conn().await?).await }).await?;
    if too_high != 0 {
        tracing::error!(too_high, "the number of held slots differed from the rows; it was put right");
    }
    Ok(())
}
