//! `--live`: whether one replica lives, for the health check of a container without a shell.

use std::process::ExitCode;

use reqwest::{Client, Url};

/// Asks `/livez`, which minds neither database nor cluster.
pub async fn ask(http: &Client, url: &Url) -> ExitCode {
    let told = async { http.get(beneath(url, "livez")).send().await?.error_for_status() };
    match told.await {
        Ok(_) => {
            println!("OK");
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("error: the replica does not answer: {}", crate::error::chain(&err.without_url()));
            ExitCode::FAILURE
        }
    }
}

/// A path beneath an address, which may have a path of its own.
pub fn beneath(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/'));
    }
    url
}
