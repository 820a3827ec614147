//! Bringing the schema up to date: by `longshore migrate`, and by every replica when it starts.
//!
//! The migrator holds an advisory lock of the session meanwhile, so that of several replicas that start at once one
//! migrates and the others wait for it; and each file is applied in a transaction of its own, so that a migrator that
//! dies half-way has done whole files only.
//!
//! Whoever wants a table that a migration waits for waits behind it, readers too. So it waits for half a second only, stands
//! back, and comes again: one transaction that somebody forgot keeps the migration out, and nobody else.

use std::time::Duration;

use rand::RngExt;
use sqlx::{
    Connection,
    migrate::{Migrate, MigrateError},
};

use super::{
    Conn, Db, Error,
    examine::{self, Schema},
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Half of what our statements wait for a lock, so that none of those that wait behind a migration is refused for it.
const LOCK_TIMEOUT_MILLIS: u32 = 500;
/// How long a migration that could not have its locks stands back, once to twice: others have most of the time.
const STAND_BACK: Duration = Duration::from_millis(1_500);

/// Applies what is missing. Refuses a database that is ahead of this version.
pub async fn run(db: &Db) -> Result<(), Error> {
    let mut conn = db.direct().await?;
    // Postgres asks for the right to create a schema even where `if not exists` has nothing to do.
    if matches!(examine::schema(&mut conn).await?, Schema::Current(_)) {
        return Ok(conn.close().await?);
    }
    // The migrator takes it once more. For this lock it waits as long as it takes: nobody else waits for that.
    conn.lock().await.map_err(explained)?;
    let bound = format!("set lock_timeout = {LOCK_TIMEOUT_MILLIS}");
    sqlx::query(sqlx::AssertSqlSafe(bound)).execute(&mut conn).await?;
    loop {
        match MIGRATIONS.run(&mut conn).await.map_err(explained) {
            Ok(()) => return Ok(conn.close().await?),
            Err(err) if err.code().as_deref() == Some("55P03") => {
                let waits_for = transactions(&mut conn).await?.join(", ");
                tracing::warn!(waits_for, "a migration cannot have its locks yet; trying again");
                let pause = STAND_BACK.mul_f64(rand::rng().random_range(1.0..2.0));
                tokio::time::sleep(pause).await;
            }
            Err(err) => return Err(err),
        }
    }
}

fn explained(err: MigrateError) -> Error {
    match err {
        MigrateError::Execute(err) => err.into(),
        // What the database says of itself: it is away, or busy, or read-only. The rest is of the migration.
        MigrateError::ExecuteMigration(err, version) => match Error::from(err) {
            Error::Statement(err) => Error::Migrate(MigrateError::ExecuteMigration(err, version)),
            err => err,
        },
        err => Error::Migrate(err),
    }
}

/// The transactions that have locks on our tables for longer than we wait for them, the oldest few, in words.
async fn transactions(conn: &mut Conn) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!(
        r#"select format('pid %s, open for %s s', pid, extract(epoch from clock_timestamp() - xact_start)::int) as "what!"
             from pg_stat_activity
            where pid <> pg_backend_pid() and xact_start < clock_timestamp() - make_interval(secs => $1)
              and pid in (select l.pid from pg_locks l
                            join pg_class c on c.oid = l.relation
                            join pg_namespace n on n.oid = c.relnamespace
                           where l.granted and n.nspname = 'longshore'
                             and l.database = (select oid from pg_database where datname = current_database()))
            order by xact_start limit 5"#,
        f64::from(LOCK_TIMEOUT_MILLIS) / 1000.0
    )
    .fetch_all(conn)
    .await?)
}

/// The version that [`run`] brings the schema to.
pub fn target() -> i64 {
    MIGRATIONS.iter().map(|it| it.version).max().unwrap_or(0)
}

/// What was applied (version, whether it ended well, checksum of its file), in order, compared with what [`run`] applies.
pub fn compare(applied: &[(i64, bool, Vec<u8>)]) -> Schema {
    let (at, target) = (applied.iter().map(|it| it.0).max().unwrap_or(0), target());
    for (version, success, checksum) in applied {
        let ours = MIGRATIONS.iter().find(|it| it.version == *version);
        match ours {
            _ if !success => return Schema::Broken(*version),
            None => return Schema::Ahead { at, target },
            Some(ours) if *ours.checksum != **checksum => return Schema::Tampered(*version),
            Some(_) => {}
        }
    }
    match applied.len() == MIGRATIONS.iter().count() {
        true => Schema::Current(at),
        false if applied.is_empty() => Schema::Missing,
        false => Schema::Behind { at, target },
    }
}

/// Creates the database that `url` names on its server, where it is missing. For servers of our own.
pub async fn create_database(url: &str) -> Result<(), Error> {
    use sqlx::migrate::MigrateDatabase;
    if !sqlx::Postgres::database_exists(url).await? {
        sqlx::Postgres::create_database(url).await?;
    }
    Ok(())
}
