//! Which kinds of problems each route may answer with, a line a route, and how the OpenAPI document tells them. The fuzzer
//! holds every answer of the real thing against these lines.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::{
    IntoResponses,
    openapi::{
        Content, Header, Ref, RefOr, Response,
        example::ExampleBuilder,
        header::HeaderBuilder,
        response::ResponseBuilder,
        schema::{ObjectBuilder, Type},
    },
};

use crate::{
    api::{Problem, kinds::Kind},
    spec::Fault,
};

/// What any route may answer.
const ALWAYS: &[Kind] = &[Kind::Internal, Kind::Starting];
/// And one that asks the database.
const READS: &[Kind] = &[Kind::Internal, Kind::Starting, Kind::OutcomeUnknown, Kind::DatabaseUnavailable];
/// And one that changes something.
const CHANGES: &[Kind] = &[
    Kind::CrossSite,
    Kind::UnknownHost,
    Kind::Internal,
    Kind::Starting,
    Kind::OutcomeUnknown,
    Kind::DatabaseUnavailable,
];

/// Declares the problems of routes: each a type to be named among the `responses` of its handler.
macro_rules! problems {
    ($($route:ident: $basis:ident $($kind:ident)*;)+) => {
        $(
            /// The problems of a route.
            pub enum $route {}

            impl IntoResponses for $route {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    told($basis.iter().chain(&[$(Kind::$kind),*]))
                }
            }
        )+
    };
}

problems! {
    Alone: ALWAYS;
    OfProblemPage: ALWAYS NoSuchProblem;
    OfReady: READS Stopping DatabaseReadOnly ClusterUnavailable WatchBroken Recovering;
    OfSubmit: CHANGES InvalidJson UnreadableBody KeyReused TooLarge InvalidFields PodPolicy ManifestRejected TooManyQueues QueueFull
        TemplatesUnavailable;
    OfBatch: CHANGES InvalidJson UnreadableBody TooLarge TooManyJobs InvalidFields BatchRefused TemplatesUnavailable;
    OfFilter: CHANGES InvalidJson UnreadableBody NoFilter NoSuchPath TooLarge InvalidFields PodPolicy ManifestRejected FilterFailed TooManyQueues QueueFull
        FilterBusy FilterUnavailable FilterTimeout;
    OfJobName: READS NoFilter NoSuchJob NoSuchPath;
    OfLists: READS InvalidFields;
    OfJob: READS NoSuchJob;
    OfJobLists: READS NoSuchJob InvalidFields;
    OfLogs: READS NoSuchJob NoLog InvalidFields ClusterUnavailable;
    OfCancel: CHANGES NoSuchJob AlreadyFinished;
    OfChange: CHANGES InvalidJson UnreadableBody NoSuchJob NotWaiting TooLarge InvalidFields;
    OfBulk: CHANGES InvalidJson UnreadableBody TooLarge InvalidFields;
    OfRetry: CHANGES NoSuchJob NotRetryable;
    OfLimits: READS;
    OfQueue: READS NoSuchQueue;
    OfQueuePut: CHANGES InvalidJson UnreadableBody TooLarge InvalidFields TooManyQueues;
    OfQueueChange: CHANGES InvalidJson UnreadableBody NoSuchQueue TooLarge InvalidFields;
    OfSources: READS;
    OfSource: READS NoSuchSource;
    OfSourceChange: CHANGES InvalidJson UnreadableBody NoSuchSource TooLarge InvalidFields;
    OfTemplate: READS NoSuchTemplate;
    OfTemplatePut: CHANGES InvalidJson UnreadableBody TemplateIsFixed TooLarge InvalidFields TooManyTemplates;
    OfTemplateDelete: CHANGES NoSuchTemplate TemplateIsFixed;
    OfStream: READS EventsGone InvalidFields TooManyStreams;
    OfWebhooks: READS;
    OfWebhook: READS NoSuchWebhook;
    OfWebhookLists: READS NoSuchWebhook InvalidFields;
    OfWebhookCreate: CHANGES InvalidJson UnreadableBody TooLarge InvalidFields TooManyWebhooks;
    OfWebhookChange: CHANGES NoSuchWebhook;
    OfRedeliver: CHANGES NoSuchWebhook NoSuchDelivery;
    OfLimitsSet: CHANGES InvalidJson UnreadableBody TooLarge InvalidFields;
}

/// Answers by their status.
fn told<'a>(kinds: impl Iterator<Item = &'a Kind>) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in kinds {
        for status in kind.statuses() {
            by_status.entry(status.as_u16()).or_default().push(*kind);
        }
    }
    by_status.into_iter().map(|(status, kinds)| (status.to_string(), RefOr::T(answer(status, &kinds)))).collect()
}

fn answer(status: u16, kinds: &[Kind]) -> Response {
    let lines: Vec<String> = kinds
        .iter()
        .map(|kind| {
            let about = kind.about();
            format!("- `{}`: {}", about.code, about.meaning)
        })
        .collect();
    let examples = kinds.iter().map(|kind| {
        let about = kind.about();
        (about.code, ExampleBuilder::new().summary(about.title).value(Some(example(*kind, status))).build())
    });
    let mut content = Content::new(Some(Ref::from_schema_name("Problem")));
    content.examples = examples.map(|(code, example)| (code.to_owned(), RefOr::T(example))).collect();
    let mut response =
        ResponseBuilder::new().description(lines.join("\n")).content("application/problem+json", content);
    if matches!(status, 429 | 503) {
        response = response.header("Retry-After", retry_after());
    }
    response.build()
}

fn retry_after() -> Header {
    let secs = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
    HeaderBuilder::new().schema(Some(secs)).description(Some("After how many seconds to ask again.")).build()
}

/// A problem as it would be sent.
fn example(kind: Kind, status: u16) -> Value {
    let problem = match kind {
        Kind::InvalidFields => Problem::invalid_fields(vec![Fault::new("/parallelism", "must be 1 or more")]),
        kind => Problem::new(kind, kind.about().meaning),
    };
    let mut example = serde_json::to_value(problem).unwrap_or(json!({}));
    example["status"] = status.into();
    example
}
