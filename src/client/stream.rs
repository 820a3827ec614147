//! A text that comes bit by bit, for as long as it takes.

use bytes::Bytes;
use reqwest::{Response, header};

use super::{failure::Failure, http::deepest};

/// The text of an answer, and what was said about it beforehand.
pub struct Stream {
    response: Response,
}

impl Stream {
    /// A good answer, unless it is something else than what is `wanted`: then what it is.
    pub fn of(response: Response, wanted: &str) -> Result<Self, String> {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
        match kind.starts_with(wanted) {
            true => Ok(Self { response }),
            false => Err(format!("it answers {kind:?} where {wanted} was asked for")),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// How long the whole text is, where that is known.
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next part, until there is no more.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        self.response.chunk().await.map_err(|err| Failure::CutOff {
            cause: match err.is_timeout() {
                true => "it took too long".into(),
                false => deepest(&err),
            },
        })
    }
}
