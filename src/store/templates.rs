//! Templates that were put through the API.

use jiff::Timestamp;

use super::{Conn, Error};

/// The most stored templates: their names are all listed where one was asked for that there is not.
pub const TEMPLATES: i64 = 1_000;

/// A template as it was written.
#[derive(Debug, Clone)]
pub struct Stored {
    pub name: String,
    pub source: String,
    /// `yaml` or `json`.
    pub form: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// How a put ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    New,
    Replaced,
    TooMany,
}

/// The template of that name.
pub async fn get(conn: &mut Conn, name: &str) -> Result<Option<Stored>, Error> {
    let row = sqlx::query!(
        "select name, source, form, created_at, updated_at from longshore.templates where name = $1",
        name
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|it| Stored {
        name: it.name,
        source: it.source,
        form: it.form,
        created_at: it.created_at.to_jiff(),
        updated_at: it.updated_at.to_jiff(),
    }))
}

/// So many of them, by name, from behind this one.
pub async fn page(conn: &mut Conn, after: &str, limit: i64) -> Result<Vec<Stored>, Error> {
    let rows = sqlx::query!(
        "select name, source, form, created_at, updated_at from longshore.templates where name > $1 order by name limit $2",
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    let stored = rows.into_iter().map(|it| Stored {
        name: it.name,
        source: it.source,
        form: it.form,
        created_at: it.created_at.to_jiff(),
        updated_at: it.updated_at.to_jiff(),
    });
    Ok(stored.collect())
}

/// Their names, in order.
pub async fn names(conn: &mut Conn) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!("select name from longshore.templates order by name").fetch_all(conn).await?)
}

/// Keeps a template under its name, in place of what was there.
pub async fn put(conn: &mut Conn, name: &str, source: &str, form: &str) -> Result<Put, Error> {
    let is_new = sqlx::query_scalar!(
        r#"insert into longshore.templates (name, source, form)
           select $1, $2, $3
            where (select count(*) from longshore.templates) < $4
               or exists (select from longshore.templates where name = $1)
           on conflict (name) do update set source = excluded.source, form = excluded.form, updated_at = clock_timestamp()
           returning (xmax = 0) as "is_new!""#,
        name,
        source,
        form,
        TEMPLATES
    )
    .fetch_optional(conn)
    .await?;
    Ok(match is_new {
        Some(true) => Put::New,
        Some(false) => Put::Replaced,
        None => Put::TooMany,
    })
}

/// Removes a template; whether there was one.
pub async fn delete(conn: &mut Conn, name: &str) -> Result<bool, Error> {
    let deleted = sqlx::query!("delete from longshore.templates where name = $1", name).execute(conn).await?;
    Ok(deleted.rows_affected() > 0)
}
