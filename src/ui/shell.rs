//! What all pages have around them, and how a page becomes an answer.

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};

use super::{ask::Refusal, assets};

/// The places in the menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Overview,
    Jobs,
    Queues,
    Submit,
    Sources,
    Templates,
    System,
    None,
}

/// What the frame of a page says.
#[derive(Debug, Clone)]
pub struct Shell {
    pub title: String,
    pub place: Place,
    /// How to get from the page to `/`: links are relative, so that a proxy may put all of this below a path of its own.
    pub root: String,
    /// What came of the last act.
    pub done: Option<String>,
    /// What is in the way.
    pub refusal: Option<Refusal>,
    pub style: &'static str,
    pub script: &'static str,
    pub icon: &'static str,
    pub version: &'static str,
}

impl Shell {
    /// `depth`: how many slashes the path of the page has.
    pub fn new(title: impl Into<String>, place: Place, depth: usize) -> Self {
        let root = if depth < 2 { "./".to_owned() } else { "../".repeat(depth - 1) };
        let (style, script, icon) = (assets::STYLE.path(), assets::SCRIPT.path(), assets::ICON.path());
        Self {
            title: title.into(),
            place,
            root,
            done: None,
            refusal: None,
            style,
            script,
            icon,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    pub fn refused(mut self, refusal: Option<Refusal>) -> Self {
        self.refusal = refusal;
        self
    }

    pub fn done(mut self, done: Option<String>) -> Self {
        self.done = done;
        self
    }

    pub fn is_at(&self, place: &str) -> bool {
        place
            == match self.place {
                Place::Overview => "overview",
                Place::Jobs => "jobs",
                Place::Queues => "queues",
                Place::Submit => "submit",
                Place::Sources => "sources",
                Place::Templates => "templates",
                Place::System => "system",
                Place::None => return false,
            }
    }
}

/// A page that says only what is in the way.
#[derive(Template)]
#[template(path = "ui/refused.html")]
struct Refused {
    shell: Shell,
}

/// For a page that cannot be made at all.
pub fn refused(shell: Shell, refusal: Refusal) -> Response {
    let status = refusal.status();
    page(status, &Refused { shell: shell.refused(Some(refusal)) })
}

/// A template writes to memory, which cannot fail.
pub fn page(status: StatusCode, page: &impl Template) -> Response {
    let html = (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    (status, [html], page.render().unwrap_or_default()).into_response()
}

/// After an act, to where its effect is to be seen: reloading that does nothing again.
pub fn see(place: &str) -> Response {
    Redirect::to(place).into_response()
}
