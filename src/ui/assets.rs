//! The style sheet, the script and the icon: part of the binary, named by their content, and so kept by browsers for good.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

/// Something that pages need besides their text.
pub struct Asset {
    name: &'static str,
    ending: &'static str,
    content_type: &'static str,
    text: &'static str,
    path: LazyLock<String>,
}

macro_rules! asset {
    ($asset:ident, $name:literal, $ending:literal, $content_type:literal, $file:literal) => {
        pub static $asset: Asset = Asset {
            name: $name,
            ending: $ending,
            content_type: $content_type,
            text: include_str!($file),
            path: LazyLock::new(|| format!("ui/assets/{}", $asset.file())),
        };
    };
}

asset!(STYLE, "style", "css", "text/css; charset=utf-8", "style.css");
asset!(SCRIPT, "console", "js", "text/javascript; charset=utf-8", "console.js");
asset!(ICON, "icon", "svg", "image/svg+xml", "icon.svg");

impl Asset {
    /// From `/`.
    pub fn path(&'static self) -> &'static str {
        &self.path
    }

    fn file(&self) -> String {
        let hash = Sha256::digest(self.text.as_bytes());
        let hash: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        format!("{}.{hash}.{}", self.name, self.ending)
    }
}

/// `GET /ui/assets/{file}`
pub async fn get(Path(file): Path<String>) -> Response {
    let known = [&STYLE, &SCRIPT, &ICON].into_iter().find(|it| it.path().rsplit('/').next() == Some(file.as_str()));
    let Some(asset) = known else { return StatusCode::NOT_FOUND.into_response() };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    (headers, asset.text).into_response()
}
