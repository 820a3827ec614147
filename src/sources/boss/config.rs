//! What the file says of a source that is a queue of pg-boss.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;

use crate::{
    error::chain,
    sources::{
        certificates,
        config::{Entry, Unusable, time},
    },
    store::Db,
};

/// The most items of one transaction: enough that a commit is no matter, and few enough that it takes no time.
const BATCH: u32 = 500;
/// Connections to another database: one takes, one tells what became of jobs, one looks.
const CONNECTIONS: u32 = 3;
/// The longest name of a schema or a queue, in bytes: Postgres cuts a schema's at 63, and pg-boss takes no longer queue's.
const NAME_BYTES: usize = 255;

/// The fields of an entry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    pub database_url_env: Option<String>,
    pub database_url_file: Option<PathBuf>,
    #[serde(default = "default_schema")]
    pub schema: String,
    pub queue: String,
    #[serde(default)]
    pub complete: Complete,
    pub priority: Option<Priority>,
    #[serde(default = "default_batch")]
    pub batch: u32,
    #[serde(default = "default_poll", deserialize_with = "time")]
    pub poll: Duration,
}

/// When an item is completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Complete {
    /// When its job succeeded; when that failed for good, the item fails.
    #[default]
    OnSuccess,
    /// When its job is committed here.
    OnCommit,
}

/// Where a job's priority is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// The item has one.
    FromItem,
}

fn default_schema() -> String {
    "pgboss".to_owned()
}

fn default_batch() -> u32 {
    50
}

/// As pg-boss's own workers.
fn default_poll() -> Duration {
    Duration::from_secs(2)
}

impl Own {
    pub fn of(entry: &Entry) -> Result<Self, Unusable> {
        let own: Self = entry.own()?;
        for (field, name) in [("schema", &own.schema), ("queue", &own.queue)] {
            if name.is_empty() || name.len() > NAME_BYTES || name.contains('\0') {
                return Err(
                    entry.wrong(field, format!("must have 1 to {NAME_BYTES} bytes, as it is called in pg-boss"))
                );
            }
        }
        if !(1..=BATCH).contains(&own.batch) {
            return Err(entry.wrong("batch", format!("must be from 1 to {BATCH}")));
        }
        if own.poll.is_zero() {
            return Err(entry.wrong("poll", "must be longer than 0s, such as 2s"));
        }
        Ok(own)
    }
}

/// Another database than Longshore's own.
pub struct Elsewhere {
    pub db: Arc<Db>,
    /// Server and database, without who logs in and how.
    pub place: String,
    /// Where its URL is from, for people.
    pub named: String,
}

/// The database that an entry names by a variable of the environment or by a file, whose contents are a secret; none where
/// it names none, which is Longshore's own.
pub fn database(entry: &Entry, env: Option<&str>, file: Option<&Path>) -> Result<Option<Elsewhere>, Unusable> {
    let (field, url, named) = match (env, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(entry.wrong("database_url_file", "cannot be combined with `database_url_env`"));
        }
        (Some(variable), None) => {
            let field = "database_url_env";
            let url = std::env::var(variable).map_err(|_| {
                entry
                    .wrong(field, format!("the environment has no variable {variable:?}; set it to the database's URL"))
            })?;
            (field, url, format!("the database of ${variable}"))
        }
        (None, Some(file)) => {
            let (field, file) = ("database_url_file", entry.path(file));
            let url = std::fs::read_to_string(&file).map_err(|err| {
                entry.wrong(field, format!("cannot read {}: {err}; put the database's URL there", file.display()))
            })?;
            (field, url, format!("the database of {}", file.display()))
        }
    };
    let url = url.trim();
    let such = "it must be a URL such as postgres://user:password@host:5432/database?sslmode=verify-full";
    let db = Db::elsewhere(url, CONNECTIONS)
        .map_err(|err| entry.wrong(field, format!("of {named}: {}; {such}", chain(&err))))?;
    if let Some(fault) = certificates::fault_of(url) {
        return Err(entry.wrong(field, format!("of {named}: {fault}")));
    }
    let place = db.place();
    Ok(Some(Elsewhere { db: Arc::new(db), place, named }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::config::parse;

    fn told(fields: &str) -> String {
        let entries = parse(&format!("sources:\n- {{name: mails, type: pg-boss, {fields}}}"), "f.yaml").unwrap();
        let own = Own::of(&entries[0]);
        let database = own.and_then(|it| {
            database(&entries[0], it.database_url_env.as_deref(), it.database_url_file.as_deref()).map(|_| ())
        });
        database.map_or_else(|err| err.to_string(), |()| "right".to_owned())
    }

    // A pool belongs to a runtime.
    #[tokio::test]
    async fn a_wrong_field_is_told_with_its_remedy_and_without_its_secret() {
        assert_eq!(told("queue: mails"), "right");
        assert!(told("schema: pgboss").starts_with("f.yaml: source mails: : missing field `queue`"));
        assert!(told("queue: ''").contains("mails: queue: must have 1 to 255 bytes"));
        assert!(told("queue: q, batch: 0").contains("batch: must be from 1 to 500"));
        assert!(told("queue: q, complete: later").contains("complete: unknown variant `later`, expected `on_success`"));
        assert!(told("queue: q, poll: 0s").contains("poll: must be longer"));
        assert!(told("queue: q, database_url: postgres://a:secret@b/c").contains("unknown field `database_url`"));
        let unset = told("queue: q, database_url_env: LONGSHORE_TEST_NO_SUCH_VARIABLE");
        assert!(
            unset.contains("database_url_env: the environment has no variable") && unset.contains("set it"),
            "{unset}"
        );
        assert!(told("queue: q, database_url_file: /no/such").contains("database_url_file: cannot read /no/such"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("url");
        let ca = dir.path().join("ca");
        std::fs::write(&ca, "").unwrap();
        let tls = |key: &str| {
            let ca = ca.display();
            format!("postgres://u:secret@h/d?sslmode=verify-full&sslrootcert={ca}&sslcert={ca}&sslkey={key}\n")
        };
        std::fs::write(&file, tls("/no/such.key")).unwrap();
        let keyless = told(&format!("queue: q, database_url_file: {}", file.display()));
        assert!(keyless.contains("sslkey: cannot read /no/such.key") && !keyless.contains("secret"), "{keyless}");
        for (url, right) in [
            (tls(&ca.display().to_string()).as_str(), true),
            ("postgres://u:secret@h/d?sslmode=perhaps", false),
            ("postgres://u:secret@h:port/d", false),
            ("secret", false),
        ] {
            std::fs::write(&file, url).unwrap();
            let told = told(&format!("queue: q, database_url_file: {}", file.display()));
            assert_eq!(told == "right", right, "{told}");
            assert!(!told.contains("secret"), "{told}");
            assert!(right || told.contains("it must be a URL such as"), "{told}");
        }
    }

    #[tokio::test]
    async fn a_place_says_where_and_not_who() {
        let entries = parse("sources:\n- {name: mails, type: pg-boss, queue: q}", "f").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("url");
        std::fs::write(&file, "postgres://u:secret@h:7777/d").unwrap();
        assert_eq!(database(&entries[0], None, Some(&file)).unwrap().unwrap().place, "h:7777/d");
    }
}
