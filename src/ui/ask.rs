//! Asking the API from within: a page knows what any client could know, and does what any client could do.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode, header},
    response::Response,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tower::ServiceExt;

use super::text::{visible, visible_in};

/// The longest answer that is read, in bytes: a job with a thousand attempts, or a page of jobs, has a tenth of it.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// The API of this process.
pub struct Ask {
    api: Router,
}

/// What the API says when it does not do what it was asked.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Refusal {
    pub title: String,
    pub status: u16,
    pub code: String,
    pub detail: String,
    #[serde(default)]
    pub errors: Vec<FieldError>,
}

/// One field that is wrong.
#[derive(Debug, Clone, Deserialize)]
pub struct FieldError {
    pub pointer: String,
    pub detail: String,
}

impl Refusal {
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// For what is refused before the API is asked.
    pub fn of_field(field: &str, detail: &str) -> Self {
        Self {
            title: "Some fields are not valid".into(),
            status: StatusCode::UNPROCESSABLE_ENTITY.as_u16(),
            code: "invalid_fields".into(),
            detail: detail.into(),
            errors: vec![FieldError { pointer: format!("/{field}"), detail: detail.into() }],
        }
    }

    /// What is not a problem document did not come from our own code.
    fn unreadable() -> Self {
        Self {
            title: "Something went wrong".into(),
            status: StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
            code: "internal".into(),
            detail: "the answer could not be read; the log says what went wrong".into(),
            errors: Vec::new(),
        }
    }

    /// Whether it is the database that is missing, and not something about the request.
    pub fn is_away(&self) -> bool {
        matches!(self.code.as_str(), "database_unavailable" | "database_read_only" | "outcome_unknown")
    }
}

impl Ask {
    pub fn new(api: Router) -> Self {
        Self { api }
    }

    /// An answer whose texts are fit to be shown.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refusal> {
        self.send(Method::GET, path, None).await
    }

    /// The same, of a request that changes something.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, Refusal> {
        let mut value = read(self.answer(method, path, body).await?).await?;
        visible_in(&mut value);
        serde_json::from_value(value).map_err(|_| Refusal::unreadable())
    }

    /// An answer with every text as it is: for a form, which gives it back.
    pub async fn exact(&self, path: &str) -> Result<Value, Refusal> {
        read(self.answer(Method::GET, path, None).await?).await
    }

    /// An answer as it comes, unless it is a refusal.
    pub async fn answer(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response, Refusal> {
        let body = body.map_or_else(Body::empty, |it| Body::from(it.to_string()));
        let reads = method == Method::GET;
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        let Ok(request) = request.body(body) else { return Err(Refusal::unreadable()) };
        let Ok(response) = self.api.clone().oneshot(request).await;
        if response.status().is_success() {
            return Ok(response);
        }
        let mut refusal: Refusal =
            read(response).await.and_then(|it| serde_json::from_value(it).map_err(|_| Refusal::unreadable()))?;
        refusal.detail = capital(&visible(&refusal.detail));
        if reads && refusal.is_away() {
            refusal.detail =
                "The database cannot be used right now, so this could not be read; look again soon.".into();
        }
        for error in &mut refusal.errors {
            error.pointer = visible(&error.pointer);
            error.detail = visible(&error.detail);
        }
        Err(refusal)
    }
}

/// As a sentence begins.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

async fn read(response: Response) -> Result<Value, Refusal> {
    let bytes = to_bytes(response.into_body(), ANSWER_BYTES).await.map_err(|_| Refusal::unreadable())?;
    serde_json::from_slice(&bytes).map_err(|_| Refusal::unreadable())
}

/// A part of a path or of a query, such as a name that somebody chose.
pub fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
