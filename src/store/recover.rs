//! Bringing the rows up to a cluster that is ahead of them, as after a restore: in one transaction that keeps claims away,
//! along the edges that any job takes, each told in its history as `recovered`.

use uuid::Uuid;

use crate::{
    id::{AttemptNo, JobId, KubeUid, Nonce},
    spec::Spec,
};

use super::{Conn, Error, claims::NOBODY};

/// What the rows know of a job.
#[derive(Debug, Clone)]
pub struct Known {
    pub job: JobId,
    pub version: i64,
    pub name: String,
    pub namespace: String,
    pub state: String,
    /// The current attempt, or the last.
    pub attempt: AttemptNo,
    pub spec_hash: Option<String>,
}

/// Those of `ids` that have a row.
pub async fn known(conn: &mut Conn, ids: &[JobId]) -> Result<Vec<Known>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|it| it.0).collect();
    let rows = sqlx::query!(
        r#"select j.id, j.version, j.name, j.namespace, j.state, j.attempt,
                  (select s.spec_hash from longshore.job_specs s where s.job_id = j.id) as spec_hash
             from unnest($1::uuid[]) asked (id) join longshore.jobs j on j.id = asked.id"#,
        &ids
    );
    let rows = rows.fetch_all(conn).await?.into_iter();
    Ok(rows
        .map(|row| Known {
            job: JobId(row.id),
            version: row.version,
            name: row.name,
            namespace: row.namespace,
            state: row.state,
            attempt: row.attempt,
            spec_hash: row.spec_hash,
        })
        .collect())
}

/// Keeps claims away until the transaction ends.
pub async fn hold_claims(conn: &mut Conn) -> Result<(), Error> {
    sqlx::query!("select from longshore.limits where name = 'global' for update").fetch_one(conn).await?;
    Ok(())
}

/// The Kubernetes Job of an attempt that no row knows.
#[derive(Debug, Clone)]
pub struct Found {
    pub job: JobId,
    pub attempt: AttemptNo,
    pub nonce: Nonce,
    pub namespace: String,
    pub kube_name: String,
    pub uid: KubeUid,
}

/// Makes this the current attempt of a job that waits, or that holds a slot for an earlier attempt, which counts as failed:
/// the cluster went on without it. Answers whether the row was still as it was read.
pub async fn adopt(conn: &mut Conn, found: &Found, version: i64) -> Result<bool, Error> {
    // What it is ahead by depends on the row: each of these moves it on if it is there, and the last one tells.
    let left = sqlx::query_file_scalar!("src/store/sql/leave_attempt.sql", found.job.0, version, found.attempt);
    let version = version + left.fetch_one(&mut *conn).await?;
    let due = sqlx::query_file_scalar!("src/store/sql/end_waiting.sql", found.job.0, version);
    let version = version + due.fetch_one(&mut *conn).await?;
    let adopted = sqlx::query_file_scalar!(
        "src/store/sql/adopt_attempt.sql",
        found.job.0,
        version,
        found.attempt,
        found.nonce.0,
        found.kube_name,
        found.uid.0,
        NOBODY
    );
    Ok(adopted.fetch_one(conn).await? == 1)
}

/// Makes a row for a job that has none, with what its Kubernetes Job tells of it, and adopts that.
pub async fn rebuild(
    conn: &mut Conn,
    found: &Found,
    name: &str,
    queue: &str,
    spec: &Spec,
    spec_hash: &str,
) -> Result<bool, Error> {
    let (text, _) = spec.text_and_hash();
    let version = sqlx::query_file_scalar!(
        "src/store/sql/rebuild_job.sql",
        found.job.0,
        name,
        queue,
        found.namespace,
        text,
        spec_hash
    );
    let version = version.fetch_one(&mut *conn).await?;
    adopt(conn, found, version).await
}
