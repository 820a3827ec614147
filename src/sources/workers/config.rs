//! An entry of the type `pg-boss-workers`: job-chief's own settings, and where each comes from.

use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::sources::certificates;

use super::{
    decide::{Plan, Pods},
    jobs_json::{self, Job},
    pod::{Certificates, Common, Inject},
};

/// The fields of a pod that are said elsewhere.
const OF_POD: [&str; 3] = ["containers", "restartPolicy", "imagePullSecrets"];

/// What answers a variable of the environment.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What the entry has of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// A jobs.json of job-chief.
    jobs_file: Option<PathBuf>,
    /// The same, here.
    jobs: Option<Value>,
    database_url_env: Option<String>,
    database_url_file: Option<PathBuf>,
    schema: Option<String>,
    /// Whether what is not said here is taken from the variables that job-chief had.
    #[serde(default)]
    job_chief_environment: bool,
    /// What the names of its sources begin with.
    #[serde(default)]
    prefix: String,
    instance_uid: Option<String>,
    pull_secret: Option<String>,
    inject_pg_config: Option<Inject>,
    #[serde(default)]
    pod: Map<String, Value>,
    items_per_pod: Option<i64>,
    max_parallelism: Option<i32>,
}

/// Where pg-boss's tables are.
pub struct Database {
    /// It has a password in it, and so is never shown. None: Longshore's own database.
    pub url: Option<String>,
    /// The field that the URL is from, for errors.
    pub named: &'static str,
    pub schema: String,
}

/// Where the jobs of an entry are from, for errors.
#[derive(Debug, Clone)]
pub struct From {
    pub field: &'static str,
    pub place: String,
}

/// All that an entry comes to.
pub struct Settings {
    pub database: Database,
    pub jobs: Vec<Job>,
    pub from: From,
    /// Who names the namespace.
    pub namespace_of: &'static str,
    pub common: Common,
    pub prefix: String,
    /// For every job that says nothing of its own.
    items_per_pod: Option<i64>,
    max_parallelism: Option<i32>,
}

/// A field, and what is wrong with it.
pub type Wrong = (String, String);

fn wrong(field: &str, cause: impl ToString) -> Wrong {
    (field.to_owned(), cause.to_string())
}

/// The fields of `job` that `podConfig` has words for.
const OF_POD_CONFIG: [(&str, &str); 11] = [
    ("image", "podConfig.image"),
    ("command", "podConfig.command"),
    ("args", "podConfig.args"),
    ("env", "podConfig.env"),
    ("env_from", "podConfig.configmaps and podConfig.secrets"),
    ("resources", "podConfig.resources"),
    ("parallelism", "podConfig.parallelism"),
    ("image_pull_policy", "podConfig.pullPolicy"),
    ("image_pull_secrets", "`pull_secret`"),
    ("manifest", "podConfig, and `pod` beside `job`"),
    ("template", "podConfig, and `pod` beside `job`"),
];

impl Own {
    /// The same, with each path looked for as `placed` says.
    pub fn placed(self, placed: impl Fn(&Path) -> PathBuf) -> Self {
        let place = |it: Option<PathBuf>| it.map(|it| placed(&it));
        Self { jobs_file: place(self.jobs_file), database_url_file: place(self.database_url_file), ..self }
    }

