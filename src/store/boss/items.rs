//! Items of a queue of pg-boss: taken, kept, and ended as pg-boss itself would.
//!
//! Whoever takes an item makes it active, and counts how often it was tried. Both together are the fence: an item is kept
//! or ended only while it is active and was tried as often as when it was taken. What pg-boss gave to somebody else
//! meanwhile, because it had been active for too long, or a person cancelled, is left as it is.

use std::time::Duration;

use uuid::Uuid;

use super::{Error, Provenance, Shape, Tables, Twelve};

/// The most bytes of an item that are read: what `POST /jobs` takes.
const ITEM_BYTES: i32 = 1024 * 1024;
/// The longest that an item is said to be left active, however long it is: nobody needs to know better.
const KEPT_AT_MOST: Duration = Duration::from_secs(86_400);

/// An item that was taken.
#[derive(Debug, sqlx::FromRow)]
pub struct Taken {
    pub id: Uuid,
    /// What was sent, as JSON; none where nothing was, or too much.
    data: Option<String>,
    bytes: Option<i64>,
    /// How often it was tried before.
    pub tries: i32,
    pub priority: i32,
    due_secs: f64,
    kept_secs: f64,
}

impl Taken {
    /// What was sent, as JSON; `null` where nothing was. An error says how large it is, if that is too much.
    pub fn data(&self) -> Result<&str, String> {
        match (&self.data, self.bytes) {
            (None, Some(bytes)) => Err(format!("its data has {bytes} bytes, and {ITEM_BYTES} are the most")),
            (data, _) => Ok(data.as_deref().unwrap_or("null")),
        }
    }

    /// For how long it has been due.
    pub fn lag(&self) -> Duration {
        secs(self.due_secs)
    }

    /// For how long pg-boss leaves it active.
    pub fn kept(&self) -> Duration {
        secs(self.kept_secs).min(KEPT_AT_MOST)
    }
}

/// An item that was taken before, as it was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hand {
    pub id: Uuid,
    pub tries: i32,
}

impl From<&Taken> for Hand {
    fn from(it: &Taken) -> Self {
        Self { id: it.id, tries: it.tries }
    }
}

