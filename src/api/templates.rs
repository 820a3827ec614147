//! `/templates`: what there is in all three homes; and putting and deleting those that are stored.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    spec::Fault,
    store::templates::{self as stored, Put, Stored, TEMPLATES},
    templates::{
        Addition, Form, Template, check,
        document::{Defaults, SOURCE_BYTES},
        parameter::Parameter,
        shelf::{self, Entry, Home},
    },
};

use super::{
    Api, Problem,
    doc::{
        answers::{OfLists, OfTemplate, OfTemplateDelete, OfTemplatePut},
        examples,
    },
};

/// How many templates a page has unless it is asked for more, and the most.
const PAGE: i64 = 100;
const LONGEST_PAGE: i64 = 1_000;

/// A template, as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Template, example = examples::template)]
pub struct TemplateAnswer {
    /// What requests call it.
    name: String,
    /// Where it is kept: `file`, `config_map` or `stored`.
    home: Home,
    /// The file's name, or the ConfigMap with its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    /// Where another of the same name is kept that is used instead of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_by: Option<Home>,
    /// Whether there is one that can be used: as it is now, or as it was before it was broken.
    usable: bool,
    /// What is wrong with it as it is now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<Fault>,
    /// What it is for, as it says itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// What requests may give in `params`.
    parameters: Vec<Parameter>,
    /// What a request gets that does not say.
    defaults: Defaults,
    /// What a request may add: some of `env`, `args`, `labels` and `annotations`.
    additions: Vec<Addition>,
    /// When it was put: of what is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    /// When it was last changed: of what is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
    /// How it is written. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<Form>,
    /// The text of what is used. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

impl TemplateAnswer {
    fn new(name: String, home: Home, template: Option<&Template>, errors: Vec<Fault>) -> Self {
        Self {
            name,
            home,
            at: None,
            hidden_by: None,
            usable: template.is_some(),
            errors,
            description: template.and_then(|it| it.description.clone()),
            parameters: template.map(|it| it.parameters.clone()).unwrap_or_default(),
            defaults: template.map(|it| it.defaults.clone()).unwrap_or_default(),
            additions: template.map(|it| it.additions.clone()).unwrap_or_default(),
            created_at: None,
            updated_at: None,
            form: template.map(|it| it.form),
            source: template.map(|it| it.source.clone()),
        }
    }

    fn of_entry(api: &Api, home: Home, name: String, entry: Entry) -> Self {
        let at = match (home, &api.reader.shelf.places.config_map) {
            (Home::ConfigMap, Some((namespace, map))) => format!("{namespace}/{map}/{}", entry.of),
            _ => entry.of,
        };
        Self { at: Some(at), ..Self::new(name, home, entry.template.as_deref(), entry.faults) }
    }

