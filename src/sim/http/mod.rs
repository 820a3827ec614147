//! The cluster's HTTP face: one handler that routes, injects faults, and answers.

mod discovery;
mod faults;
mod line;
mod list;
mod log;
mod openapi;
mod protobuf;
mod route;
mod script;
mod table;
mod verbs;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::line::{Gate, Lines, Peer};
use self::route::{Query, Route, Shape, Target};
use super::audit::Answer;
use super::fault::{Asked, Plan};
use super::state::{Call, Refusal};
use super::world::World;

/// As the real server: 3 MiB.
const BODY_MAX_BYTES: usize = 3 * 1024 * 1024;

/// What serves, until it is stopped.
pub struct Serving {
    stop: CancellationToken,
    lines: Lines,
    server: JoinHandle<()>,
    clock: JoinHandle<()>,
}

/// What the handler shares.
#[derive(Clone)]
struct Face {
    world: Arc<World>,
    stop: CancellationToken,
}

/// One request, read as far as its body.
struct Asking {
    target: Target,
    call: Call,
    query: Query,
    headers: HeaderMap,
    shape: Shape,
}

impl Serving {
    pub fn start(listener: TcpListener, world: Arc<World>) -> Serving {
        let (stop, lines) = (CancellationToken::new(), Lines::default());
        let face = Face { world: world.clone(), stop: stop.clone() };
        let app = Router::new().fallback(handle).with_state(face);
        let gate = Gate { listener, lines: lines.clone() };
        let server = tokio::spawn(async move {
            let served = axum::serve(gate, app.into_make_service_with_connect_info::<Peer>()).await;
            if let Err(error) = served {
                tracing::error!(%error, "the simulated cluster stopped serving");
            }
        });
        let token = stop.clone();
        let clock = tokio::spawn(async move { world.run_clock(token).await });
        Serving { stop, lines, server, clock }
    }

    pub async fn stop(mut self) {
        self.end();
        // Only their cancellation can be reported here, and that is what was asked for.
        (&mut self.server).await.ok();
        (&mut self.clock).await.ok();
    }

    fn end(&self) {
        self.stop.cancel();
        self.server.abort();
        self.lines.cut_all();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.end();
    }
}

async fn handle(State(face): State<Face>, ConnectInfo(peer): ConnectInfo<Peer>, request: Request) -> Response {
    let received = Timestamp::now();
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if path.starts_with("/sim/") {
        return faults::answer(&face.world.faults, &parts.method, path, body).await;
    }
    let query = route::query(&parts.uri);
    let route = match route::route(&parts.method, path, &query) {
        Ok(route) => route,
        Err(refusal) => return refuse(&refusal),
    };
    let actor = route::actor(&parts.headers, peer.address.ip().to_string());
    match route {
        Route::Other(path) => {
            let asked = Asked {
                verb: parts.method.as_str().to_ascii_lowercase(),
                resource: path.trim_start_matches('/').to_owned(),
                user_agent: actor.agent,
                ..Asked::default()
            };
            let plan = face.world.faults.plan(&asked);
            let answer =
                async { discovery::answer(&face.world.faults, &parts.method, &path, &parts.headers, body).await };
            inject(&face, &peer, plan, None, answer).await
        }
        Route::Resource(target) => {
            let call = Call {
                actor,
                received,
                uri: uri_text(&parts.uri),
                verb: target.verb,
                resource: target.resource,
                namespace: target.namespace.clone(),
                name: target.name.clone(),
                subresource: target.subresource.clone(),
            };
            let shape = match route::shape(&parts.headers) {
                Ok(shape) => shape,
                Err(_) if target.subresource == "log" => Shape::Whole,
                Err(refusal) => return refuse(&refusal),
            };
            let (asked, body) = match asked(&face, &call, &parts.headers, body).await {
                Ok(asked) => asked,
                Err(refusal) => return refuse(&refusal),
            };
            let plan = face.world.faults.plan(&asked);
            let stale = plan.stale;
            let asking = Asking { target, call: call.clone(), query, headers: parts.headers, shape };
            let answer = async { verbs::answer(&face, asking, stale, body).await };
            inject(&face, &peer, plan, Some(&call), answer).await
        }
    }
}

/// What rules are compared with: the object that the request is about, from its body if it is to be created.
async fn asked(face: &Face, call: &Call, headers: &HeaderMap, body: Body) -> Result<(Asked, Body), Refusal> {
    let asked = Asked::from(call);
    if !face.world.faults.any() {
        return Ok((asked, body));
    }
    if call.verb == "create" {
        let bytes = read_body(body).await?;
        // A body that cannot be read is refused by the verb itself, in its own words.
        let object = verbs::as_json(headers, bytes.clone()).ok().and_then(|json| serde_json::from_slice(&json).ok());
        return Ok((asked.about(&object.unwrap_or_default()), Body::from(bytes)));
    }
    let found = face.world.with(|state| state.get(call.resource, &call.namespace, &call.name));
    Ok((found.map_or(asked.clone(), |object| asked.about_record(object.record())), body))
}

/// Carries out the request with what the faults add to it.
async fn inject(
    face: &Face,
    peer: &Peer,
    plan: Plan,
    call: Option<&Call>,
    answer: impl Future<Output = Response>,
) -> Response {
    if !plan.before.is_zero() {
        tokio::time::sleep(plan.before).await;
    }
    if plan.drop_request {
        return cut(peer);
    }
    let response = match &plan.refusal {
        Some(refusal) => {
            if let Some(call) = call {
                audit_refusal(face, call, refusal);
            }
            refuse(refusal)
        }
        None => answer.await,
    };
    if !plan.after.is_zero() {
        tokio::time::sleep(plan.after).await;
    }
    if plan.drop_answer { cut(peer) } else { dated(response, plan.clock_off_secs) }
}

/// With the date of a clock that is off; else the server writes its own.
fn dated(mut response: Response, off_secs: Option<i64>) -> Response {
    let date = off_secs.and_then(|secs| {
        let then = Timestamp::now().checked_add(SignedDuration::from_secs(secs)).ok()?;
        let text = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&then).ok()?;
        HeaderValue::from_str(&text).ok()
    });
    if let Some(date) = date {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// Breaks the connection. What is returned here is never sent.
fn cut(peer: &Peer) -> Response {
    peer.cutter.cut();
    Response::new(Body::empty())
}

fn audit_refusal(face: &Face, call: &Call, refusal: &Refusal) {
    let status = refusal.status().to_string();
    face.world.with(|state| {
        let response = Some(status.as_bytes());
        state.audit.write(call, Answer { code: refusal.code, refusal: Some(refusal), request: None, response });
    });
}

fn uri_text(uri: &Uri) -> String {
    uri.path_and_query().map_or_else(String::new, ToString::to_string)
}

fn refuse(refusal: &Refusal) -> Response {
    let mut response = json_answer(refusal.code, refusal.status().to_string());
    if let Some(secs) = refusal.retry_after_secs {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    response
}

fn json_value(code: u16, value: &Value) -> Response {
    json_answer(code, value.to_string())
}

fn json_answer(code: u16, text: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn read_body(body: Body) -> Result<Bytes, Refusal> {
    axum::body::to_bytes(body, BODY_MAX_BYTES).await.map_err(|error| {
        tracing::debug!(%error, "a request body was not read");
        Refusal::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {BODY_MAX_BYTES}"))
    })
}
