//! How much there is in a queue of pg-boss, and in which states.

use std::collections::BTreeMap;

use super::{Error, Shape, Tables, Twelve};

/// What is due in a queue: not what is meant for later, nor what waits for other items.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Waiting {
    /// How many, up to the bound that was asked for.
    pub items: i64,
    /// For how long the one that has waited longest has been due.
    pub oldest_secs: Option<f64>,
}

impl Tables<'_> {
    /// What is due in a queue. It counts no further than `bound`.
    pub async fn waiting(&mut self, queue: &str, bound: i64) -> Result<Waiting, Error> {
        let statement = match self.shape {
            Shape::Nine => include_str!("sql/waiting_9.sql"),
            Shape::Twelve(Twelve { blocked: true, .. }) => include_str!("sql/waiting_12.sql"),
            Shape::Ten | Shape::Eleven | Shape::Twelve(_) => include_str!("sql/waiting_10.sql"),
        };
        let (items, oldest_secs) = sqlx::query_as(statement).bind(queue).bind(bound).fetch_one(self.tx.conn()).await?;
        Ok(Waiting { items, oldest_secs })
    }

    /// How many items of a queue are in each state, by pg-boss's own words. It reads all that the queue has kept: for
    /// statistics that somebody asks for, not for every pass.
    pub async fn states(&mut self, queue: &str) -> Result<BTreeMap<String, i64>, Error> {
        let statement = sqlx::query_as("select state::text, count(*) from job where name = $1 group by state");
        let rows: Vec<(String, i64)> = statement.bind(queue).fetch_all(self.tx.conn()).await?;
        Ok(rows.into_iter().collect())
    }

    /// Whether there is such a queue. Until pg-boss 10 a queue comes into being with its first item, and there is no telling.
    pub async fn has_queue(&mut self, queue: &str) -> Result<bool, Error> {
        if self.shape == Shape::Nine {
            return Ok(true);
        }
        let statement = sqlx::query_scalar("select exists (select from queue where name = $1)");
        Ok(statement.bind(queue).fetch_one(self.tx.conn()).await?)
    }
}
