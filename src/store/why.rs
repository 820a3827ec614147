//! Why a job is not running: the database's own answer, in words and with a code.

use crate::id::JobId;

use super::{Conn, Error};

/// Why a job is as it is.
#[derive(Debug)]
pub struct WhyRow {
    pub state: String,
    pub code: String,
    pub message: String,
    pub since: Option<jiff_sqlx::Timestamp>,
    pub until: Option<jiff_sqlx::Timestamp>,
    /// How many jobs would start before it, up to [`super::submit::POSITION_LIMIT`]; of pending jobs only, as the three
    /// below.
    pub queue_position: Option<i64>,
    /// Whose `cap` and `held` these are: `global` or `queue`.
    pub limited_by: Option<String>,
    pub cap: Option<i32>,
    pub held: Option<i64>,
}

/// Asks the function `longshore.why`; none when there is no such job.
pub async fn why(conn: &mut Conn, id: JobId) -> Result<Option<WhyRow>, Error> {
    Ok(sqlx::query_as!(
        WhyRow,
        r#"select state as "state!", code as "code!", message as "message!", since, until, queue_position, limited_by, cap, held
             from longshore.why($1)"#,
        id.0
    )
    .fetch_optional(conn)
    .await?)
}
