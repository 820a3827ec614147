//! Several jobs, one after the other: what cannot be done for one does not keep the others from it.

use serde_json::Value;

use crate::id::JobId;

use super::{Exit, Failure, Format, http::job_id};

/// Does something for each of `ids`, says what failed, and prints the answers where they are for programs.
pub async fn each(
    ids: &[String],
    format: Format,
    one: impl AsyncFn(JobId) -> Result<Value, Failure>,
) -> Result<Exit, Failure> {
    let mut exits = Vec::new();
    let mut done = Vec::new();
    for id in ids {
        let answer = match job_id(id) {
            Ok(id) => one(id).await,
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(value) => done.push(value),
            Err(failure) => {
                exits.push(failure.report(format));
                if failure.is_for_all() {
                    break;
                }
            }
        }
    }
    format.print_all(done)?;
    Ok(Exit::first_bad(exits))
}
