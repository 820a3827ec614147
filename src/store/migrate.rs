//! Bringing the schema up to date: by `longshore migrate`, and by every replica when it starts.
//!
//! The migrator holds an advisory lock of the session meanwhile, so that of several replicas that start at once one
//! migrates and the others wait for it; and each file is applied in a transaction of its own, so that a migrator that
//! dies half-way has done whole files only.

use sqlx::Connection;

use super::{Db, Error};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Applies what is missing. Refuses a database that is ahead of this version.
pub async fn run(db: &Db) -> Result<(), Error> {
    let mut conn = db.direct().await?;
    MIGRATIONS.run(&mut conn).await.map_err(|err| match err {
        sqlx::migrate::MigrateError::Execute(err) => Error::from(err),
        err => Error::Migrate(err),
    })?;
    conn.close().await?;
    Ok(())
}

/// The version that [`run`] brings the schema to.
pub fn target() -> i64 {
    MIGRATIONS.iter().map(|it| it.version).max().unwrap_or(0)
}

/// Creates the database that `url` names on its server, where it is missing. For servers of our own.
pub async fn create_database(url: &str) -> Result<(), Error> {
    use sqlx::migrate::MigrateDatabase;
    if !sqlx::Postgres::database_exists(url).await? {
        sqlx::Postgres::create_database(url).await?;
    }
    Ok(())
}
