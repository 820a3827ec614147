//! From a request that names a template to the request that it stands for: one with a whole manifest.
//!
//! Made before the request is checked, so that what comes of it passes every check that a manifest of the client's own does.
//! The manifest is made here, once, and stored: a job that waits does not change when its template is edited. Whether two
//! requests are the same is told by what was asked, not by what was made of it, so that a client that asks again after an
//! edit hears of its first job.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, Value};

use crate::{
    cluster::additions,
    spec::Fault,
    store::templates as stored,
    templates::{
        Addition, Template,
        document::Form,
        shelf::{Found, Home, told},
    },
};

use super::{Problem, reader::Reader, wire::SubmitRequest};

/// How many names are listed to a client that named one which is not there.
const NAMES_TOLD: usize = 20;

/// The templates that were looked up so far, by name.
#[derive(Default)]
pub struct Looked(HashMap<String, Result<Arc<Template>, Problem>>);

impl Looked {
    async fn find(&mut self, reader: &Reader, name: &str) -> Result<Arc<Template>, Problem> {
        if let Some(found) = self.0.get(name) {
            return found.clone();
        }
        let found = find(reader, name).await;
        self.0.insert(name.to_owned(), found.clone());
        found
    }
}

/// A request that no longer needs a template.
pub struct Filled {
    pub request: SubmitRequest,
    /// What was asked, if it was less than what came of it.
    pub asked: Option<Asked>,
}

/// What the client said itself.
pub struct Asked {
    /// Tells apart two requests under one idempotency key.
    pub request_hash: Option<String>,
    template: Arc<Template>,
}

impl Asked {
    /// A fault of the manifest, told of what the client wrote: the parameter that stands there, else the template. The client
    /// has not seen the manifest.
    pub fn told_of(&self, fault: Fault) -> Fault {
        let Some(inner) = fault.pointer.strip_prefix("/manifest") else { return fault };
        let pointer = match self.template.parameter_at(inner) {
            Some(name) => format!("/params/{name}"),
            None if self.template.fixes(inner) => "/template".to_owned(),
            None => "/params".to_owned(),
        };
        let detail = format!("makes a Job of which {inner} is wrong: {}", fault.detail);
        Fault { pointer, detail, ..fault }
    }
}

/// Whether a request names a template.
pub fn names_one(request: &Map<String, Value>) -> bool {
    request.get("template").is_some_and(|it| !it.is_null())
}

/// Whether a request says itself what to run, so that the default template is not for it.
pub fn says_what_to_run(request: &Map<String, Value>) -> bool {
    ["manifest", "image", "command"].iter().any(|field| request.get(*field).is_some_and(|it| !it.is_null()))
}

/// Looks for the template that [`fill`] would fill for a request; nothing is wrong where that is none.
pub async fn look_up(reader: &Reader, looked: &mut Looked, request: &Map<String, Value>) -> Result<(), Problem> {
    let name = match request.get("template") {
        Some(Value::String(name)) => Some(name),
        None | Some(Value::Null) => reader.shelf.places.default.as_ref().filter(|_| !says_what_to_run(request)),
        // It is refused when the request is read.
        Some(_) => None,
    };
    match name {
        Some(name) => looked.find(reader, name).await.map(drop),
        None => Ok(()),
    }
}

/// Fills the template that a request names, or the default one where it says nothing of what to run.
pub async fn fill(
    reader: &Reader,
    looked: &mut Looked,
    request: SubmitRequest,
    key: Option<&str>,
) -> Result<Filled, Problem> {
    let says_what_to_run = request.manifest.is_some() || request.image.is_some() || request.command.is_some();
    let default = reader.shelf.places.default.as_ref().filter(|_| !says_what_to_run);
    let Some(name) = request.template.as_ref().or(default).cloned() else {
        return match request.params {
            Some(_) => Err(refused("/params", "are for a template; name it in `template`")),
            None => Ok(Filled { request, asked: None }),
        };
    };
    if request.manifest.is_some() {
        return Err(refused("/manifest", "cannot be combined with `template`, which makes the manifest"));
    }
    let request_hash = hash_of(reader, &request, key)?;
    let template = looked.find(reader, &name).await?;
    let request = apply(&template, name, request).map_err(Problem::invalid_fields)?;
    Ok(Filled { request, asked: Some(Asked { request_hash, template }) })
}

fn refused(pointer: &str, detail: impl Into<String>) -> Problem {
    Problem::invalid_fields(vec![Fault::new(pointer, detail)])
}