    /// `job` is what the entry says of all its jobs; `env` answers a variable.
    pub fn settle(self, mut job: Map<String, Value>, env: Variables<'_>) -> Result<Settings, Wrong> {
        let chief = |name: &str| if self.job_chief_environment { env(name).filter(|it| !it.is_empty()) } else { None };
        self.check(&job)?;
        let tls = Tls::of(&chief)?;
        let inject = self.inject(tls.as_ref(), &chief)?;
        let url = self.url(tls.as_ref(), env, &chief)?;
        let (jobs, from) = self.jobs(&chief)?;
        let injecting = jobs.iter().find(|it| it.pod_config.inject_pg_config);
        if let (Some(_), Some(Inject { certificates: None, .. }), Some(at)) = (&tls, &inject, injecting) {
            let cause = format!(
                "is not set, and neither is `inject_pg_config.certificates`, though DB_ENABLE_SSL_AUTH is true and the queue \
                 {:?} has injectPgConfig: set it to the Secret whose files the pods find where DB_CA_PATH, DB_CERT_PATH and \
                 DB_KEY_PATH say, or give `inject_pg_config.certificates.secret` with `ca`, `cert` and `key`",
                at.queue_name
            );
            return Err(wrong("DB_CERT_SECRET_NAME", cause));
        }
        if let (None, Some(at)) = (&inject, injecting) {
            let cause = format!(
                "is missing, and the queue {:?} has injectPgConfig: give `{{secret: NAME}}`, the Secret with DB_HOST, DB_PORT, \
                 DB_USERNAME, DB_PASSWORD, DB_NAME and DB_SCHEMA; no password is written into a pod",
                at.queue_name
            );
            return Err(wrong("inject_pg_config", cause));
        }
        let namespace = chief("K8S_NAMESPACE").filter(|_| !job.contains_key("namespace"));
        let namespace_of = if namespace.is_some() { "K8S_NAMESPACE" } else { "job.namespace" };
        job.extend(namespace.map(|it| ("namespace".to_owned(), it.into())));
        let owner = self.instance_uid.clone().or_else(|| chief("APP_INSTANCE_UID"));
        let pull_secret = self.pull_secret.clone().or_else(|| chief("K8S_PULL_SECRET"));
        let schema = self.schema.clone().or_else(|| chief("DB_SCHEMA")).unwrap_or_else(|| "pgboss".into());
        let common = Common { owner, pull_secret, inject, pod: self.pod.clone(), job };
        let (items_per_pod, max_parallelism) = (self.items_per_pod, self.max_parallelism);
        let prefix = self.prefix.clone();
        let named = match (&self.database_url_env, &self.database_url_file) {
            (Some(_), _) => "database_url_env",
            (None, Some(_)) => "database_url_file",
            (None, None) => "job_chief_environment",
        };
        let database = Database { url, named, schema };
        Ok(Settings { database, jobs, from, namespace_of, common, prefix, items_per_pod, max_parallelism })
    }

    fn check(&self, job: &Map<String, Value>) -> Result<(), Wrong> {
        if let Some((field, instead)) = OF_POD_CONFIG.iter().find(|(field, _)| job.contains_key(*field)) {
            return Err(wrong(&format!("job.{field}"), format!("is for {instead} to say")));
        }
        if let Some(field) = OF_POD.iter().find(|it| self.pod.contains_key(**it)) {
            return Err(wrong(&format!("pod.{field}"), "is for podConfig, or `pull_secret`, to say"));
        }
        match self.items_per_pod.is_some_and(|it| it < 1) {
            true => Err(wrong("items_per_pod", "must be 1 or more")),
            false => Ok(()),
        }
    }

    fn inject(&self, tls: Option<&Tls>, chief: Variables<'_>) -> Result<Option<Inject>, Wrong> {
        let Some(mut inject) = self.inject_pg_config.clone() else { return Ok(None) };
        if let (None, Some(tls), Some(secret)) = (&inject.certificates, tls, chief("DB_CERT_SECRET_NAME")) {
            let Tls { ca, cert, key } = tls.clone();
            inject.certificates = Some(Certificates { secret, ca, cert, key });
        }
        inject.check().map_err(|(field, cause)| wrong(&format!("inject_pg_config.{field}"), cause))?;
        Ok(Some(inject))
    }

    fn url(&self, tls: Option<&Tls>, env: Variables<'_>, chief: Variables<'_>) -> Result<Option<String>, Wrong> {
        match (&self.database_url_env, &self.database_url_file) {
            (Some(_), Some(_)) => {
                Err(wrong("database_url_file", "cannot be combined with `database_url_env`; give one"))
            }
            (Some(name), None) => env(name)
                .filter(|it| !it.is_empty())
                .map(Some)
                .ok_or_else(|| wrong("database_url_env", format!("the variable {name} is not set"))),
            (None, Some(file)) => std::fs::read_to_string(file)
                .map(|it| Some(it.trim().to_owned()))
                .map_err(|err| wrong("database_url_file", format!("cannot read {}: {err}", file.display()))),
            (None, None) if !self.job_chief_environment => Ok(None),
            (None, None) => url_of(chief, tls).map(Some).ok_or_else(|| {
                let cause =
                    "DB_HOST is not set; set it as job-chief had it, or give `database_url_env` or `database_url_file`";
                wrong("job_chief_environment", cause)
            }),
        }
    }

