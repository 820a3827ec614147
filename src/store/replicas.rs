//! Replicas and their signs of life, by the database's clock. One heartbeat a replica, however many jobs it answers for.

use crate::{id::ReplicaId, roles::Roles};

use super::{Conn, Error};

/// How long the row of a dead replica is kept, for people who look for it.
const KEEP_DEAD_SECS: f64 = 24.0 * 3600.0;

/// Gives a sign of life. A replica that was taken for dead is alive again; what was taken over from it stays so.
pub async fn beat(
    conn: &mut Conn,
    replica: ReplicaId,
    hostname: &str,
    roles: Roles,
    lease_secs: f64,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into longshore.replicas (id, hostname, version, lease_secs, roles) values ($1, $2, $3, $4, $5)
         on conflict (id) do update set heartbeat_at = clock_timestamp(), lease_secs = excluded.lease_secs",
        replica.0,
        hostname,
        env!("CARGO_PKG_VERSION"),
        lease_secs,
        &roles.names()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The replicas that watch and whose lease has not run out.
pub async fn watchers(conn: &mut Conn) -> Result<Vec<ReplicaId>, Error> {
    let ids = sqlx::query_scalar!(
        "select id from longshore.replicas
         where 'watcher' = any(roles) and heartbeat_at > clock_timestamp() - make_interval(secs => lease_secs)"
    );
    Ok(ids.fetch_all(conn).await?.into_iter().map(ReplicaId).collect())
}

/// Whether another one lives that claims.
pub async fn another_claims(conn: &mut Conn, but: ReplicaId) -> Result<bool, Error> {
    let lives = sqlx::query_scalar!(
        r#"select exists (
             select from longshore.replicas
              where id <> $1 and 'scheduler' = any(roles)
                and heartbeat_at > clock_timestamp() - make_interval(secs => lease_secs)) as "it!""#,
        but.0
    );
    Ok(lives.fetch_one(conn).await?)
}

/// Says goodbye: whatever this replica still answers for may be taken over at once.
pub async fn leave(conn: &mut Conn, replica: ReplicaId) -> Result<(), Error> {
    sqlx::query!("delete from longshore.replicas where id = $1", replica.0).execute(conn).await?;
    Ok(())
}

/// Forgets replicas that died long ago.
pub async fn forget_dead(conn: &mut Conn) -> Result<(), Error> {
    sqlx::query!(
        "delete from longshore.replicas where heartbeat_at < clock_timestamp() - make_interval(secs => $1)",
        KEEP_DEAD_SECS
    )
    .execute(conn)
    .await?;
    Ok(())
}
