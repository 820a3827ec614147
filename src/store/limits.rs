//! The installation's name, and the cap.

use crate::id::ReplicaId;

use super::{Conn, Error};

/// What marks every Kubernetes object of this installation.
pub async fn instance(conn: &mut Conn) -> Result<String, Error> {
    Ok(sqlx::query_scalar!("select name from longshore.instance").fetch_one(conn).await?)
}

/// The global cap, and how much of it is held.
#[derive(Debug)]
pub struct Global {
    pub cap: i32,
    pub held: i64,
    pub updated_at: jiff_sqlx::Timestamp,
}

pub async fn global(conn: &mut Conn) -> Result<Global, Error> {
    let row = sqlx::query_as!(
        Global,
        "select l.cap, h.jobs as held, l.updated_at from longshore.limits l, longshore.held h where l.name = 'global'"
    );
    Ok(row.fetch_one(conn).await?)
}

/// Sets the global cap. Waits for a claim that is under way; whatever claims afterwards obeys it.
pub async fn set_cap(conn: &mut Conn, cap: i32) -> Result<(), Error> {
    sqlx::query!("update longshore.limits set cap = $1, updated_at = clock_timestamp() where name = 'global'", cap)
        .execute(conn)
        .await?;
    Ok(())
}

/// Writes the global cap that a flag of this replica gave, unless it is nothing new: the flag that was written last said the
/// same, so that a restart does not undo a change that was made since; or another replica that is alive was started with it,
/// so that replicas with different flags do not send the cap to and fro. Waits for a claim that is under way; whatever claims
/// afterwards obeys the new cap. Answers whether the flag that was written last says what this one does.
pub async fn set_cap_from_flag(conn: &mut Conn, replica: ReplicaId, cap: i32) -> Result<bool, Error> {
    sqlx::query!(
        "update longshore.limits set cap = $1, cap_from_flag = $1, updated_at = clock_timestamp()
          where name = 'global' and cap_from_flag is distinct from $1
            and not exists (select from longshore.replicas r
                             where r.cap_from_flag = $1 and r.id <> $2
                               and r.heartbeat_at > clock_timestamp() - make_interval(secs => r.lease_secs))",
        cap,
        replica.0
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("update longshore.replicas set cap_from_flag = $1 where id = $2", cap, replica.0)
        .execute(&mut *conn)
        .await?;
    let stands = sqlx::query_scalar!(
        r#"select cap_from_flag is not distinct from $1 as "stands!" from longshore.limits where name = 'global'"#,
        cap
    );
    Ok(stands.fetch_one(conn).await?)
}
