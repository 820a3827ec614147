//! Jobs that hold a slot, as rows.

use uuid::Uuid;

use crate::{
    id::{AttemptNo, JobId, KubeUid, Nonce, ReplicaId, kube_name},
    lifecycle::{Claimed, Created, Ending, Reason, Running, StateName, Stopping, WaitCode},
    retry::{Policy, Tries},
};

use super::{Conn, Error};

/// A job that was in state `S` when its row was read. Only this room can make one, so holding one proves the reading.
#[derive(Debug, Clone)]
pub struct Job<S> {
    head: Box<Head>,
    state: S,
}

/// What every job has, whatever its state.
#[derive(Debug, Clone)]
pub struct Head {
    pub id: JobId,
    version: i64,
    pub attempt: AttemptNo,
    pub name: String,
    pub namespace: String,
    pub queue: String,
    pub cancel_requested: bool,
    pub policy: Policy,
    /// How many earlier attempts count as failed, and how many the cluster ended.
    pub failed_attempts: i32,
    pub interruptions: i32,
    /// How long ago the attempt took its slot, in seconds, by the database's clock; so too the spans below.
    pub held_secs: f64,
    /// For how long it could have started: its Kubernetes Job exists and is not suspended.
    pub start_secs: f64,
    /// For how long a container of it runs.
    pub run_secs: f64,
    /// What it is on record to wait for, and for how long.
    pub waits: Option<(WaitCode, f64)>,
}

impl Head {
    /// What has happened to it so far, for the rule about retries.
    pub fn tries(&self) -> Tries {
        Tries {
            job: self.id,
            attempt: self.attempt,
            failed: self.failed_attempts,
            interruptions: self.interruptions,
            cancel_requested: self.cancel_requested,
        }
    }

    /// The name of the Kubernetes Job of its current attempt.
    pub fn kube_name(&self) -> String {
        kube_name(&self.name, self.id, self.attempt)
    }
}

impl<S> Job<S> {
    pub fn head(&self) -> &Head {
        &self.head
    }

    pub fn id(&self) -> JobId {
        self.head.id
    }

    pub(super) fn version(&self) -> i64 {
        self.head.version
    }

    pub fn state(&self) -> &S {
        &self.state
    }

    /// As its row is after a move.
    pub(super) fn moved<To>(self, to: To, version: i64) -> Job<To> {
        let mut head = self.head;
        head.version = version;
        Job { head, state: to }
    }
}

/// A job that holds a slot, in whichever state its row says.
#[derive(Debug, Clone)]
pub enum Holder {
    Claimed(Job<Claimed>),
    Created(Job<Created>),
    Running(Job<Running>),
    Stopping(Job<Stopping>),
}

impl Holder {
    pub fn head(&self) -> &Head {
        match self {
            Self::Claimed(job) => &job.head,
            Self::Created(job) => &job.head,
            Self::Running(job) => &job.head,
            Self::Stopping(job) => &job.head,
        }
    }

    /// The uid of its Kubernetes Job, once that is known to exist.
    pub fn uid(&self) -> Option<&KubeUid> {
        match self {
            Self::Claimed(_) => None,
            Self::Created(job) => Some(&job.state.uid),
            Self::Running(job) => Some(&job.state.uid),
            Self::Stopping(job) => Some(&job.state.uid),
        }
    }

    pub fn nonce(&self) -> Nonce {
        match self {
            Self::Claimed(job) => job.state.nonce,
            Self::Created(job) => job.state.nonce,
            Self::Running(job) => job.state.nonce,
            Self::Stopping(job) => job.state.nonce,
        }
    }
}

/// Every job that holds a slot, in the order of their ids.
pub async fn holding(conn: &mut Conn) -> Result<Vec<Holder>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id, version, attempt, name, namespace, queue, state, nonce as "nonce!", replica, kube_uid, reason, message,
                  cancel_requested_at is not null as "cancel_requested!", policy, failed_attempts, interruptions, wait_code,
                  extract(epoch from clock_timestamp() - claimed_at)::float8 as "held_secs!",
                  extract(epoch from clock_timestamp() - start_clock_at)::float8 as start_secs,
                  extract(epoch from clock_timestamp() - started_at)::float8 as run_secs,
                  extract(epoch from clock_timestamp() - wait_since)::float8 as wait_secs
             from longshore.jobs_live
            where state in ('starting', 'running', 'stopping')
            order by id"#
    )
    .fetch_all(conn)
    .await?;
    Ok(readable(rows))
}

/// Those of `ids`, and of the jobs whose cancelling is asked for, that hold a slot.
pub async fn holding_among(conn: &mut Conn, ids: &[JobId]) -> Result<Vec<Holder>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|it| it.0).collect();
    // The state is asked for in words that the partial indexes do not know: with stale statistics the planner would walk all
    // holders through one of them instead of looking up the ids.
    let rows = sqlx::query_as!(
        Row,
        r#"select j.id, version, attempt, name, namespace, queue, state, nonce as "nonce!", replica, kube_uid, reason, message,
                  cancel_requested_at is not null as "cancel_requested!", policy, failed_attempts, interruptions, wait_code,
                  extract(epoch from clock_timestamp() - claimed_at)::float8 as "held_secs!",
                  extract(epoch from clock_timestamp() - start_clock_at)::float8 as start_secs,
                  extract(epoch from clock_timestamp() - started_at)::float8 as run_secs,
                  extract(epoch from clock_timestamp() - wait_since)::float8 as wait_secs
             from (select unnest($1::uuid[]) as id
                   union
                   select id from longshore.jobs_live
                    where cancel_requested_at is not null and state in ('starting', 'running')) asked
             join longshore.jobs_live j on j.id = asked.id and j.state || '' in ('starting', 'running', 'stopping')
            order by j.id"#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(readable(rows))
}

