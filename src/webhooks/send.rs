//! One message on its way: signed, to an address that was judged, once.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use reqwest::{
    Client, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    egress::Egress,
    error::chain,
    store::deliveries::{Outcome, Taken},
};

use super::sign::Key;

/// How long one message may take, until its answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an answer is read, in bytes, so that the connection can be used again. What it says is not looked at.
const ANSWER_BYTES: usize = 4 * 1024;
/// How much of an error is kept, in characters.
const ERROR_CHARS: usize = 500;

/// What is sent: an event in the words of CloudEvents.
#[derive(Debug, Serialize)]
struct Message<'a> {
    specversion: &'static str,
    /// The same for each try.
    id: String,
    /// The installation that sends it.
    source: String,
    r#type: String,
    /// When the job ended.
    time: &'a Value,
    /// The job's id.
    subject: String,
    datacontenttype: &'static str,
    /// The job as it was then.
    data: &'a Value,
}

/// Resolves names, and leaves out the addresses that may not be reached: the connection goes to one that is left, so that no
/// second look at the name can lead elsewhere.
struct Judged(Arc<Egress>);

impl Resolve for Judged {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let may: Vec<SocketAddr> = found.filter(|it| egress.permits(name.as_str(), it.ip())).collect();
            match may.is_empty() {
                true => Err("it resolves to no address that may be reached".into()),
                false => Ok(Box::new(may.into_iter()) as Addrs),
            }
        })
    }
}

/// What messages are sent with.
pub struct Sender {
    egress: Arc<Egress>,
    client: Client,
}

impl Sender {
    pub fn new(egress: Arc<Egress>) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(Judged(egress.clone())))
            // Where it is redirected to was not judged; and a proxy would judge nothing.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .build()?;
        Ok(Self { egress, client })
    }

    /// Sends one message, and says what came of it.
    pub async fn send(&self, taken: &Taken) -> Outcome {
        match self.answer(taken).await {
            Ok(status) => Outcome {
                delivered: status.is_success(),
                status: Some(status.as_u16().into()),
                error: (!status.is_success()).then(|| format!("it answered {status}")),
                gone: status == StatusCode::GONE,
            },
            Err(error) => Outcome {
                delivered: false,
                status: None,
                error: Some(error.chars().take(ERROR_CHARS).collect()),
                gone: false,
            },
        }
    }

    async fn answer(&self, taken: &Taken) -> Result<StatusCode, String> {
        // Judged again: what is allowed may have changed since it was accepted.
        let url = self.egress.check_url(&taken.url).map_err(|it| format!("its URL {it}"))?;
        let (id, body) = (taken.id.to_string(), body(taken));
        let secrets = [Some(&taken.secret), taken.previous.as_ref()].into_iter().flatten();
        let signatures: Vec<String> =
            secrets.filter_map(|it| Key::read(it.reveal())).map(|key| key.sign(&id, taken.now_secs, &body)).collect();
        if signatures.is_empty() {
            return Err("its secret cannot be read".into());
        }
        let request = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", taken.now_secs)
            .header("webhook-signature", signatures.join(" "))
            .body(body);
        // The URL may have something secret in it, and is known anyway.
        let mut answer = request.send().await.map_err(|err| chain(&err.without_url()))?;
        let status = answer.status();
        let mut read = 0;
        while let Ok(Some(chunk)) = answer.chunk().await {
            read += chunk.len();
            if read > ANSWER_BYTES {
                break;
            }
        }
        Ok(status)
    }
}

fn body(taken: &Taken) -> String {
    let message = Message {
        specversion: "1.0",
        id: taken.id.to_string(),
        source: format!("/longshore/{}", taken.instance),
        r#type: format!("dev.longshore.job.{}.v1", taken.job_state),
        time: &taken.payload["finished_at"],
        subject: taken.job_id.to_string(),
        datacontenttype: "application/json",
        data: &taken.payload,
    };
    // What Postgres kept as JSON can be written as JSON.
    serde_json::to_string(&message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_leads_inside_leads_nowhere() {
        let resolve = async |allowed: &[&str]| {
            let allowed: Vec<_> = allowed.iter().map(|it| it.parse().unwrap()).collect();
            let found = Judged(Arc::new(Egress::new(&allowed))).resolve("localhost".parse().unwrap()).await;
            found.map(|it| it.count() > 0).map_err(|err| err.to_string())
        };
        assert_eq!(resolve(&[]).await, Err("it resolves to no address that may be reached".into()));
        assert_eq!(
            resolve(&["10.0.0.0/8", "other"]).await,
            Err("it resolves to no address that may be reached".into())
        );
        assert_eq!(resolve(&["localhost"]).await, Ok(true));
        assert_eq!(resolve(&["127.0.0.0/8", "::1"]).await, Ok(true));
    }
}