/// The hash of the request as it came, for one that has an idempotency key; or what is wrong with it by itself.
pub fn hash_of(reader: &Reader, request: &SubmitRequest, key: Option<&str>) -> Result<Option<String>, Problem> {
    let asked = request.clone().into_submission(key.map(str::to_owned), reader.default_namespace());
    let asked = asked.map_err(Problem::invalid_fields)?;
    Ok(asked.request_hash())
}

async fn find(reader: &Reader, name: &str) -> Result<Arc<Template>, Problem> {
    match reader.shelf.find(name).await {
        Found::There(template) => return Ok(template),
        Found::Broken(home, faults) => return Err(broken(name, home, &faults)),
        Found::NotRead => return Err(Problem::templates_unavailable()),
        Found::Absent => {}
    }
    let mut conn = reader.db.conn().await?;
    match stored::get(&mut conn, name).await? {
        Some(it) => {
            let form = Form::from_name(&it.form).unwrap_or(Form::Yaml);
            // It was checked when it was put; a later version of Longshore may find more.
            Template::read(&it.source, form).map(Arc::new).map_err(|faults| broken(name, Home::Stored, &faults))
        }
        None => {
            let mut names: Vec<String> = reader.shelf.all().into_iter().map(|(_, name, _)| name).collect();
            names.extend(stored::names(&mut conn).await?);
            names.sort();
            names.dedup();
            let more = names.len().saturating_sub(NAMES_TOLD);
            names.truncate(NAMES_TOLD);
            let listed = match (names.is_empty(), more) {
                (true, _) => "there is none".to_owned(),
                (false, 0) => format!("there are {}", names.join(", ")),
                (false, more) => format!("there are {} and {more} more", names.join(", ")),
            };
            Err(refused("/template", format!("there is no template {name:?}; {listed}")))
        }
    }
}

fn broken(name: &str, home: Home, faults: &[Fault]) -> Problem {
    let home = match home {
        Home::File => "a file",
        Home::ConfigMap => "the ConfigMap",
        Home::Stored => "the database",
    };
    refused("/template", format!("the template {name:?} in {home} cannot be used: {}", told(faults)))
}

/// The request with the manifest that the template makes of it, or everything that does not fit.
fn apply(template: &Template, name: String, mut request: SubmitRequest) -> Result<SubmitRequest, Vec<Fault>> {
    let defaults = &template.defaults;
    request.priority = request.priority.or(defaults.priority);
    request.queue = request.queue.or_else(|| defaults.queue.clone());
    request.timeout = request.timeout.or(defaults.timeout.as_ref().map(|it| it.is));
    request.start_timeout = request.start_timeout.or(defaults.start_timeout.as_ref().map(|it| it.is));
    request.queue_timeout = request.queue_timeout.or(defaults.queue_timeout.as_ref().map(|it| it.is));
    request.max_attempts = request.max_attempts.or(defaults.max_attempts);
    let mut faults = refused_additions(template, &request);
    let queue = request.queue.as_deref().unwrap_or("default");
    let params = request.params.clone().unwrap_or_default();
    let mut manifest = match template.fill(&params, &request.name, queue) {
        Ok(manifest) => manifest,
        Err(more) => {
            faults.extend(more);
            return Err(faults);
        }
    };
    let (env, args) = (request.env.take().filter(|it| !it.is_null()), request.args.take().unwrap_or_default());
    let labels = request.labels.clone().unwrap_or_default();
    let annotations = request.annotations.clone().unwrap_or_default();
    if let Err(more) = additions::add(&mut manifest, env.as_ref(), &args, &labels, &annotations) {
        faults.extend(more);
    }
    request.manifest = Some(manifest);
    request.template = Some(name);
    if faults.is_empty() { Ok(request) } else { Err(faults) }
}

/// What the request adds and the template does not take.
fn refused_additions(template: &Template, request: &SubmitRequest) -> Vec<Fault> {
    let added = [
        (Addition::Env, "/env", request.env.as_ref().is_some_and(|it| !it.is_null())),
        (Addition::Args, "/args", request.args.is_some()),
        (Addition::Labels, "/labels", request.labels.is_some()),
        (Addition::Annotations, "/annotations", request.annotations.is_some()),
    ];
    let refused = added.into_iter().filter(|it| it.2 && !template.additions.contains(&it.0));
    refused.map(|it| Fault::new(it.1, "is not among the `additions` that the template takes")).collect()
}
