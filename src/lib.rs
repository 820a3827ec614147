//! Longshore queues Kubernetes Jobs in Postgres and creates them by priority under an exact cap.
//!
//! Read in this order: the words ([`id`], [`lifecycle`], [`spec`]), the two rooms that touch the world ([`store`],
//! [`cluster`]), the movers between them, and [`run`], which puts them together. `ARCHITECTURE.md` has the map.

pub mod effects;
pub mod error;
pub mod id;
pub mod lifecycle;
pub mod spec;

pub mod cluster;
pub mod store;

pub mod api;
pub mod lease;
pub mod reconcile;
pub mod scheduler;
