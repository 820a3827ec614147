//! What is in the database: the schema, who is alive, and whether what is kept beside the rows is that of the rows.

use crate::{
    run,
    store::{
        Db, Error,
        examine::{self, Schema},
    },
};

use super::{
    database::{failed, given},
    patient::Patient,
    report::Finding,
};

/// Connections that are not of a replica's pools: of a migration, and of the question whether the database is back.
const BESIDES: u32 = 2;

/// Asks the database one thing, and makes findings of the answer.
async fn ask<T>(
    patient: &Patient,
    what: &str,
    ask: impl AsyncFnOnce(&Db) -> Result<T, Error>,
    tell: impl FnOnce(T) -> Vec<Finding>,
) -> Vec<Finding> {
    let db = match given(patient) {
        Ok(db) => db,
        Err(finding) => return vec![finding],
    };
    match ask(&db).await {
        Ok(answer) => tell(answer),
        Err(err) => vec![failed(&err, what)],
    }
}

pub async fn schema(patient: &Patient) -> Vec<Finding> {
    let told = |schema| {
        let later = "a replica that starts brings it up to date; until then nothing can be said of what is in it";
        vec![match schema {
            Schema::Current(at) => Finding::ok(format!("at version {at}, which is this program's")),
            Schema::Missing => {
                Finding::warn("there is no schema longshore yet", later, "`longshore migrate`, or start a replica")
            }
            Schema::Behind { at, target } => Finding::warn(
                format!("at version {at}; this program's is {target}"),
                later,
                "`longshore migrate`, or start a replica of this version",
            ),
            Schema::Ahead { at, target } => Finding::fail(
                format!("at version {at}; this program knows no more than {target}"),
                "this version refuses to start on it",
                "use the newer program; to go back, restore a backup from before the upgrade",
            ),
            Schema::Tampered(at) => Finding::fail(
                format!("version {at} was applied from another file than this program has"),
                "no replica of this version starts on it, for its tables may be others",
                "use the build that applied it; where a row of longshore.schema_migrations was changed by hand, restore it",
            ),
            Schema::Broken(at) => Finding::fail(
                format!("version {at} was begun and did not end"),
                "no replica starts on it",
                format!("look what of it is there, and `delete from longshore.schema_migrations where version = {at}`"),
            ),
        }]
    };
    ask(patient, "the schema's version", async |db| examine::schema(&mut *db.conn().await?).await, told).await
}

pub async fn replicas(patient: &Patient) -> Vec<Finding> {
    let ours = env!("CARGO_PKG_VERSION");
    let told = |replicas: Vec<examine::Replica>| {
        let others: Vec<String> = replicas
            .iter()
            .filter(|it| it.version != ours)
            .map(|it| format!("{} of {}", it.hostname, it.version))
            .collect();
        vec![match (replicas.len(), others.as_slice()) {
            (0, _) => Finding::ok("none is alive"),
            (alive, []) => Finding::ok(format!("{alive} alive, of version {ours}")),
            (alive, others) => Finding::warn(
                format!("{} of {alive} are not of version {ours}: {}", others.len(), others.join(", ")),
                "two neighbouring versions may run side by side while one replaces the other, and no longer",
                "finish the rollout: `kubectl -n NAMESPACE rollout status deployment/NAME`; end what runs elsewhere",
            ),
        }]
    };
    ask(patient, "the replicas", async |db| examine::replicas(&mut *db.conn().await?).await, told).await
}

pub async fn connections(patient: &Patient) -> Vec<Finding> {
    let asked = async |db: &Db| {
        let mut conn = db.conn().await?;
        Ok((examine::room(&mut conn).await?, examine::replicas(&mut conn).await?.len()))
    };
    let of_sources = match patient.config.sources {
        Some(_) => run::SOURCE_CONNECTIONS.1,
        None => run::SOURCE_CONNECTIONS.0,
    };
    let each = patient.config.database_connections + run::LOOP_CONNECTIONS + run::HEART_CONNECTIONS + of_sources;
    let told = |(room, alive): (examine::Room, usize)| {
        let replicas = u32::try_from(alive).unwrap_or(u32::MAX).max(1);
        let wanted = i64::from(each) * i64::from(replicas) + i64::from(BESIDES);
        let limits = [
            ("the server", i64::from(room.server), "`alter system set max_connections = N`, and restart the server"),
            ("the role", i64::from(room.role), "`alter role ROLE connection limit -1`"),
            ("the database", i64::from(room.database), "`alter database NAME connection limit -1`"),
        ];
        let sum = format!("{replicas} × {each} and {BESIDES}");
        let tight = limits.iter().find(|(_, limit, _)| (0..wanted).contains(limit));
        vec![match tight {
            Some((whose, limit, remedy)) => Finding::warn(
                format!("{whose} allows {limit} connections, and the replicas may open {wanted} ({sum})"),
                "under load they wait for each other, and requests are answered with 503",
                format!("{remedy}; or lower --database-connections"),
            ),
            None if room.others + wanted > i64::from(room.server) => Finding::warn(
                format!(
                    "{} connections are others', of {}, and the replicas may open {wanted} ({sum})",
                    room.others, room.server
                ),
                "what is left may not be enough under load",
                "`alter system set max_connections = N`, and restart the server; or lower --database-connections",
            ),
            None => Finding::ok(format!(
                "room for {}, of which {} are taken; the replicas may open {wanted} ({sum})",
                room.server, room.used
            )),
        }]
    };
    ask(patient, "the limits of connections", asked, told).await
}

pub async fn held(patient: &Patient) -> Vec<Finding> {
    let told = |it: examine::Held| {
        vec![match it.said == it.counted && it.queues.is_empty() {
            true => Finding::ok(format!("slots held: {}, as the rows say", it.counted)),
            false => {
                let of =
                    if it.queues.is_empty() { String::new() } else { format!("; of queues: {}", it.queues.join(", ")) };
                Finding::fail(
                    format!("the number of held slots is {}, and that of the rows {}{of}", it.said, it.counted),
                    "too many jobs may start, or too few; only a trigger that was switched off can do that",
                    "`select longshore.check_held()` puts it right, and each sweep does; find out who changed rows, or restored a part",
                )
            }
        }]
    };
    ask(patient, "the held slots", async |db| examine::held(&mut *db.conn().await?).await, told).await
}

pub async fn partitions(patient: &Patient) -> Vec<Finding> {
    let told = |missing: Vec<String>| {
        vec![match missing.is_empty() {
            true => Finding::ok("there is one for today of each table"),
            false => Finding::warn(
                format!("there is none for now of: {}", missing.join(", ")),
                "nothing is refused, but rows go to the default partitions, which age out slowly",
                "let a replica run, which makes them within an hour; `select * from longshore.sweep(2592000)` makes one a call",
            ),
        }]
    };
    let asked = async |db: &Db| examine::without_partition(&mut *db.conn().await?).await;
    ask(patient, "the partitions", asked, told).await
}

pub async fn pinned(patient: &Patient) -> Vec<Finding> {
    let told = |pinned: Vec<String>| match pinned.is_empty() {
        true => vec![Finding::ok("none has been open for an hour")],
        false => pinned
            .into_iter()
            .map(|what| {
                let why = "vacuum clears nothing away that is newer, and claims get slower and slower";
                Finding::warn(what, why, "`select pg_terminate_backend(PID)`, or `rollback prepared 'NAME'`")
            })
            .collect(),
    };
    ask(patient, "open transactions", async |db| examine::pinned(&mut *db.conn().await?).await, told).await
}
