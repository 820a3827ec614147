//! The database itself: reached, written to, and set up in a way that Longshore's promises hold.

use std::sync::Arc;

use crate::{
    error::chain,
    store::{
        Db, Error,
        examine::{self, Server},
    },
};

use super::{patient::Patient, report::Finding};

/// The oldest Postgres that is tested, as it numbers itself.
const OLDEST: i32 = 150_000;
/// By how many seconds two clocks may differ without a word, and by how many without a failure. Rows are ordered and aged by
/// the database's clock, ids by the replica's, deadlines of last resort by Kubernetes'.
const CLOCKS_DIFFER: (f64, f64) = (5.0, 60.0);
/// What `statement_timeout` of our sessions is, which nobody else would choose by chance.
const OUR_TIMEOUT: &str = "15s";

/// The database, or the finding that there is none.
pub fn given(patient: &Patient) -> Result<Arc<Db>, Finding> {
    // Every check of it needs `database`, which has told why.
    patient.database.clone().map_err(|_| Finding::because_of("database"))
}

/// What a statement that failed means for a check.
pub fn failed(err: &Error, what: &str) -> Finding {
    match err.code().as_deref() {
        Some("42501") => Finding::because_of("rights"),
        _ => {
            let remedy = "look at the server's log, and try again";
            Finding::fail(format!("{what} could not be read: {}", chain(err)), "nothing is known of it", remedy)
        }
    }
}

pub async fn reached(patient: &Patient) -> Vec<Finding> {
    let db = match &patient.database {
        Ok(db) => db,
        Err(finding) => return vec![finding.clone()],
    };
    let place = db.place();
    let asked = async { examine::server(&mut *db.conn().await?).await };
    vec![match asked.await {
        Ok(it) if it.version_num < OLDEST => Finding::fail(
            format!("Postgres {} at {place}", it.version),
            "Longshore is made for 15 and later",
            "upgrade the server, or use another one",
        ),
        Ok(it) => Finding::ok(format!("Postgres {} at {place}, as {}", it.version, it.role)),
        Err(err) => unreachable(&err, &place),
    }]
}

fn unreachable(err: &Error, place: &str) -> Finding {
    let why = "nothing is accepted, claimed or recorded without it";
    let told = format!("{place}: {}", chain(err));
    let remedy = match err.code().as_deref() {
        Some("28P01" | "28000") => {
            "correct user and password in --database-url or the Secret; \
             `alter role NAME password '…'` sets another, and pg_hba.conf says who may come from where"
        }
        Some("3D000") => "create it: `createdb NAME`, or correct the name at the end of the URL",
        Some("53300") => {
            "raise max_connections, or let fewer clients connect; `select * from pg_stat_activity` has them"
        }
        Some("08P01") => "a pooler is in the way that does not take our settings: connect directly, or in session mode",
        Some("42501") => "grant it: `grant connect on database NAME to ROLE`",
        _ => {
            "see that the server runs, and that the address, the firewall and the TLS settings are right: `psql URL` tells more"
        }
    };
    Finding::fail(told, why, remedy)
}

async fn server(patient: &Patient) -> Result<Server, Finding> {
    let db = given(patient)?;
    let asked = async { examine::server(&mut *db.conn().await?).await };
    asked.await.map_err(|err| failed(&err, "the server's state"))
}

pub async fn writable(patient: &Patient) -> Vec<Finding> {
    let why = "nothing can be accepted or claimed; a replica answers 503 and waits";
    vec![match server(patient).await {
        Err(finding) => finding,
        Ok(it) if it.standby => {
            let remedy =
                "lead the URL to the primary, with `?target_session_attrs=read-write` or the primary's own address";
            Finding::fail("the server is a standby", why, remedy)
        }
        Ok(it) if it.read_only => Finding::fail(
            "transactions are read-only by default",
            why,
            format!(
                "`alter role {0} reset default_transaction_read_only; alter database {1} reset default_transaction_read_only`, \
                 and in postgresql.conf; a full disk may have led to it",
                quoted(&it.role),
                quoted(&it.database)
            ),
        ),
        Ok(_) => Finding::ok("it can be written to"),
    }]
}

/// A name as SQL takes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub async fn session(patient: &Patient) -> Vec<Finding> {
    let db = match given(patient) {
        Ok(db) => db,
        Err(finding) => return vec![finding],
    };
    let remedy = "connect directly, or through a pooler in session mode that takes `options` at the start";
    let settings = async { examine::settings(&mut *db.conn().await?).await };
    let settings = match settings.await {
        Ok(it) => it,
        Err(err) => return vec![failed(&err, "the session's settings")],
    };
    if settings.isolation != "read committed" {
        let found = format!("the isolation is {}, not what was asked for", settings.isolation);
        return vec![Finding::fail(found, "the claim is exact under read committed only", remedy)];
    }
    let pooled = match examine::is_pooled_by_transaction(&db).await {
        Ok(pooled) => pooled,
        // A server that has room for one connection more and not for three says so under `connections`.
        Err(err) => return vec![failed(&err, "whether a pooler is between")],
    };
    if pooled {
        return vec![Finding::fail(
            "two connections are one at the server: a pooler in transaction mode is between",
            "LISTEN hears nothing, and the lock of a migration is not held",
            remedy,
        )];
    }
    vec![match settings.statement_timeout.as_str() {
        OUR_TIMEOUT => Finding::ok("settings hold, and connections are direct"),
        other => Finding::warn(
            format!("statement_timeout is {other}, not the {OUR_TIMEOUT} that was asked for"),
            "a pooler drops our settings: slow plans, and locks that are held for long",
            remedy,
        ),
    }]
}

