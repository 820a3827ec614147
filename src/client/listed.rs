//! Lists that are shown whole: of queues, templates, sources, and of the events of a job.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Failure, Format,
    http::{Ask, Http},
    output::{note, print},
    text::Shown,
};

/// The most items that the API gives on a page.
pub const PAGE: u64 = 1_000;

#[derive(Deserialize)]
struct Page {
    items: Vec<Value>,
    #[serde(default)]
    next: Option<String>,
}

/// A list, as it came and as it is read.
pub struct Listed<T> {
    pub values: Vec<Value>,
    pub things: Vec<T>,
}

impl<T: DeserializeOwned> Listed<T> {
    /// Asks for page after page of a list, or for a list that comes in one piece and takes no `limit`.
    pub async fn whole(http: &Http, path: &[&str], limit: Option<u64>) -> Result<Self, Failure> {
        let mut list = Self { values: Vec::new(), things: Vec::new() };
        let mut cursor = None;
        loop {
            let ask = Ask::get(path).query("limit", limit).query("cursor", cursor.as_ref());
            let answer = http.send(ask).await?;
            let page: Page = answer.read()?;
            for it in &page.items {
                list.things.push(answer.read_part(it)?);
            }
            list.values.extend(page.items);
            // A cursor that stays where it is would go on for ever.
            if page.next.is_none() || page.next == cursor {
                return Ok(list);
            }
            cursor = page.next;
        }
    }

    /// Prints it; where there is nothing, people are told `none`.
    pub fn print(
        self,
        format: Format,
        none: &str,
        name: impl Fn(&T) -> &Shown,
        table: impl FnOnce(&[T]) -> String,
    ) -> Result<(), Failure> {
        if self.things.is_empty() {
            note(none);
        }
        match format {
            Format::Json | Format::Jsonl => format.print_all(self.values),
            Format::Name => self.things.iter().try_for_each(|it| print(name(it).as_str())),
            Format::Table | Format::Wide if self.things.is_empty() => Ok(()),
            Format::Table | Format::Wide => print(&table(&self.things)),
        }
    }
}
