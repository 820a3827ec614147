//! The OpenAPI document, generated from the routes and their types, and the pages that show it to people.
//!
//! A route is in the document because `router` got it by `routes!`, with its annotation: neither can be without the other.
//! The problems of each route are in `answers.rs`, the schemas of fields with several spellings in `fields.rs`. The pages
//! are made here, of the same document, and not by a JavaScript application: they are read without a script, offline, under
//! a content security policy that allows nothing, and add some kilobytes to the binary where Swagger UI adds megabytes.

pub mod answers;
pub mod examples;
pub mod fields;
pub mod page;
mod read;

use serde_json::Value;
use utoipa::openapi::{
    Components, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Schema,
    path::ParameterIn,
    schema::{ArrayItems, SchemaType, Type},
    tag::TagBuilder,
};
use utoipa::{PartialSchema, ToSchema};

pub use page::Pages;

use crate::lifecycle::Reason;

use super::{Problem, events::JobEvent};

const DESCRIPTION: &str = "Queues Kubernetes Jobs in Postgres, and creates them by priority under an exact cap. Times are RFC \
    3339 in UTC. Errors are RFC 9457 problem documents with a stable `code`. An unknown field or parameter is refused, never \
    ignored. Every GET also answers HEAD. `/`, and what is below `/ui`, are pages for people.";

/// The resources, in the order in which the pages show them.
const TAGS: &[(&str, &str)] = &[
    ("jobs", "Submitting jobs, watching them, and cancelling them."),
    ("filter", "Jobs that a jq filter makes of any JSON."),
    ("queues", "Caps, bounds and pauses: of queues, and of everything."),
    ("sources", "Queues elsewhere that feed this one."),
    ("templates", "Manifests of Jobs that requests fill."),
    ("events", "What happens to jobs, as it happens."),
    ("webhooks", "Being told when jobs have ended."),
    ("health", "Whether this process lives, and whether it can do its work."),
    ("metrics", "What this replica counts and measures."),
    ("documentation", "This document, and pages for people."),
];

/// What the document says besides its routes.
pub fn frame() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Longshore")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .build();
    let tags = TAGS.iter().map(|(name, about)| TagBuilder::new().name(*name).description(Some(*about)).build());
    // The routes name the problem document by reference only.
    let mut needed = vec![(Problem::name().into_owned(), Problem::schema())];
    Problem::schemas(&mut needed);
    // So is what is inside a stream of events.
    needed.push((JobEvent::name().into_owned(), JobEvent::schema()));
    JobEvent::schemas(&mut needed);
    // And what a query may name.
    needed.push(("Reason".to_owned(), Reason::schema()));
    let mut components = Components::new();
    components.schemas.extend(needed);
    OpenApiBuilder::new().info(info).tags(Some(tags)).components(Some(components)).build()
}

/// The document as it is served.
pub fn finish(mut document: OpenApi) -> Value {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for parameter in operations.into_iter().flatten().filter_map(|it| it.parameters.as_mut()).flatten() {
            if let RefOr::T(parameter) = parameter
                && let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
            {
                parameter.description = parameter.description.take().or(schema.description.take());
                // What is not given in a query or a header is left out: there is no null there.
                if let SchemaType::Array(types) = &mut schema.schema_type
                    && parameter.parameter_in != ParameterIn::Path
                {
                    types.retain(|it| *it != Type::Null);
                }
            }
        }
    }
    for (name, schema) in document.components.iter_mut().flat_map(|it| it.schemas.iter_mut()) {
        // A list names what is in it, so that a generated client has one type for a job and not another for one in a list.
        if let Some(of) = name.strip_prefix("Page_")
            && let RefOr::T(Schema::Object(page)) = schema
            && let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items")
        {
            items.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(of).into()));
        }
    }
    serde_json::to_value(document).unwrap_or_default()
}
