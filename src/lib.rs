//! Longshore queues Kubernetes Jobs in Postgres and creates them by priority under an exact cap.
//!
//! Read in this order: the words ([`id`], [`lifecycle`], [`spec`]), the two rooms that touch the world ([`store`],
//! [`cluster`]), the movers between them ([`api`], [`scheduler`], [`reconcile`]), and [`run`], which puts a replica
//! together. `ARCHITECTURE.md` has the map.

// Words: no I/O, no async.
pub mod effects;
pub mod egress;
pub mod error;
pub mod eta;
pub mod id;
pub mod lifecycle;
pub mod metrics;
pub mod recovery;
pub mod retry;
pub mod roles;
pub mod spec;
pub mod traces;
pub mod trouble;

// The two rooms that touch the world. They never see each other.
pub mod cluster;
pub mod store;

// From requests to manifests.
pub mod templates;

// Movers: from one to the other.
pub mod api;
pub mod events;
pub mod lease;
pub mod reconcile;
pub mod scheduler;
pub mod sources;
pub mod sweep;
pub mod ui;
pub mod webhooks;

// What a replica is put together from, and with.
pub mod commands;
pub mod config;
pub mod doctor;
pub mod embedded;
pub mod recover;
pub mod run;
pub mod telemetry;

pub mod client;
pub mod sim;
