//! The integration tests: one binary, a file per hazard. Each test has a Postgres of its own and runs against the
//! simulated cluster, or against the real one that `KUBECONFIG` names; those whose name has `sim_only` in it bring about
//! faults that only the simulator can.

mod harness;

mod api;
mod architecture;
mod chaos;
mod claim;
mod client_commands;
mod database_away;
mod effects;
mod endings;
mod first_minute;
mod kubernetes_faults;
mod replicas;
mod schema;
mod seed_timeline;