    fn of_stored(it: Stored) -> Self {
        let form = Form::from_name(&it.form).unwrap_or(Form::Yaml);
        let times = (Some(it.created_at), Some(it.updated_at));
        let answer = match Template::read(&it.source, form) {
            Ok(template) => Self::new(it.name, Home::Stored, Some(&template), Vec::new()),
            Err(faults) => {
                Self { form: Some(form), source: Some(it.source), ..Self::new(it.name, Home::Stored, None, faults) }
            }
        };
        Self { created_at: times.0, updated_at: times.1, ..answer }
    }
}

/// A page of templates.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplatePage)]
pub struct Templates {
    /// What is on this page.
    items: Vec<TemplateAnswer>,
    /// The `cursor` of the next page; null on the last one.
    next: Option<String>,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Where to go on: `next` of the last page.
    #[param(pattern = "^[^\\x00]*$")]
    cursor: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
}

/// List templates
///
/// By name, whoever keeps them: those of files, of the ConfigMap, and those that are stored.
#[utoipa::path(
    get, path = "/templates", tag = "templates", operation_id = "list_templates", params(Page),
    responses((status = 200, description = "A page of templates.", body = Templates), OfLists),
)]
pub async fn list(
    State(api): State<Arc<Api>>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Templates>, Problem> {
    let Query(page) = page.map_err(|err| Problem::invalid_fields(vec![Fault::new("", err.body_text())]))?;
    let limit = page.limit.unwrap_or(PAGE);
    if !(1..=LONGEST_PAGE).contains(&limit) {
        let detail = format!("must be 1 to {LONGEST_PAGE}");
        return Err(Problem::invalid_fields(vec![Fault::new("/limit", detail)]));
    }
    let after = page.cursor.unwrap_or_default();
    if after.contains('\0') {
        return Err(Problem::invalid_fields(vec![Fault::new("/cursor", "must be the `next` of a page")]));
    }
    let kept = stored::page(&mut *api.db.conn().await?, &after, limit).await?;
    let mut found: BTreeMap<(String, Home), TemplateAnswer> = BTreeMap::new();
    for (home, name, entry) in api.reader.shelf.all().into_iter().filter(|it| it.1 > after) {
        let hidden_by = api.reader.shelf.holder(&name).filter(|it| *it < home);
        let answer = TemplateAnswer { hidden_by, ..TemplateAnswer::of_entry(&api, home, name.clone(), entry) };
        found.insert((name, home), answer);
    }
    for it in kept {
        let (name, hidden_by) = (it.name.clone(), api.reader.shelf.holder(&it.name));
        found.insert((name, Home::Stored), TemplateAnswer { hidden_by, ..TemplateAnswer::of_stored(it) });
    }
    let mut names: Vec<String> = found.keys().map(|it| it.0.clone()).collect();
    names.dedup();
    let last = names.get(limit as usize - 1).cloned();
    let on_page = found.into_values().filter(|it| last.as_ref().is_none_or(|last| it.name <= *last));
    // Sources are for whoever asks for one.
    let items = on_page.map(|it| TemplateAnswer { source: None, form: None, ..it }).collect();
    Ok(Json(Templates { items, next: last }))
}

/// Get a template
///
/// The one that a submission of this name would get.
#[utoipa::path(
    get, path = "/templates/{name}", tag = "templates", operation_id = "get_template",
    params(("name" = String, Path, description = "The template's name.", example = "report")),
    responses((status = 200, description = "The template.", body = TemplateAnswer), OfTemplate),
)]
pub async fn get(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<Json<TemplateAnswer>, Problem> {
    let fixed = api.reader.shelf.all().into_iter().find(|it| it.1 == name);
    if let Some((home, name, entry)) = fixed {
        return Ok(Json(TemplateAnswer::of_entry(&api, home, name, entry)));
    }
    if shelf::check_name(&name).is_err() {
        return Err(Problem::no_such_template(&name));
    }
    let found = stored::get(&mut *api.db.conn().await?, &name).await?;
    found.map(|it| Json(TemplateAnswer::of_stored(it))).ok_or_else(|| Problem::no_such_template(&name))
}

/// Store a template
///
/// A manifest of a batch/v1 Job in YAML or JSON, with its parameters; it may be given as either content type.
#[utoipa::path(
    put, path = "/templates/{name}", tag = "templates", operation_id = "put_template",
    params(("name" = String, Path, description = "The template's name.", example = "report")),
    request_body(description = "The template.", content(
        (String = "application/yaml", example = json!("apiVersion: batch/v1\nkind: Job\nspec:\n  template:\n    spec:\n      containers:\n        - name: main\n          image: busybox:latest\n")),
        (Object = "application/json", example = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {
            "containers": [{"name": "main", "image": "busybox:latest"}]}}}})),
    )),
    responses(
        (status = 200, description = "It took the place of another.", body = TemplateAnswer,
            headers(("Location" = String, description = "Where it is: `/templates/{name}`."))),
        (status = 201, description = "It is new.", body = TemplateAnswer,
            headers(("Location" = String, description = "Where it is: `/templates/{name}`."))),
        OfTemplatePut,
    ),
)]
pub async fn put(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|err| match err.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(SOURCE_BYTES),
        _ => Problem::unreadable_body("it ended too early, or came too slowly"),
    })?;
    shelf::check_name(&name).map_err(Problem::invalid_fields)?;
    if let Some(home) = api.reader.shelf.holder(&name) {
        return Err(Problem::template_is_fixed(if home == Home::File { "a file" } else { "the ConfigMap" }));
    }
    let not_text = || Problem::invalid_fields(vec![Fault::new("", "is not text in UTF-8")]);
    let source = std::str::from_utf8(&body).ok().filter(|it| !it.contains('\0')).ok_or_else(not_text)?;
    let form = form_of(&headers, source);
    if let (Form::Json, Err(err)) = (form, serde_json::from_str::<serde::de::IgnoredAny>(source)) {
        return Err(Problem::invalid_json(err.to_string()));
    }
    check::take_in(source, form, &api.reader.defaults).map_err(Problem::invalid_fields)?;
    let kept = async {
        let mut conn = api.db.conn().await?;
        let put = stored::put(&mut conn, &name, source, form.name()).await?;
        Ok((put, stored::get(&mut conn, &name).await?))
    };
    let (put, kept) = api.db.within(kept).await.map_err(Problem::of_change)?;
    let status = match put {
        Put::TooMany => return Err(Problem::too_many_templates(TEMPLATES)),
        Put::New => StatusCode::CREATED,
        Put::Replaced => StatusCode::OK,
    };
    let kept = kept.ok_or_else(|| Problem::no_such_template(&name))?;
    let mut response = (status, Json(TemplateAnswer::of_stored(kept))).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/templates/{name}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// As the content type says; where it says neither, JSON if it begins like an object.
fn form_of(headers: &HeaderMap, source: &str) -> Form {
    let said = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let kind = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/json" => Form::Json,
        it if it.ends_with("yaml") => Form::Yaml,
        _ if source.trim_start().starts_with('{') => Form::Json,
        _ => Form::Yaml,
    }
}

/// Delete a stored template
///
/// Jobs that were made from it stay as they are.
#[utoipa::path(
    delete, path = "/templates/{name}", tag = "templates", operation_id = "delete_template",
    params(("name" = String, Path, description = "The template's name.", example = "report")),
    responses((status = 204, description = "It is gone."), OfTemplateDelete),
)]
pub async fn delete(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    let no_such = || match api.reader.shelf.holder(&name) {
        Some(home) => Problem::template_is_fixed(if home == Home::File { "a file" } else { "the ConfigMap" }),
        None => Problem::no_such_template(&name),
    };
    if shelf::check_name(&name).is_err() {
        return Err(no_such());
    }
    let deleted = async { stored::delete(&mut *api.db.conn().await?, &name).await };
    match api.db.within(deleted).await.map_err(Problem::of_change)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(no_such()),
    }
}
