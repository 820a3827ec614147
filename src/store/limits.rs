//! The installation's name, and the cap.

use super::{Conn, Error};

/// What marks every Kubernetes object of this installation.
pub async fn instance(conn: &mut Conn) -> Result<String, Error> {
    Ok(sqlx::query_scalar!("select name from longshore.instance").fetch_one(conn).await?)
}

/// The global cap.
pub async fn cap(conn: &mut Conn) -> Result<i32, Error> {
    Ok(sqlx::query_scalar!("select cap from longshore.limits where name = 'global'").fetch_one(conn).await?)
}

/// Writes the global cap that a flag gave, unless the same flag wrote it before: a restart does not undo a change that
/// was made since. Waits for a claim that is under way; whatever claims afterwards obeys the new cap.
pub async fn set_cap_from_flag(conn: &mut Conn, cap: i32) -> Result<(), Error> {
    sqlx::query!(
        "update longshore.limits set cap = $1, cap_from_flag = $1, updated_at = clock_timestamp()
          where name = 'global' and cap_from_flag is distinct from $1",
        cap
    )
    .execute(conn)
    .await?;
    Ok(())
}
