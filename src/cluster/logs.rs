//! Reading what a container wrote: its end, to be kept, and as it comes, to be passed on.

use std::time::Duration;

use futures::{AsyncBufRead, AsyncReadExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};

use super::{
    Cluster,
    answer::{self, Failure},
};

/// How much of the end of a log is kept, in bytes.
pub const TAIL_BYTES: usize = 16 * 1024;
/// How much of a log is read for its end, in bytes. Kubernetes gives the last so many lines, and not the last so many
/// bytes; lines may be of any length.
const READ_BYTES: usize = 1024 * 1024;
/// How many lines are asked for, and how many if those are more than is read.
const LINES: [i64; 4] = [2_000, 100, 5, 1];
/// How long reading the end of a log may take.
const TAIL_TIMEOUT: Duration = Duration::from_secs(10);

/// The end of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    pub text: String,
    /// Whether there was more before it.
    pub truncated: bool,
}

/// What is asked of a log that is passed on.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub container: Option<String>,
    pub follow: bool,
    pub tail_lines: Option<i64>,
}

impl Cluster {
    /// The last [`TAIL_BYTES`] of what a container wrote; none when there is no such pod any more, or nothing was written
    /// because it never began.
    pub async fn log_tail(&self, namespace: &str, pod: &str, container: Option<&str>) -> Result<Option<Tail>, Failure> {
        let read = async {
            for lines in LINES {
                self.wait_for_turn().await;
                let params = LogParams {
                    container: container.map(str::to_owned),
                    tail_lines: Some(lines),
                    limit_bytes: Some(READ_BYTES as i64),
                    ..LogParams::default()
                };
                let Some(log) = self.open_log(namespace, pod, &params).await? else { return Ok(None) };
                let mut bytes = Vec::new();
                let read = log.take(READ_BYTES as u64).read_to_end(&mut bytes).await;
                read.map_err(|err| Failure { message: format!("a log broke off: {err}"), retry_after: None })?;
                // What comes to the bound was cut at its end, which is the part that is wanted.
                if bytes.len() < READ_BYTES || lines == 1 {
                    let lines_read = bytes.iter().filter(|it| **it == b'\n').count() as i64;
                    return Ok(Some(end_of(&bytes, lines_read >= lines || lines != LINES[0])));
                }
            }
            Ok(None)
        };
        match tokio::time::timeout(TAIL_TIMEOUT, read).await {
            Ok(read) => read,
            Err(_) => Err(Failure::timed_out(TAIL_TIMEOUT)),
        }
    }

    /// What a container writes, as it comes; none as for [`Self::log_tail`].
    pub async fn follow_log(
        &self,
        namespace: &str,
        pod: &str,
        asked: &Asked,
    ) -> Result<Option<impl AsyncBufRead + use<>>, Failure> {
        let params = LogParams {
            container: asked.container.clone(),
            follow: asked.follow,
            tail_lines: asked.tail_lines,
            ..LogParams::default()
        };
        self.open_log(namespace, pod, &params).await
    }

    async fn open_log(
        &self,
        namespace: &str,
        pod: &str,
        params: &LogParams,
    ) -> Result<Option<impl AsyncBufRead + use<>>, Failure> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        match pods.log_stream(pod, params).await {
            Ok(log) => Ok(Some(log)),
            // 400: its container has not begun, or will not.
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404) => Ok(None),
            Err(err) => Err(answer::of_request(err)),
        }
    }
}

/// The end of what was read, from the beginning of a character, with what is no text replaced.
fn end_of(bytes: &[u8], more_before: bool) -> Tail {
    let mut from = bytes.len().saturating_sub(TAIL_BYTES);
    while from > 0 && from < bytes.len() && bytes[from] & 0b1100_0000 == 0b1000_0000 {
        from += 1;
    }
    // Postgres takes every character but U+0000.
    let text = String::from_utf8_lossy(&bytes[from..]).replace('\0', "\u{FFFD}");
    Tail { text, truncated: from > 0 || more_before }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_whole_characters_and_text_only() {
        assert_eq!(end_of(b"short\n", false), Tail { text: "short\n".into(), truncated: false });
        let long = "ü".repeat(TAIL_BYTES);
        let tail = end_of(&[b"x", long.as_bytes()].concat(), false);
        assert!(tail.truncated && tail.text.chars().all(|it| it == 'ü') && tail.text.len() <= TAIL_BYTES);
        assert_eq!(end_of(b"a\0b\xffc", false).text, "a\u{FFFD}b\u{FFFD}c");
    }
}
