//! The integration tests: one binary, a file per hazard. Each test has a Postgres of its own and runs against the
//! simulated cluster, or against the real one that `KUBECONFIG` names; those whose name has `sim_only` in it bring about
//! faults that only the simulator can.

mod harness;

mod api;
mod architecture;
mod batch;
mod cannot_start;
mod chaos;
mod claim;
mod client_commands;
mod costs;
mod cut_short;
mod database_away;
mod deadlines;
mod effects;
mod endings;
mod evidence;
mod first_minute;
mod history;
mod kubernetes_faults;
mod quota;
mod replicas;
mod retries;
mod schema;
mod seed_timeline;
mod why;
