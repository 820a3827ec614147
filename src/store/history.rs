//! History that ages out: partitions are made before they are needed, and dropped when they are past their retention.

use std::time::Duration;

use crate::effects::{self, Effect};

use super::{Conn, Error};

/// One thing that a sweep did: `made`, `dropped` or `deleted from`, and which table.
#[derive(Debug)]
pub struct Swept {
    pub did: String,
    pub what: String,
}

/// Makes the partitions of the next while, and drops one that is past `retention` (zero keeps everything). To be called
/// again until it did nothing; of several replicas that call it at once, one does it.
pub async fn sweep(conn: &mut Conn, retention: Duration) -> Result<Vec<Swept>, Error> {
    effects::at(Effect::Sweep, async {
        Ok(sqlx::query_as!(
            Swept,
            r#"select did as "did!", what as "what!" from longshore.sweep($1)"#,
            retention.as_secs_f64()
        )
        .fetch_all(conn)
        .await?)
    })
    .await
}
