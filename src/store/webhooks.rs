//! Webhooks: who is told when a job has ended.

use std::fmt;

use uuid::Uuid;

use super::{Conn, Error};

/// The most webhooks that there are: each ending is compared with all of them, in the transaction that ends the job.
pub const WEBHOOKS: i64 = 100;
/// How long the secret before the last one signs as well, in seconds: a day, in which receivers change over.
pub const ROTATION_SECS: f64 = 86_400.0;

/// What messages are signed with. Not to be logged or shown, and so without a way to be written.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// For the one who signs, and for the one answer that shows it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A webhook, without its secret.
#[derive(Debug)]
pub struct WebhookRow {
    pub id: Uuid,
    pub url: String,
    pub queue: Option<String>,
    pub states: Vec<String>,
    pub created_at: jiff_sqlx::Timestamp,
    pub disabled_at: Option<jiff_sqlx::Timestamp>,
    pub disabled_why: Option<String>,
}

/// What a new one is to be.
#[derive(Debug)]
pub struct NewWebhook {
    pub url: String,
    pub queue: Option<String>,
    pub states: Vec<String>,
    pub secret: Secret,
}

/// Makes a webhook; none when there are too many.
pub async fn create(conn: &mut Conn, new: &NewWebhook) -> Result<Option<WebhookRow>, Error> {
    Ok(sqlx::query_as!(
        WebhookRow,
        r#"with made as (
               insert into longshore.webhooks (url, queue, states)
               select $1, $2, $3 where (select count(*) from longshore.webhooks) < $5
               returning *
           ), kept as (
               insert into longshore.webhook_secrets (webhook_id, secret) select id, $4 from made
           )
           select id as "id!", url as "url!", queue, states as "states!", created_at as "created_at!: _", disabled_at,
                  disabled_why
             from made"#,
        new.url,
        new.queue,
        &new.states,
        new.secret.reveal(),
        WEBHOOKS
    )
    .fetch_optional(conn)
    .await?)
}

/// All, oldest first.
pub async fn list(conn: &mut Conn) -> Result<Vec<WebhookRow>, Error> {
    let rows = sqlx::query_as!(
        WebhookRow,
        "select id, url, queue, states, created_at, disabled_at, disabled_why from longshore.webhooks order by created_at, id"
    );
    Ok(rows.fetch_all(conn).await?)
}

pub async fn get(conn: &mut Conn, id: Uuid) -> Result<Option<WebhookRow>, Error> {
    let row = sqlx::query_as!(
        WebhookRow,
        "select id, url, queue, states, created_at, disabled_at, disabled_why from longshore.webhooks where id = $1",
        id
    );
    Ok(row.fetch_optional(conn).await?)
}

/// Removes a webhook and its secret; false when there is none. What was to be delivered to it ages out.
pub async fn delete(conn: &mut Conn, id: Uuid) -> Result<bool, Error> {
    let deleted = sqlx::query_scalar!(
        r#"with gone as (
               delete from longshore.webhooks where id = $1 returning id
           ), forgotten as (
               delete from longshore.webhook_secrets where webhook_id = $1
           )
           select count(*) as "gone!" from gone"#,
        id
    );
    Ok(deleted.fetch_one(conn).await? > 0)
}

/// Gives a webhook another secret; the one before signs as well for a while. False when there is no such webhook.
pub async fn rotate(conn: &mut Conn, id: Uuid, secret: &Secret) -> Result<bool, Error> {
    let changed = sqlx::query!(
        "update longshore.webhook_secrets
            set previous = secret, previous_until = clock_timestamp() + make_interval(secs => $3), secret = $2
          where webhook_id = $1",
        id,
        secret.reveal(),
        ROTATION_SECS
    );
    Ok(changed.execute(conn).await?.rows_affected() > 0)
}
