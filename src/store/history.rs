//! History that ages out: partitions are made before they are needed, and dropped when they are past their retention.

use std::time::Duration;

use crate::effects::{self, Effect};

use super::{Conn, Error};

/// One thing that a sweep did: `made`, `dropped` or `deleted`, and which table, or of which it deleted rows.
#[derive(Debug)]
pub struct Swept {
    pub did: String,
    pub what: String,
}

/// Does one thing that is to be done so that history goes after `retention` (zero keeps everything), and answers what; none
/// when there is nothing to do, or somebody else does it, or uses it just now.
pub async fn sweep(conn: &mut Conn, retention: Duration) -> Result<Option<Swept>, Error> {
    effects::at(Effect::Sweep, async {
        Ok(sqlx::query_as!(
            Swept,
            r#"select did as "did!", what as "what!" from longshore.sweep($1)"#,
            retention.as_secs_f64()
        )
        .fetch_optional(conn)
        .await?)
    })
    .await
}
