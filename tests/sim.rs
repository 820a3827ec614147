//! The simulated cluster, seen through the real client over real TCP.

#[path = "sim/api.rs"]
mod api;
#[path = "sim/endings.rs"]
mod endings;
#[path = "sim/faults.rs"]
mod faults;
#[path = "sim/harness.rs"]
mod harness;
#[path = "sim/jobs.rs"]
mod jobs;
#[path = "sim/logs.rs"]
mod logs;
#[path = "sim/quotas.rs"]
mod quotas;
#[path = "sim/troubles.rs"]
mod troubles;
#[path = "sim/watches.rs"]
mod watches;
