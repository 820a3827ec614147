//! The jq front: a filter, written by whoever runs Longshore, turns any JSON into a Kubernetes Job. docs/jq.md is for them.

pub mod asked;
mod engine;
mod flags;
mod frame;
mod pool;
mod worker;

use std::process::ExitCode;

pub use flags::FilterFlags;
pub use pool::{Filters, Refused};

/// Serves as a worker if this process was started as one; else none.
pub fn work_if_asked() -> Option<ExitCode> {
    (std::env::args_os().nth(1)? == worker::ARGUMENT).then(worker::main)
}
