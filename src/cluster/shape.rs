//! What names, paths and image references must look like.

use crate::spec::LABEL_PREFIX_CHARS;

/// The registry, and its folder, that an image reference means which names none.
const REGISTRY: &str = "docker.io";
const FOLDER: &str = "library";

/// The longest name of an image, in characters: what registries take.
const IMAGE_CHARS: usize = 255;

/// A DNS subdomain (RFC 1123), as most of Kubernetes' names are.
pub fn is_subdomain(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_part =
        |part: &str| !part.is_empty() && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-');
    text.len() <= LABEL_PREFIX_CHARS && text.split('.').all(is_part)
}

/// What Kubernetes takes as the name of an environment variable since 1.30; earlier versions take less.
pub fn is_env_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| (' '..='~').contains(&c) && c != '=')
}

/// An image reference, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// With its registry, as in `docker.io/library/busybox`.
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<String>,
}

impl Image {
    /// None if it is not one, by the grammar of the distribution project.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let folder = rest.rfind('/').map_or(0, |it| it + 1);
        let (name, tag) = match rest[folder..].split_once(':') {
            Some((name, tag)) => (&rest[..folder + name.len()], Some(tag)),
            None => (rest, None),
        };
        let (registry, path) = split_registry(name);
        let is_valid = name.len() <= IMAGE_CHARS
            && registry.is_none_or(is_registry)
            && path.split('/').all(is_component)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        is_valid.then(|| Self {
            repository: in_full(registry, path),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

/// The registry is the first part, if it looks like a host: `localhost`, or with a dot or a port.
pub fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => (Some(first), rest),
        _ => (None, name),
    }
}

/// With the registry and the folder that are meant where none are said.
pub fn in_full(registry: Option<&str>, path: &str) -> String {
    let registry = registry.unwrap_or(REGISTRY);
    match registry == REGISTRY && !path.contains('/') {
        true => format!("{registry}/{FOLDER}/{path}"),
        false => format!("{registry}/{path}"),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let is_part = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    host.split('.').all(is_part) && port.is_none_or(|it| it.parse::<u16>().is_ok())
}

/// Lower-case letters and digits, with single separators between them: `.`, `_`, `__`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = text.split(alphanumeric).filter(|it| !it.is_empty());
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && separators.into_iter().all(|it| matches!(it, "." | "_" | "__") || it.chars().all(|c| c == '-'))
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
        && !text.starts_with(['.', '-'])
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
        && algorithm.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '_' | '-'))
        && hex.len() >= 32
        && hex.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_references_are_taken_apart() {
        let repository = |text: &str| Image::parse(text).map(|it| it.repository);
        for (text, full) in [
            ("busybox", "docker.io/library/busybox"),
            ("busybox:latest", "docker.io/library/busybox"),
            ("team/tool:1.2", "docker.io/team/tool"),
            ("docker.io/busybox", "docker.io/library/busybox"),
            ("localhost/a", "localhost/a"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b"),
            ("registry.example.com/a__b/c-d--e.f:X_1", "registry.example.com/a__b/c-d--e.f"),
        ] {
            assert_eq!(repository(text).as_deref(), Some(full), "{text}");
        }
        let digest = "sha256:".to_owned() + &"ab".repeat(32);
        let image = Image::parse(&format!("busybox:1@{digest}")).unwrap();
        assert_eq!((image.tag.as_deref(), image.digest), (Some("1"), Some(digest)));
        for text in [
            "",
            "Busybox",
            "busy box",
            " busybox",
            "busybox:",
            "busybox@",
            "busybox@sha256:12",
            "a//b",
            "/a",
            "a/",
            "a:b:c",
            "a..b",
            "a._b",
            "-a",
            "registry.example.com:port/a",
            "a:.b",
            "ä",
            "busybox\n",
        ] {
            assert_eq!(Image::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn subdomains_are_labels_between_dots() {
        assert!(is_subdomain("a.b-c.d1") && is_subdomain("default") && is_subdomain(&"a".repeat(253)));
        for text in ["", ".", "a..b", "A", "a_b", "-a", "a-", "ä", &"a".repeat(254)] {
            assert!(!is_subdomain(text), "{text:?}");
        }
    }
}
