//! Who holds a slot, as people are shown it.

use serde_json::Value;

use super::{
    failure::Failure,
    http::{Ask, Http},
    output::{Paged, cell},
    text::Clock,
    view::Job,
};

/// All that hold a slot, longest first.
pub struct Slots {
    /// As they came, for programs.
    pub value: Value,
    pub holders: Vec<Job>,
}

impl Slots {
    pub async fn ask(http: &Http) -> Result<Self, Failure> {
        let answer = http.send(Ask::get(&["jobs", "running"])).await?;
        Ok(Self { holders: answer.read()?, value: answer.body })
    }

    pub fn table(&self, clock: Clock) -> String {
        rows(&self.holders, clock)
    }
}

/// Those that hold a slot, one in a line.
pub fn rows(holders: &[Job], clock: Clock) -> String {
    let rows = holders.iter().map(|it| {
        vec![
            it.state.to_string(),
            cell(it.name.as_str()),
            it.job_id.to_string(),
            clock.tell_maybe(it.claimed_at),
            it.why.as_ref().map(|it| cell(it.message.as_str())).unwrap_or_default(),
        ]
    });
    Paged::new(&["STATE", "NAME", "ID", "SINCE", "WHY"]).page(rows.collect())
}