impl Tables<'_> {
    /// Takes up to so many items that are due, in pg-boss's order. Where queues let one item of a kind be active at a time,
    /// another one may have been faster: then this is an error that [`Error::is_race`] knows, and nothing was taken.
    pub async fn take(&mut self, queue: &str, most: i64) -> Result<Vec<Taken>, Error> {
        let statement = match self.shape {
            Shape::Nine => include_str!("sql/claim_9.sql"),
            Shape::Ten => include_str!("sql/claim_10.sql"),
            Shape::Twelve(Twelve { blocked: true, .. }) => include_str!("sql/claim_12.sql"),
            Shape::Eleven | Shape::Twelve(_) => include_str!("sql/claim_11.sql"),
        };
        let statement = sqlx::query_as(statement).bind(queue).bind(most).bind(ITEM_BYTES);
        Ok(statement.fetch_all(self.tx.conn()).await?)
    }

    /// Completes items, each with what it put out; answers those that were still ours.
    pub async fn complete(&mut self, queue: &str, items: &[(Hand, serde_json::Value)]) -> Result<Vec<Uuid>, Error> {
        let statement = match self.shape {
            Shape::Nine => include_str!("sql/complete_9.sql"),
            _ => include_str!("sql/complete_10.sql"),
        };
        let (ids, tries, outputs) = columns(items);
        let statement = sqlx::query_scalar(statement).bind(queue).bind(ids).bind(tries).bind(outputs);
        Ok(statement.fetch_all(self.tx.conn()).await?)
    }

    /// Fails items, each with what it put out: they wait for another try while they have one left, and else go where their
    /// queue sends those that failed. Answers those that were still ours.
    pub async fn fail(&mut self, queue: &str, items: &[(Hand, serde_json::Value)]) -> Result<Vec<Uuid>, Error> {
        let (statement, growth) = match self.shape {
            Shape::Nine => (include_str!("sql/fail_9.sql"), None),
            Shape::Ten => (include_str!("sql/fail_10.sql"), Some(10)),
            Shape::Eleven => (include_str!("sql/fail_10.sql"), Some(11)),
            Shape::Twelve(_) => (include_str!("sql/fail_10.sql"), Some(12)),
        };
        let (ids, tries, outputs) = columns(items);
        let mut statement = sqlx::query_as(statement).bind(queue).bind(ids).bind(tries).bind(outputs);
        if let Some(growth) = growth {
            statement = statement.bind(growth);
        }
        let ended: Vec<(Uuid, bool)> = statement.fetch_all(self.tx.conn()).await?;
        let failed: Vec<Uuid> = ended.iter().filter(|it| it.1).map(|it| it.0).collect();
        let dead_letter = match self.shape {
            Shape::Nine => None,
            Shape::Ten => Some(include_str!("sql/dead_letter_10.sql")),
            Shape::Twelve(Twelve { provenance: Provenance::Lineage, .. }) => {
                Some(include_str!("sql/dead_letter_12.sql"))
            }
            Shape::Twelve(Twelve { provenance: Provenance::Origin, .. }) => {
                Some(include_str!("sql/dead_letter_12_origin.sql"))
            }
            Shape::Eleven | Shape::Twelve(_) => Some(include_str!("sql/dead_letter_11.sql")),
        };
        if let Some(statement) = dead_letter
            && !failed.is_empty()
        {
            sqlx::query(statement).bind(queue).bind(failed).execute(self.tx.conn()).await?;
        }
        Ok(ended.into_iter().map(|it| it.0).collect())
    }

    /// Cancels items: they are not tried again. Answers those that were still ours.
    pub async fn cancel(&mut self, queue: &str, items: &[Hand]) -> Result<Vec<Uuid>, Error> {
        let statement = match self.shape {
            Shape::Nine => include_str!("sql/cancel_9.sql"),
            _ => include_str!("sql/cancel_10.sql"),
        };
        let (ids, tries) = hands(items);
        Ok(sqlx::query_scalar(statement).bind(queue).bind(ids).bind(tries).fetch_all(self.tx.conn()).await?)
    }

    /// Keeps items from expiring; answers those that are still ours, and for how long pg-boss leaves each active.
    pub async fn keep(&mut self, queue: &str, items: &[Hand]) -> Result<Vec<(Uuid, Duration)>, Error> {
        let statement = match self.shape {
            Shape::Nine => include_str!("sql/touch_9.sql"),
            Shape::Ten => include_str!("sql/touch_10.sql"),
            Shape::Eleven => include_str!("sql/touch_11.sql"),
            Shape::Twelve(_) => include_str!("sql/touch_12.sql"),
        };
        let (ids, tries) = hands(items);
        let rows: Vec<(Uuid, f64)> =
            sqlx::query_as(statement).bind(queue).bind(ids).bind(tries).fetch_all(self.tx.conn()).await?;
        Ok(rows.into_iter().map(|(id, kept_secs)| (id, secs(kept_secs).min(KEPT_AT_MOST))).collect())
    }
}

fn hands(items: &[Hand]) -> (Vec<Uuid>, Vec<i32>) {
    items.iter().map(|it| (it.id, it.tries)).unzip()
}

fn columns(items: &[(Hand, serde_json::Value)]) -> (Vec<Uuid>, Vec<i32>, Vec<String>) {
    let (ids, tries) = items.iter().map(|it| (it.0.id, it.0.tries)).unzip();
    // What Postgres cannot keep in a JSON text.
    let text = |output: &serde_json::Value| output.to_string().replace("\\u0000", "\\ufffd");
    (ids, tries, items.iter().map(|it| text(&it.1)).collect())
}

/// Whatever somebody else's table says.
fn secs(number: f64) -> Duration {
    Duration::try_from_secs_f64(number.max(0.0)).unwrap_or(Duration::MAX)
}
