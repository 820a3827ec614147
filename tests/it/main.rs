//! The integration tests: one binary, a file per hazard. Each test has a Postgres of its own and runs against the
//! simulated cluster, or against the real one that `KUBECONFIG` names; those whose name has `sim_only` in it bring about
//! faults that only the simulator can.

mod harness;

mod api;
mod architecture;
mod batch;
mod boss;
mod boss_chaos;
mod boss_tables;
mod bulk;
mod cannot_start;
mod changes;
mod chaos;
mod claim;
mod client_commands;
mod client_events;
mod client_many;
mod client_queues;
mod client_submit;
mod client_templates;
mod console;
mod costs;
mod cut_off;
mod cut_short;
mod database_away;
mod deadlines;
mod doctor;
mod effects;
mod endings;
mod eta;
mod events;
mod evidence;
mod first_minute;
mod history;
mod hostile_filters;
mod jq;
mod kubernetes_faults;
mod lists;
mod log_lines;
mod manifest;
mod metrics;
mod openapi;
mod pod_policy;
mod queues;
mod quota;
mod recover;
mod recovery;
mod reference;
mod replicas;
mod retries;
mod roles;
mod schema;
mod seed_timeline;
mod settings;
#[cfg(feature = "sqs")]
mod sqs;
#[cfg(feature = "sqs")]
mod sqs_held;
#[cfg(feature = "sqs")]
mod sqs_many;
#[cfg(feature = "sqs")]
mod sqs_queue;
mod submit_in_sql;
mod template_requests;
mod templates;
mod traces;
mod webhooks;
mod why;
mod workers;
