//! `/openapi.json`, `/docs` and the pages of the problems: made once when the replica starts, and readable without a script.

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension,
    body::Bytes,
    extract::Path,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use crate::api::{
    Problem,
    kinds::{About, Kind},
};

use super::{
    answers::{Alone, OfProblemPage},
    read::{Group, Piece, Shape, pieces, read},
};

/// Nothing but the page and its style sheet, from nowhere else, and in nobody's frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

#[derive(Template)]
#[template(path = "api/doc/page.html")]
struct DocsPage {
    version: String,
    about: Vec<Piece>,
    groups: Vec<Group>,
    shapes: Vec<Shape>,
    problems: Vec<About>,
}

#[derive(Template)]
#[template(path = "api/doc/problem.html")]
struct ProblemPage {
    about: About,
    meaning: Vec<Piece>,
    remedy: Vec<Piece>,
    /// The routes that may answer so.
    routes: Vec<(String, String)>,
}

/// What is served, ready made.
pub struct Pages {
    document: Bytes,
    page: Bytes,
    problems: Vec<(&'static str, Bytes)>,
}

impl Pages {
    pub fn new(document: &Value) -> Arc<Self> {
        let (groups, shapes) = read(document);
        let problems = Kind::ALL.map(Kind::about);
        let problem_pages = problems.map(|about| {
            let answers = |it: &&super::read::Operation| it.codes().any(|code| code == about.code);
            let routes = groups.iter().flat_map(|it| &it.operations).filter(answers);
            let routes = routes.map(|it| (it.id.clone(), format!("{} {}", it.method, it.path))).collect();
            let page = ProblemPage { about, meaning: pieces(about.meaning), remedy: pieces(about.remedy), routes };
            (about.code, rendered(&page))
        });
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let page = DocsPage {
            version: text("/info/version").to_owned(),
            about: pieces(text("/info/description")),
            groups,
            shapes,
            problems: problems.to_vec(),
        };
        let page = rendered(&page);
        Arc::new(Self { document: document.to_string().into(), page, problems: problem_pages.to_vec() })
    }
}

/// A template writes to memory, which cannot fail.
fn rendered(page: &impl Template) -> Bytes {
    page.render().unwrap_or_default().into()
}

fn html(page: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, page).into_response()
}

/// This document
///
/// OpenAPI 3.1, of exactly the routes that this binary serves.
#[utoipa::path(
    get, path = "/openapi.json", tag = "documentation", operation_id = "openapi",
    responses((status = 200, description = "The document.", body = Object, content_type = "application/json"), Alone),
)]
pub async fn openapi(Extension(pages): Extension<Arc<Pages>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], pages.document.clone()).into_response()
}

/// This document as a page
#[utoipa::path(
    get, path = "/docs", tag = "documentation", operation_id = "docs",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html; charset=utf-8"), Alone),
)]
pub async fn page(Extension(pages): Extension<Arc<Pages>>) -> Response {
    html(pages.page.clone())
}

/// How the pages look
#[utoipa::path(
    get, path = "/docs/style.css", tag = "documentation", operation_id = "docs_style",
    responses((status = 200, description = "A style sheet.", body = String, content_type = "text/css; charset=utf-8"), Alone),
)]
pub async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("style.css")).into_response()
}

/// What a problem means
///
/// A page for each `code` of a problem document: when it is answered, and what helps.
#[utoipa::path(
    get, path = "/docs/problems/{code}", tag = "documentation", operation_id = "docs_problem",
    params(("code" = String, Path, description = "The problem's `code`.", example = "no_such_job")),
    responses((status = 200, description = "A page.", body = String, content_type = "text/html; charset=utf-8"), OfProblemPage),
)]
pub async fn problem(Extension(pages): Extension<Arc<Pages>>, Path(code): Path<String>) -> Result<Response, Problem> {
    let page = pages.problems.iter().find(|(it, _)| *it == code);
    page.map(|(_, page)| html(page.clone())).ok_or_else(|| Problem::no_such_problem(&code))
}
