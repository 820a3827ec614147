//! What is to be delivered to webhooks: written by a trigger in the transaction that ends a job, taken by whoever comes
//! first, and due again when that one dies.

use std::time::Duration;

use uuid::Uuid;

use super::{Conn, Error, webhooks::Secret};

/// How many that are past retention are deleted at a time.
const SWEPT_AT_ONCE: i64 = 1_000;

/// One that was taken to be delivered now.
#[derive(Debug)]
pub struct Taken {
    pub id: Uuid,
    pub webhook_id: Uuid,
    pub job_id: Uuid,
    pub job_state: String,
    pub payload: serde_json::Value,
    /// Which try this is, from 1.
    pub tries: i32,
    pub url: String,
    pub secret: Secret,
    /// The secret before, as long as it signs as well.
    pub previous: Option<Secret>,
    /// The name of this installation.
    pub instance: String,
    /// When it was taken, in seconds since 1970, by the database's clock.
    pub now_secs: i64,
}

/// What a try came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub delivered: bool,
    pub status: Option<i32>,
    pub error: Option<String>,
    /// Its receiver said that it is gone for good.
    pub gone: bool,
}

/// The webhooks to which something is to be delivered now.
pub async fn due(conn: &mut Conn) -> Result<Vec<Uuid>, Error> {
    let due = sqlx::query_scalar!(
        "select id from longshore.webhooks w
          where disabled_at is null
            and exists (select from longshore.webhook_deliveries d
                         where d.webhook_id = w.id and d.state = 'pending' and d.due_at <= (select clock_timestamp()))"
    );
    Ok(due.fetch_all(conn).await?)
}

/// Takes what is due of these webhooks, as many of each as said, for `lease`.
pub async fn take(conn: &mut Conn, room: &[(Uuid, i32)], lease: Duration) -> Result<Vec<Taken>, Error> {
    let (ids, rooms): (Vec<Uuid>, Vec<i32>) = room.iter().copied().unzip();
    let rows = sqlx::query_file!("src/store/sql/claim_deliveries.sql", &ids, &rooms, lease.as_secs_f64());
    let taken = rows.fetch_all(conn).await?.into_iter().map(|it| Taken {
        id: it.id,
        webhook_id: it.webhook_id,
        job_id: it.job_id,
        job_state: it.job_state,
        payload: it.payload,
        tries: it.tries,
        url: it.url,
        secret: Secret::new(it.secret),
        previous: it.previous.map(Secret::new),
        instance: it.instance,
        now_secs: it.now_secs,
    });
    Ok(taken.collect())
}

/// Records what a try came to: it is tried again after `pause`, unless that is later than `give_up` after the first.
pub async fn settle(
    conn: &mut Conn,
    taken: &Taken,
    outcome: &Outcome,
    pause: Duration,
    give_up: Duration,
) -> Result<(), Error> {
    sqlx::query_file!(
        "src/store/sql/settle_delivery.sql",
        taken.id,
        taken.tries,
        outcome.delivered,
        outcome.status,
        outcome.error,
        pause.as_secs_f64(),
        give_up.as_secs_f64(),
        outcome.gone
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}

/// One delivery, as it is shown.
#[derive(Debug)]
pub struct DeliveryRow {
    pub id: Uuid,
    pub seq: i64,
    pub job_id: Uuid,
    pub job_state: String,
    pub state: String,
    pub tries: i32,
    pub created_at: jiff_sqlx::Timestamp,
    pub due_at: Option<jiff_sqlx::Timestamp>,
    pub tried_at: Option<jiff_sqlx::Timestamp>,
    pub delivered_at: Option<jiff_sqlx::Timestamp>,
    pub last_status: Option<i32>,
    pub last_error: Option<String>,
}

/// Deliveries of a webhook, newest first, before the one at `before`. Index: webhook_deliveries_of_webhook.
pub async fn list(conn: &mut Conn, webhook: Uuid, before: Option<i64>, limit: i64) -> Result<Vec<DeliveryRow>, Error> {
    let rows = sqlx::query_as!(
        DeliveryRow,
        r#"select id, seq, job_id, job_state, state, tries, created_at, case when state = 'pending' then due_at end as "due_at: _",
                  tried_at, delivered_at, last_status, last_error
             from longshore.webhook_deliveries
            where webhook_id = $1 and seq < coalesce($2, 9223372036854775807)
            order by seq desc
            limit $3"#,
        webhook,
        before,
        limit
    );
    Ok(rows.fetch_all(conn).await?)
}

/// Sets a delivery to be tried from now on as if it were new; none when its webhook has no such delivery.
pub async fn redeliver(conn: &mut Conn, webhook: Uuid, id: Uuid) -> Result<Option<DeliveryRow>, Error> {
    let row = sqlx::query_as!(
        DeliveryRow,
        r#"update longshore.webhook_deliveries
              set state = 'pending', tries = 0, due_at = clock_timestamp(), tries_since = clock_timestamp(), delivered_at = null
            where id = $1 and webhook_id = $2
            returning id, seq, job_id, job_state, state, tries, created_at, due_at as "due_at: _", tried_at, delivered_at,
                      last_status, last_error"#,
        id,
        webhook
    );
    Ok(row.fetch_optional(conn).await?)
}

/// Deletes some that are past retention, and answers how many. Index: webhook_deliveries_by_age.
pub async fn sweep(conn: &mut Conn, retention: Duration) -> Result<u64, Error> {
    let deleted = sqlx::query!(
        "delete from longshore.webhook_deliveries where id = any(array(
             select id from longshore.webhook_deliveries
              where created_at < (select clock_timestamp() - make_interval(secs => $1))
              order by created_at limit $2))",
        retention.as_secs_f64(),
        SWEPT_AT_ONCE
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}