/// Leaves out rows that this version cannot read, loudly: one of them must not stop the passes over all others.
fn readable(rows: Vec<Row>) -> Vec<Holder> {
    let mut holders = Vec::with_capacity(rows.len());
    for row in rows {
        let id = JobId(row.id);
        match row.into_holder() {
            Ok(holder) => holders.push(holder),
            Err(err) => tracing::error!(job = %id, error = %err, "left a job alone"),
        }
    }
    holders
}

/// A holder's row as it is stored.
pub(super) struct Row {
    pub id: Uuid,
    pub version: i64,
    pub attempt: i32,
    pub name: String,
    pub namespace: String,
    pub queue: String,
    pub state: String,
    pub nonce: Uuid,
    pub replica: Option<Uuid>,
    pub kube_uid: Option<String>,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub cancel_requested: bool,
    pub policy: Option<serde_json::Value>,
    pub failed_attempts: i32,
    pub interruptions: i32,
    pub wait_code: Option<String>,
    pub held_secs: f64,
    pub start_secs: Option<f64>,
    pub run_secs: Option<f64>,
    pub wait_secs: Option<f64>,
}

impl Row {
    fn into_holder(self) -> Result<Holder, Error> {
        let nonce = Nonce(self.nonce);
        let unknown = |what: String| Error::Unknown { table: "jobs", what: format!("{what} of {}", self.id) };
        let policy = self.policy.map(serde_json::from_value).transpose();
        let policy = policy.map_err(|err| unknown(format!("a policy that cannot be read ({err})")))?;
        // What it waits for is for people to read, and is written anew when it changes.
        let waits = self.wait_code.as_deref().and_then(WaitCode::from_name).zip(self.wait_secs);
        let head = Box::new(Head {
            id: JobId(self.id),
            version: self.version,
            attempt: self.attempt,
            name: self.name,
            namespace: self.namespace,
            queue: self.queue,
            cancel_requested: self.cancel_requested,
            policy: policy.unwrap_or_default(),
            failed_attempts: self.failed_attempts,
            interruptions: self.interruptions,
            held_secs: self.held_secs,
            start_secs: self.start_secs.unwrap_or(0.0),
            run_secs: self.run_secs.unwrap_or(0.0),
            waits,
        });
        match (StateName::from_name(&self.state), self.replica, self.kube_uid.map(KubeUid)) {
            (Some(StateName::Starting), Some(replica), _) => {
                Ok(Holder::Claimed(Job { head, state: Claimed { replica: ReplicaId(replica), nonce } }))
            }
            (Some(StateName::Starting), None, Some(uid)) => {
                Ok(Holder::Created(Job { head, state: Created { nonce, uid } }))
            }
            (Some(StateName::Running), _, Some(uid)) => {
                Ok(Holder::Running(Job { head, state: Running { nonce, uid } }))
            }
            (Some(StateName::Stopping), _, Some(uid)) => {
                let name = self.reason.unwrap_or_default();
                let reason = Reason::from_name(&name).ok_or_else(|| unknown(format!("reason {name:?}")))?;
                let ending = Ending::new(reason, self.message.unwrap_or_default());
                Ok(Holder::Stopping(Job { head, state: Stopping { nonce, uid, ending } }))
            }
            _ => Err(unknown(format!("state {:?}", self.state))),
        }
    }

    /// For statements that return claimed rows only.
    pub(super) fn into_claimed(self) -> Result<Job<Claimed>, Error> {
        let id = self.id;
        match self.into_holder()? {
            Holder::Claimed(job) => Ok(job),
            _ => Err(Error::Unknown { table: "jobs", what: format!("a state that is not claimed of {id}") }),
        }
    }
}

/// Rows that a test reads, without a database.
#[cfg(test)]
pub(crate) fn read_row(
    state: StateName,
    created: bool,
    cancel_requested: bool,
    secs: f64,
    waits: Option<WaitCode>,
) -> Holder {
    let ending = (state == StateName::Stopping).then(|| Reason::Cancelled.name().to_owned());
    let row = Row {
        id: Uuid::nil(),
        version: 1,
        attempt: 1,
        name: "job".into(),
        namespace: "default".into(),
        queue: "default".into(),
        state: state.name().into(),
        nonce: Uuid::nil(),
        replica: (!created).then(Uuid::nil),
        kube_uid: created.then(|| "uid".into()),
        message: ending.clone(),
        reason: ending,
        cancel_requested,
        policy: Some(serde_json::json!({"timeout_secs": 50.0, "start_timeout_secs": 50.0})),
        failed_attempts: 0,
        interruptions: 0,
        wait_code: waits.map(|it| it.name().into()),
        held_secs: secs,
        start_secs: Some(secs),
        run_secs: Some(secs),
        wait_secs: waits.map(|_| secs),
    };
    row.into_holder().expect("a row that the constraints allow")
}
