//! Where this process may be sent by someone who names a URL: nowhere inside the network it lives in, unless that was
//! allowed.
//!
//! A name is judged by the addresses that it resolves to, each time, and the connection goes to an address that was judged:
//! see `src/webhooks/send.rs`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::Url;

/// The longest URL, in bytes: longer ones are refused by many servers.
const URL_BYTES: usize = 2_000;

/// Addresses that are not of the open Internet: this host, private networks, carriers' own, link-local (where clouds keep
/// their metadata), tests and documentation, relays to IPv4, multicast, and what is reserved.
const INNER_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// Of IPv6 only this is of the open Internet,
const OUTER_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// and of that not these: protocols' own (Teredo among them), documentation, and 6to4, which leads to IPv4.
const INNER_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Something that may be reached although it is inside, and without TLS: addresses, or a host by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    Net(IpNet),
    Host(String),
}

impl FromStr for Allow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(net) = text.parse() {
            return Ok(Self::Net(net));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Net(address.into()));
        }
        let plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.' | b'_');
        match !text.is_empty() && text.bytes().all(plain) {
            true => Ok(Self::Host(bare(text))),
            false => Err("must be addresses such as 10.1.0.0/16, or the name of a host".into()),
        }
    }
}

/// The rule.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    allowed: Vec<Allow>,
}

impl Egress {
    pub fn new(allowed: &[Allow]) -> Self {
        Self { allowed: allowed.to_vec() }
    }

    /// The URL, if it may be called as far as can be said without resolving its name; else what is wrong with it.
    pub fn check_url(&self, text: &str) -> Result<Url, String> {
        if text.len() > URL_BYTES {
            return Err(format!("must have at most {URL_BYTES} bytes"));
        }
        let url: Url = text.parse().map_err(|_| "must be a URL such as https://example.com/hook".to_owned())?;
        let host = bare(url.host_str().unwrap_or_default());
        let inside = "is not of the open Internet; an operator can allow it with --webhook-allow";
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not have a user or a password in it; messages are signed instead".into());
        }
        if url.fragment().is_some() {
            return Err("must not have a part after #, which is never sent".into());
        }
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let allowed = self.allows_host(&host) || address.is_some_and(|it| self.allows_address(it));
        match url.scheme() {
            "https" => {}
            "http" if allowed => {}
            "http" => {
                return Err("must begin with https://; an operator can allow its host with --webhook-allow".into());
            }
            _ => return Err("must begin with https://".into()),
        }
        let local = host == "localhost" || host.ends_with(".localhost");
        if host.is_empty() || (local || address.is_some_and(|it| !is_public(it))) && !allowed {
            return Err(inside.into());
        }
        Ok(url)
    }

    /// Whether a connection for this host may go to this address.
    pub fn permits(&self, host: &str, address: IpAddr) -> bool {
        is_public(address) || self.allows_address(address) || self.allows_host(&bare(host))
    }

    fn allows_host(&self, host: &str) -> bool {
        self.allowed.iter().any(|it| matches!(it, Allow::Host(name) if name == host))
    }

    fn allows_address(&self, address: IpAddr) -> bool {
        self.allowed.iter().any(|it| matches!(it, Allow::Net(net) if net.contains(&address)))
    }
}

