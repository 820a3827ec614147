//! Telling pg-boss what became of the jobs of its items.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::{
    id::JobId,
    sources::desk::{Desk, told},
    store::{
        boss::{self, Hand},
        sources::{Fate, Held},
    },
};

use super::{Queue, hold, output};

/// Ends the items whose jobs have ended, and keeps the others from expiring. Answers those that are done with: ended by us,
/// or taken from us meanwhile.
pub async fn settle(queue: &Queue, desk: &Desk, held: &[Held]) -> anyhow::Result<Vec<Held>> {
    match settle_all(queue, desk, held).await {
        Err(err) if err.downcast_ref().is_some_and(boss::Error::is_race) => {}
        settled => return settled,
    }
    // Where one of a kind may wait, another one came between. The rest need not wait for that.
    let mut done = Vec::new();
    for it in held {
        match settle_all(queue, desk, std::slice::from_ref(it)).await {
            Err(err) if err.downcast_ref().is_some_and(boss::Error::is_race) => {
                let (source, item, error) = (&desk.name, &it.item, told(&err));
                tracing::warn!(source, item, error, "an item cannot be ended now; trying again");
            }
            settled => done.extend(settled?),
        }
    }
    Ok(done)
}

async fn settle_all(queue: &Queue, desk: &Desk, held: &[Held]) -> anyhow::Result<Vec<Held>> {
    let (mut completed, mut failed, mut cancelled, mut kept) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
    for it in held {
        // What this source holds, it has named itself.
        let (Ok(id), Ok(tries)) = (it.item.parse(), it.handle.parse()) else { continue };
        let hand = Hand { id, tries };
        match &it.fate {
            Fate::Succeeded => completed.push((hand, output_of(it.job))),
            Fate::Failed(reason) => {
                let mut output = output(&format!("its job failed: {reason}"));
                output["job_id"] = it.job.to_string().into();
                output["reason"] = reason.as_str().into();
                failed.push((hand, output));
            }
            Fate::Cancelled => cancelled.push(hand),
            Fate::GoesOn => {
                kept.insert(hand, it.job);
            }
        }
    }
    let db = queue.db(desk);
    let told = async {
        let mut conn = db.conn().await?;
        let mut tables = queue.boss.enter(&mut conn).await?;
        let name = &queue.queue;
        let mut ours = Vec::new();
        if !completed.is_empty() {
            ours.extend(tables.complete(name, &completed).await?);
        }
        if !failed.is_empty() {
            ours.extend(tables.fail(name, &failed).await?);
        }
        if !cancelled.is_empty() {
            ours.extend(tables.cancel(name, &cancelled).await?);
        }
        let hands: Vec<Hand> = kept.keys().copied().collect();
        let still = if hands.is_empty() { Vec::new() } else { tables.keep(name, &hands).await? };
        tables.commit(&[]).await?;
        Ok::<_, anyhow::Error>((ours, still))
    };
    let (ours, still) = db.within(told).await?;
    let still: HashMap<_, _> = still.into_iter().collect();
    let again = kept.iter().filter_map(|(hand, job)| Some((*hand, *still.get(&hand.id)?, *job)));
    let recorded = async { hold(desk, &mut *desk.db.conn().await?, again).await };
    desk.db.within(recorded).await?;
    let mut done = Vec::new();
    for it in held {
        let id = it.item.parse().unwrap_or_default();
        if still.contains_key(&id) {
            continue;
        }
        if !ours.contains(&id) {
            let (source, item) = (&desk.name, &it.item);
            tracing::warn!(source, item, job = %it.job, fate = ?it.fate, "an item was taken back before it could be ended");
        }
        done.push(it.clone());
    }
    Ok(done)
}

/// What an item puts out that is completed.
pub fn output_of(id: JobId) -> Value {
    json!({"job_id": id.to_string(), "by": "longshore"})
}