pub async fn settings(patient: &Patient) -> Vec<Finding> {
    let db = match given(patient) {
        Ok(db) => db,
        Err(finding) => return vec![finding],
    };
    let asked = async { examine::settings(&mut *db.conn().await?).await };
    let it = match asked.await {
        Ok(it) => it,
        Err(err) => return vec![failed(&err, "the settings")],
    };
    let mut found = Vec::new();
    let mut wrong = |found_it: String, why: &str, remedy: &str| found.push(Finding::warn(found_it, why, remedy));
    if it.synchronous_commit == "off" {
        let remedy = "`alter system set synchronous_commit = on; select pg_reload_conf()`, or for the role alone";
        wrong("synchronous_commit is off".into(), "a crash of the server loses jobs that were accepted", remedy);
    }
    for (name, on) in [("fsync", it.fsync), ("full_page_writes", it.full_page_writes)] {
        if !on {
            let remedy = format!("`alter system set {name} = on; select pg_reload_conf()`");
            wrong(format!("{name} is off"), "a crash of the machine may destroy the whole database", &remedy);
        }
    }
    for (name, millis) in [("idle_session_timeout", it.idle_session_ms), ("transaction_timeout", it.transaction_ms)] {
        if millis > 0 {
            let remedy = format!("`alter role ROLE set {name} = 0`, for Longshore's role");
            let why = "connections that wait for a signal, or migrate, are ended, and made anew again and again";
            wrong(format!("{name} is {millis} ms"), why, &remedy);
        }
    }
    if found.is_empty() {
        found.push(Finding::ok("none that would lose jobs or end sessions"));
    }
    found
}

pub async fn clock(patient: &Patient) -> Vec<Finding> {
    vec![match server(patient).await {
        Ok(it) => clocks("the database's", it.ahead),
        Err(finding) => finding,
    }]
}

/// `ahead`: by how many seconds, and how many of them the question itself may have taken.
pub fn clocks(whose: &str, (ahead, unsure): (f64, f64)) -> Finding {
    let (away, direction) = (ahead.abs(), if ahead < 0.0 { "behind" } else { "ahead of" });
    let least = (away - unsure).max(0.0);
    let found = format!("{whose} clock is {away:.1} s {direction} this machine's");
    let why = "deadlines, leases and the age of history go by several clocks at once";
    let remedy = "`timedatectl set-ntp true` on both machines; `chronyc tracking` tells which one is wrong";
    match () {
        () if least > CLOCKS_DIFFER.1 => Finding::fail(found, why, remedy),
        () if least > CLOCKS_DIFFER.0 => Finding::warn(found, why, remedy),
        () => Finding::ok(format!("{whose} clock and this machine's agree within {:.1} s", away + unsure)),
    }
}

pub async fn rights(patient: &Patient) -> Vec<Finding> {
    let (db, it) = match (given(patient), server(patient).await) {
        (Ok(db), Ok(it)) => (db, it),
        (Err(finding), _) | (_, Err(finding)) => return vec![finding],
    };
    let asked = async { examine::rights(&mut *db.conn().await?).await };
    let rights = match asked.await {
        Ok(rights) => rights,
        Err(err) => return vec![failed(&err, "the role's rights")],
    };
    let role = quoted(&it.role);
    vec![if !rights.schema_is_there && !rights.may_create_schema {
        Finding::fail(
            format!("{} may not create the schema longshore in {}", it.role, it.database),
            "the schema is made by the first replica, or by `longshore migrate`",
            format!("`grant create on database {} to {role}`", quoted(&it.database)),
        )
    } else if !rights.foreign.is_empty() {
        let owner = rights.owner.unwrap_or_default();
        Finding::fail(
            format!(
                "{} does not own all of the schema longshore: {} and perhaps more",
                it.role,
                rights.foreign.join(", ")
            ),
            "replicas make and drop partitions of its tables, and bring them up to date",
            format!("`grant {} to {role}`, or connect as {owner}", quoted(&owner)),
        )
    } else {
        Finding::ok(format!("{} may do what migrations and partitions need", it.role))
    }]
}

#[cfg(test)]
mod tests {
    use super::{super::report::Status, *};

    #[test]
    fn clocks_that_differ_are_told_with_the_way_and_not_for_the_time_that_the_question_took() {
        let told = |ahead, unsure| clocks("its", (ahead, unsure));
        assert_eq!([told(0.2, 0.1), told(-5.4, 0.5), told(30.0, 28.0)].map(|it| it.status), [Status::Ok; 3]);
        assert_eq!((told(6.0, 0.5).status, told(-61.0, 0.5).status), (Status::Warn, Status::Fail));
        assert!(told(-61.0, 0.5).found.contains("61.0 s behind this machine's"), "{:?}", told(-61.0, 0.5));
        assert!(told(6.0, 0.5).remedy.is_some_and(|it| it.contains("ntp")));
    }
}
