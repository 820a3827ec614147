//! Many jobs of one file: sent a thousand at a time, each under a key of its own, so that what is sent again is not made
//! twice.

use serde::Deserialize;
use serde_json::Value;

use super::{
    Exit, Failure, Format,
    failure::Problem,
    http::{Ask, Http},
    output::{note, print},
    text::{self, Shown, clean},
};

/// The most jobs that are sent at once: a transaction of the server.
const JOBS: usize = 1_000;
/// How long the text of one request may become, in bytes, unless all have to be in it.
const BYTES: usize = 8 * 1024 * 1024;

/// Submits what `bodies` says, one after the other, and prints what came of each. The key of each begins with `key`.
pub struct Batch<'a> {
    pub http: &'a Http,
    pub key: &'a str,
    pub is_atomic: bool,
    /// In which form what came of each is printed; none where that is not asked for.
    pub output: Option<Format>,
}

/// What came of all.
pub struct Submitted {
    /// The jobs there are now.
    pub ids: Vec<String>,
    /// That of the first that was refused.
    pub exit: Exit,
}

/// What came of one.
#[derive(Deserialize)]
struct Item {
    index: u64,
    status: u16,
    #[serde(default)]
    job_id: Shown,
    #[serde(default)]
    name: Shown,
    error: Option<Problem>,
}

/// How far the printing is.
struct Sheet {
    results: Vec<Value>,
    ids: Vec<String>,
    exits: Vec<Exit>,
}

impl Batch<'_> {
    pub async fn submit(&self, bodies: Vec<Value>) -> Result<Submitted, Failure> {
        let mut sheet = Sheet { results: Vec::new(), ids: Vec::new(), exits: Vec::new() };
        let mut text = String::new();
        let (mut first, mut count) = (0, 0);
        for body in bodies {
            let body = body.to_string();
            if !self.is_atomic && (count == JOBS || count > 0 && text.len() + body.len() > BYTES) {
                self.send(&text, first, &mut sheet).await?;
                (first, count) = (first + count as u64, 0);
                text.clear();
            }
            text.push(if count == 0 { '[' } else { ',' });
            text.push_str(&body);
            count += 1;
        }
        if count > 0 {
            self.send(&text, first, &mut sheet).await?;
        }
        if self.output == Some(Format::Json) {
            Format::Json.print_all(sheet.results)?;
        }
        Ok(Submitted { ids: sheet.ids, exit: Exit::first_bad(sheet.exits) })
    }

    /// Sends what is to be an array once it is closed; its first item is number `first` of all.
    async fn send(&self, open: &str, first: u64, sheet: &mut Sheet) -> Result<(), Failure> {
        let array = format!("{open}]");
        let unsure = |cause: Failure| match cause.is_unsure() {
            true => Failure::Unsure { cause: Box::new(cause), key: self.key.into() },
            false => cause,
        };
        let ask = Ask::batch(&["jobs", "batch"], &array).query("atomic", self.is_atomic.then_some(true));
        let mut answer = self.http.send(ask).await.map_err(unsure)?;
        let Value::Array(results) = std::mem::take(&mut answer.body) else {
            return Err(unsure(answer.foreign("it answers many submissions with something else than an array".into())));
        };
        for mut result in results {
            let mut item: Item = answer.read_part(&result).map_err(unsure)?;
            item.index += first;
            if let Some(index) = result.get_mut("index") {
                *index = item.index.into();
            }
            self.tell(&item, &result)?;
            match item.error {
                Some(problem) => sheet.exits.push(Exit::of_refusal(item.status, problem.code.as_str())),
                None => sheet.ids.push(item.job_id.to_string()),
            }
            if self.output == Some(Format::Json) {
                sheet.results.push(result);
            }
        }
        Ok(())
    }

    fn tell(&self, item: &Item, result: &Value) -> Result<(), Failure> {
        match (self.output, &item.error) {
            (Some(Format::Jsonl), _) => print(&text::json(result, false)),
            (Some(Format::Json), _) => Ok(()),
            (_, Some(problem)) => {
                let place = format!("item {}", item.index);
                problem.lines_at(&place).iter().for_each(|it| note(&clean(it)));
                Ok(())
            }
            (Some(Format::Name), None) => print(&format!("job/{}", item.job_id)),
            (Some(Format::Table | Format::Wide), None) => {
                let was_before = if item.status == 200 { "was submitted before" } else { "submitted" };
                print(&format!("{} {} {was_before}", item.job_id, item.name))
            }
            (None, None) => Ok(()),
        }
    }
}