/// A host's name in its one spelling.
fn bare(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

fn is_public(address: IpAddr) -> bool {
    // A length that is none would be a slip in the tables above, and makes everything inside.
    let in_v4 = |(net, length): (Ipv4Addr, u8), it| Ipv4Net::new(net, length).is_ok_and(|net| net.contains(&it));
    let in_v6 = |(net, length): (Ipv6Addr, u8), it| Ipv6Net::new(net, length).is_ok_and(|net| net.contains(&it));
    match address {
        IpAddr::V4(it) => !INNER_V4.into_iter().any(|net| in_v4(net, it)),
        IpAddr::V6(it) => in_v6(OUTER_V6, it) && !INNER_V6.into_iter().any(|net| in_v6(net, it)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_url_leads_inside_unless_that_is_allowed() {
        let closed = Egress::default();
        let refused = [
            "",
            "example.com",
            "//example.com/hook",
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com/",
            "data:text/plain,x",
            "javascript:alert(1)",
            "unix:///var/run/docker.sock",
            "http://example.com/",
            "HTTP://EXAMPLE.COM/",
            "https://",
            "https:///127.0.0.1/",
            "https://user@example.com/",
            "https://user:secret@example.com/",
            "https://example.com@127.0.0.1/",
            "https://example.com/#part",
            "https://example.com:99999/",
            "https://exa mple.com/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.localhost/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://127.255.255.254:8443/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://017700000001/",
            "https://%31%32%37.0.0.1/",
            "https://１２７.0.0.1/",
            "https://127。0。0。1/",
            "https://0/",
            "https://0.0.0.0/",
            "https://0.1.2.3/",
            "https://10.0.0.1/",
            "https://10.255.255.255/",
            "https://100.64.0.1/",
            "https://100.127.255.255/",
            "https://169.254.169.254/latest/meta-data/",
            "https://2852039166/",
            "https://172.16.0.1/",
            "https://172.31.255.255/",
            "https://192.0.0.8/",
            "https://192.0.2.1/",
            "https://192.88.99.1/",
            "https://192.168.1.1/",
            "https://198.18.0.1/",
            "https://198.51.100.7/",
            "https://203.0.113.7/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://[::]/",
            "https://[::1]/",
            "https://[0:0:0:0:0:0:0:1]:443/",
            "https://[::127.0.0.1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[::ffff:8.8.8.8]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[100::1]/",
            "https://[2001::1]/",
            "https://[2001:db8::1]/",
            "https://[2002:7f00:1::]/",
            "https://[3fff::1]/",
            "https://[fc00::1]/",
            "https://[fd00:ec2::254]/",
            "https://[fe80::1]/",
            "https://[fec0::1]/",
            "https://[ff02::1]/",
        ];
        let through: Vec<&str> = refused.into_iter().filter(|it| closed.check_url(it).is_ok()).collect();
        assert!(through.is_empty(), "{through:?}");
        let taken = [
            "https://example.com/hook?a=b",
            "https://EXAMPLE.com:8443/",
            "https://example.com./",
            "https://8.8.8.8/",
            "https://100.63.255.255/",
            "https://100.128.0.0/",
            "https://172.32.0.1/",
            "https://[2606:4700::1111]/",
            "https://xn--bcher-kva.example/",
        ];
        for url in taken {
            assert!(closed.check_url(url).is_ok(), "{url}: {:?}", closed.check_url(url));
        }
        assert!(closed.check_url(&format!("https://example.com/{}", "a".repeat(URL_BYTES))).is_err());
    }

    #[test]
    fn what_is_allowed_may_be_reached_and_nothing_beside_it() {
        let allowed = ["10.1.0.0/16", "::1", "Hooks.internal."].map(|it| it.parse().unwrap());
        let some = Egress::new(&allowed);
        for url in ["http://10.1.2.3/", "https://10.1.2.3/", "http://[::1]:80/", "http://hooks.internal:8080/"] {
            assert!(some.check_url(url).is_ok(), "{url}");
        }
        for url in ["http://10.2.0.1/", "https://10.2.0.1/", "http://[::2]/", "http://a.hooks.internal/"] {
            assert!(some.check_url(url).is_err(), "{url}");
        }
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(some.permits("hooks.internal", at("192.168.7.7")), "by its name, wherever it is");
        assert!(some.permits("elsewhere.example", at("10.1.0.1")) && some.permits("elsewhere.example", at("1.1.1.1")));
        for inside in ["192.168.7.7", "127.0.0.1", "169.254.169.254", "::ffff:10.1.0.1", "fd00::1"] {
            assert!(!some.permits("elsewhere.example", at(inside)), "a name that leads to {inside}");
        }
        for text in ["", "a b", "10.0.0.0/33", "https://a"] {
            assert!(text.parse::<Allow>().is_err(), "{text:?}");
        }
    }
}
