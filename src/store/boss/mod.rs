//! The tables of pg-boss, a queue for Node programs that lives in Postgres as Longshore does, in the same database or in
//! another.
//!
//! They are somebody else's: every statement says what the release of pg-boss itself would say, reads and writes the
//! columns that it found, and is told apart by [`Shape`]. The statements cannot be checked when Longshore is compiled, and
//! stand in `sql/` as static text without the schema's name: [`Boss::enter`] makes that the search path of one
//! transaction. Whoever owns those tables can have Longshore's role run what they like, by a trigger, as with every
//! writer: a role of its own for another database, and a schema of trusted people in the same one.

mod counts;
mod items;
mod shape;

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

pub use counts::Waiting;
pub use items::{Hand, Taken};
pub use shape::{Columns, NEWEST, Provenance, SUPPORTED, Shape, Twelve};

use crate::effects::Effect;

use super::{Conn, OfStore, tx::Tx};

/// Why nothing came of what was asked of pg-boss's tables.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something else is there than pg-boss's tables, or they are of a version that is not known.
    #[error("schema {schema:?} {why}")]
    Shape { schema: String, why: String },
    #[error("the tables of pg-boss")]
    Store(#[from] super::Error),
}

impl Error {
    /// Whether another one was faster where one item of a kind may be active.
    pub fn is_race(&self) -> bool {
        matches!(self, Self::Store(super::Error::Statement(err)) if err.as_database_error().is_some_and(|it| it.is_unique_violation()))
    }
}

impl OfStore for Error {
    fn of_store(&self) -> Option<&super::Error> {
        match self {
            Self::Shape { .. } => None,
            Self::Store(err) => Some(err),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(err: sqlx::Error) -> Self {
        Self::Store(err.into())
    }
}

/// One schema of pg-boss, in whichever database.
pub struct Boss {
    schema: String,
    /// What was found there last, and the version that the schema had then.
    known: Mutex<Option<(i32, Shape)>>,
}

impl Boss {
    pub fn new(schema: &str) -> Self {
        Self { schema: schema.to_owned(), known: Mutex::default() }
    }

    /// Begins a transaction in which the tables are pg-boss's, and looks at them where they may have changed: a new release
    /// of pg-boss brings its tables up to date while others go on.
    pub async fn enter<'c>(&self, conn: &'c mut Conn) -> Result<Tables<'c>, Error> {
        let mut tx = Tx::begin(conn).await?;
        let of_schema = sqlx::query_scalar::<_, bool>(
            "select true from set_config('search_path', quote_ident($1), true), pg_catalog.to_regclass(quote_ident($1) || '.version') t
             where t is not null",
        );
        let has_version = of_schema.bind(&self.schema).fetch_optional(tx.conn()).await?.is_some();
        let version = match has_version {
            true => sqlx::query_scalar("select max(version) from version").fetch_one(tx.conn()).await?,
            false => None,
        };
        let known = *self.known();
        let shape = match (known, version) {
            (Some((then, shape)), Some(now)) if then == now => shape,
            _ => self.look(tx.conn(), version).await?,
        };
        Ok(Tables { tx, shape })
    }

    async fn look(&self, conn: &mut Conn, version: Option<i32>) -> Result<Shape, Error> {
        let rows: Vec<(String, Vec<String>)> =
            sqlx::query_as(include_str!("sql/look_at_schema.sql")).bind(&self.schema).fetch_all(conn).await?;
        let tables: Columns = rows.into_iter().map(|(table, columns)| (table, BTreeSet::from_iter(columns))).collect();
        let shape = Shape::of(&tables, version).map_err(|why| Error::Shape { schema: self.schema.clone(), why })?;
        if let Some(version) = version {
            let schema = &self.schema;
            match version > NEWEST {
                true => tracing::warn!(
                    schema,
                    version,
                    ?shape,
                    "newer tables of pg-boss than were tested with; {SUPPORTED}"
                ),
                false => tracing::info!(schema, version, ?shape, "found the tables of pg-boss"),
            }
            *self.known() = Some((version, shape));
        }
        Ok(shape)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<(i32, Shape)>> {
        // It is whole after every statement.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tables of one schema, in one transaction: rolled back unless [`commit`](Self::commit) is called.
pub struct Tables<'c> {
    tx: Tx<'c>,
    shape: Shape,
}

impl Tables<'_> {
    /// The transaction itself, for statements about Longshore's own tables in the same database: those name their schema.
    pub fn conn(&mut self) -> &mut Conn {
        self.tx.conn()
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Commits, which has these effects.
    pub async fn commit(self, effects: &[Effect]) -> Result<(), Error> {
        Ok(self.tx.commit(effects).await?)
    }

    /// Gives back everything, and tells when that is done.
    pub async fn rollback(self) -> Result<(), Error> {
        Ok(self.tx.rollback().await?)
    }
}