    fn jobs(&self, chief: Variables<'_>) -> Result<(Vec<Job>, From), Wrong> {
        let file = self.jobs_file.clone().or_else(|| chief("APP_JOBS_CONFIG_PATH").map(PathBuf::from));
        match (&self.jobs, file) {
            (Some(_), Some(_)) => Err(wrong("jobs", "cannot be combined with `jobs_file`; give one")),
            (Some(jobs), None) => {
                let from = From { field: "jobs", place: "the list".into() };
                let jobs = jobs_json::from_value(jobs.clone(), &from.place).map_err(|err| wrong(from.field, err))?;
                Ok((jobs, from))
            }
            (None, Some(file)) => {
                let field = if self.jobs_file.is_some() { "jobs_file" } else { "APP_JOBS_CONFIG_PATH" };
                let jobs = jobs_json::read(&file).map_err(|err| wrong(field, crate::error::chain(&err)))?;
                Ok((jobs, From { field, place: file.display().to_string() }))
            }
            (None, None) => {
                Err(wrong("jobs_file", "is missing; give a jobs.json of job-chief, or its jobs under `jobs`"))
            }
        }
    }
}

/// The files that show who we are.
#[derive(Debug, Clone)]
struct Tls {
    ca: String,
    cert: String,
    key: String,
}

impl Tls {
    fn of(chief: Variables<'_>) -> Result<Option<Self>, Wrong> {
        match chief("DB_ENABLE_SSL_AUTH").as_deref() {
            None | Some("false") => return Ok(None),
            Some("true") => {}
            Some(_) => return Err(wrong("job_chief_environment", "DB_ENABLE_SSL_AUTH must be true or false")),
        }
        let path = |name: &str| {
            let missing =
                || format!("{name} is not set, and DB_ENABLE_SSL_AUTH is true; set it to the path of the file");
            chief(name).ok_or_else(|| wrong("job_chief_environment", missing()))
        };
        let file = |name: &str| {
            let file = path(name)?;
            certificates::unreadable(Path::new(&file)).map_or(Ok(file), |cause| Err(wrong(name, cause)))
        };
        Ok(Some(Self { ca: file("DB_CA_PATH")?, cert: file("DB_CERT_PATH")?, key: file("DB_KEY_PATH")? }))
    }
}

/// The URL that job-chief's variables come to; none without a host.
fn url_of(chief: Variables<'_>, tls: Option<&Tls>) -> Option<String> {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let host = encoded(&chief("DB_HOST")?);
    let user = encoded(&chief("DB_USERNAME").unwrap_or_else(|| "postgres".into()));
    let database = encoded(&chief("DB_NAME").unwrap_or_else(|| "postgres".into()));
    let port = encoded(&chief("DB_PORT").unwrap_or_else(|| "5432".into()));
    // job-chief gave no password where it showed a certificate.
    let password =
        chief("DB_PASSWORD").filter(|_| tls.is_none()).map(|it| format!(":{}", encoded(&it))).unwrap_or_default();
    let tls = tls.map(|Tls { ca, cert, key }| {
        let [ca, cert, key] = [ca, cert, key].map(|it| encoded(it));
        format!("&sslmode=verify-full&sslrootcert={ca}&sslcert={cert}&sslkey={key}")
    });
    Some(format!("postgres://{user}{password}@localhost/{database}?host={host}&port={port}{}", tls.unwrap_or_default()))
}

impl Settings {
    /// When to do what for one of its jobs.
    pub fn plan(&self, job: &Job) -> Plan {
        let least = job.pod_config.parallelism;
        let items_each = job.pod_config.items_per_pod.or(self.items_per_pod);
        let most = job.pod_config.max_parallelism.or(self.max_parallelism);
        Plan {
            check_every: job.queue_check_interval,
            after_success: job.wait_time_after_successful_run,
            after_failure: job.wait_time_after_failed_run,
            after_timeout: job.wait_time_after_timeout,
            after_error: job.wait_time_after_error,
            // Nothing grows without a bound.
            pods: Pods { least, items_each: items_each.filter(|_| most.is_some()), most: most.unwrap_or(least) },
        }
    }
}

#[cfg(test)]
mod tests;
