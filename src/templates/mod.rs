//! From a request to a manifest: templates, where they are kept, and how they are filled.
//!
//! A parameter is data. It is put into the parsed tree, never into YAML text, and what was put in is not looked at again, so
//! that no value can become a field, a list or another placeholder. What holds this is the order of things: a template is
//! taken apart once, when it is taken in ([`tree`]), and filling it only joins pieces.

pub mod check;
pub mod document;
pub mod files;
pub mod follow;
pub mod jq;
pub mod parameter;
pub mod shelf;
pub mod tree;

pub use document::{Addition, Form, Template};
