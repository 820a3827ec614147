//! What is on record of attempts, whatever became of their jobs.

use uuid::Uuid;

use crate::id::{AttemptNo, JobId, KubeUid, Nonce, kube_name};

use super::{Conn, Error};

/// What is on record of an attempt, for a Kubernetes Job that no holder accounts for.
#[derive(Debug, Clone)]
pub struct Record {
    pub job: JobId,
    pub attempt: AttemptNo,
    pub nonce: Nonce,
    /// The one name that its Kubernetes Job can have.
    pub kube_name: String,
    /// The Kubernetes Job that was on record, if one was.
    pub uid: Option<KubeUid>,
    /// Whether the job is still at this attempt and holds its slot.
    pub current: bool,
    /// How long ago its outcome was recorded, in seconds, by the database's clock.
    pub finished_secs: Option<f64>,
    /// Whether the end of its log is still to be kept.
    pub log_wanted: bool,
    /// The pod and the container that tell most of it, if any was seen.
    pub pod: Option<String>,
    pub container: Option<String>,
}

/// What a Kubernetes Job, or a pod that it left behind, says of the attempt that it is of, as far as it can be read.
#[derive(Debug, Clone)]
pub struct Marks {
    pub job: Option<JobId>,
    pub attempt: Option<AttemptNo>,
    pub nonce: Option<Nonce>,
    /// Of the Job.
    pub uid: KubeUid,
}

impl Marks {
    pub fn of(attempt: Option<(JobId, AttemptNo)>, nonce: Option<Nonce>, uid: &KubeUid) -> Self {
        Self { job: attempt.map(|it| it.0), attempt: attempt.map(|it| it.1), nonce, uid: uid.clone() }
    }
}

/// The places of those in `marks` that no attempt accounts for: not the one that they name, with its nonce, nor, should
/// they have been edited, the one that has this Job on record.
pub async fn unknown(conn: &mut Conn, marks: &[Marks]) -> Result<Vec<usize>, Error> {
    let jobs: Vec<Option<Uuid>> = marks.iter().map(|it| it.job.map(|id| id.0)).collect();
    let attempts: Vec<Option<AttemptNo>> = marks.iter().map(|it| it.attempt).collect();
    let nonces: Vec<Option<Uuid>> = marks.iter().map(|it| it.nonce.map(|nonce| nonce.0)).collect();
    let uids: Vec<String> = marks.iter().map(|it| it.uid.0.clone()).collect();
    let places = sqlx::query_scalar!(
        r#"select m.place as "place!"
             from unnest($1::uuid[], $2::integer[], $3::uuid[], $4::text[])
                  with ordinality m (job, attempt, nonce, uid, place)
            where not exists (select from longshore.attempts a
                               where a.job_id = m.job
                                 and (a.attempt = m.attempt and a.nonce = m.nonce or a.kube_uid = m.uid))
              and not exists (select from longshore.jobs_live j where j.kube_uid = m.uid)
            order by m.place"#,
        &jobs as _,
        &attempts as _,
        &nonces as _,
        &uids
    );
    let places = places.fetch_all(conn).await?;
    Ok(places.into_iter().filter_map(|it| usize::try_from(it - 1).ok()).collect())
}

/// The records of every attempt of `ids`.
pub async fn of(conn: &mut Conn, ids: &[JobId]) -> Result<Vec<Record>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|it| it.0).collect();
    let rows = sqlx::query!(
        r#"select a.job_id, a.attempt, j.name, a.nonce, a.kube_uid,
                  a.attempt = j.attempt and j.state in ('starting', 'running', 'stopping') as "current!",
                  extract(epoch from clock_timestamp() - a.finished_at)::float8 as finished_secs,
                  coalesce(a.log = 'wanted', false) as "log_wanted!", a.pod, a.container
             from unnest($1::uuid[]) asked (id)
             join longshore.attempts a on a.job_id = asked.id
             join longshore.jobs j on j.id = asked.id"#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Record {
            job: JobId(row.job_id),
            attempt: row.attempt,
            nonce: Nonce(row.nonce),
            kube_name: kube_name(&row.name, JobId(row.job_id), row.attempt),
            uid: row.kube_uid.map(KubeUid),
            current: row.current,
            finished_secs: row.finished_secs,
            log_wanted: row.log_wanted,
            pod: row.pod,
            container: row.container,
        })
        .collect())
}
