//! At an address that only this machine has, only this machine's names are answered to.
//!
//! Whoever owns a name can have it lead to 127.0.0.1 (DNS rebinding). A page of that name is then, for the browser that
//! shows it, of the same site as what answers here: `Origin` and `Host` agree, and nothing else tells it from our own pages.
//! But the name is not one of this machine. Where we listen at another address nothing is known of names: proxies and
//! Services have theirs.

use std::net::IpAddr;

use axum::{
    Router,
    extract::Request,
    http::{header, uri::Authority},
    middleware::{self, Next},
    response::Response,
};

use super::Problem;

/// `router`, as it is reached by a listener at `address`.
pub(super) fn guard(address: IpAddr, router: Router) -> Router {
    match address.to_canonical().is_loopback() {
        true => router.layer(middleware::from_fn(refuse_other_names)),
        false => router,
    }
}

/// Refuses changes, and the pages from which a person makes them.
async fn refuse_other_names(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_of_console = path == "/" || path == "/ui" || path.starts_with("/ui/");
    match (is_of_console || !request.method().is_safe()) && !names_this_machine(&request) {
        true => Problem::unknown_host().into(),
        false => next.run(request).await,
    }
}

/// Whether all names that a request gives for where it goes are this machine's. Browsers always give one.
fn names_this_machine(request: &Request) -> bool {
    let headers = request.headers().get_all(header::HOST);
    let headers = headers.iter().map(|it| it.to_str().is_ok_and(|it| it.parse().is_ok_and(|it| is_local(&it))));
    // HTTP/2 has the name here, and a proxy may.
    request.uri().authority().is_none_or(is_local) && headers.into_iter().all(|it| it)
}

fn is_local(authority: &Authority) -> bool {
    let name = authority.host().to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_told_from_those_of_others() {
        let ours =
            ["localhost", "LocalHost:8000", "a.b.localhost:1", "localhost.", "127.0.0.1:80", "127.9.9.9", "[::1]:80"];
        let others = [
            "evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example:80",
            "10.0.0.1",
            "[::2]",
        ];
        for (names, local) in [(&ours[..], true), (&others[..], false)] {
            for name in names {
                assert_eq!(is_local(&name.parse().unwrap()), local, "{name}");
            }
        }
    }
}
