//! Patterns of images.
//!
//! A pattern is compared with the whole reference, registry and all, in the form in which a node understands it: `busybox`
//! is `docker.io/library/busybox`. It is anchored at both ends; a pattern of a registry cannot be met by a name that merely
//! has it in it.

use serde::{Deserialize, Deserializer, de};

use crate::cluster::shape::{Image, in_full, split_registry};

/// Which images are meant. `*` is any run of characters but `/`, `**` any at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    given: String,
    full: String,
}

impl Pattern {
    pub fn new(given: &str) -> Self {
        let full = match split_registry(given) {
            // It begins with anything, so that a registry is meant too.
            (None, path) if path.starts_with('*') => path.to_owned(),
            (registry, path) => in_full(registry, path),
        };
        Self { given: given.to_owned(), full }
    }

    /// Whether it means this image. A digest says what is run whatever the tag says, so that a pattern with a tag does not
    /// mean an image with a digest.
    pub fn matches(&self, image: &Image) -> bool {
        let Image { repository, tag, digest } = image;
        let meant = match (digest, tag) {
            (Some(digest), _) => format!("{repository}@{digest}"),
            (None, Some(tag)) => format!("{repository}:{tag}"),
            (None, None) => format!("{repository}:latest"),
        };
        matches(self.full.as_bytes(), repository.as_bytes()) || matches(self.full.as_bytes(), meant.as_bytes())
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.given)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let given = String::deserialize(from)?;
        match given.is_empty() || given.chars().any(|it| it.is_whitespace() || it.is_control()) {
            true => Err(de::Error::custom("must be a pattern such as registry.example.com/team/*, without spaces")),
            false => Ok(Self::new(&given)),
        }
    }
}

/// Follows all ways to match at once, in time of the one length times the other: the text is a submitter's.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let [first, after @ ..] = rest {
        let (part, after) = match (first, after) {
            (b'*', [b'*', after @ ..]) => (Part::Anything, after),
            (b'*', after) => (Part::NoSlash, after),
            (byte, after) => (Part::Byte(*byte), after),
        };
        parts.push(part);
        rest = after;
    }
    // Which beginnings of the pattern, by their number of parts, match what was read of the text.
    let mut reached = vec![false; parts.len() + 1];
    reached[0] = true;
    skip_stars(&parts, &mut reached);
    for byte in text {
        let mut next = vec![false; parts.len() + 1];
        for (at, part) in parts.iter().enumerate().filter(|(at, _)| reached[*at]) {
            match part {
                Part::Anything => next[at] = true,
                Part::NoSlash => next[at] |= *byte != b'/',
                Part::Byte(wanted) => next[at + 1] |= wanted == byte,
            }
        }
        skip_stars(&parts, &mut next);
        reached = next;
    }
    reached[parts.len()]
}

enum Part {
    Anything,
    NoSlash,
    Byte(u8),
}

/// A star may stand for nothing.
fn skip_stars(parts: &[Part], reached: &mut [bool]) {
    for (at, part) in parts.iter().enumerate() {
        if reached[at] && !matches!(part, Part::Byte(_)) {
            reached[at + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_whole_references_and_no_part_of_one() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let pinned = |name: &str| format!("{name}@{digest}");
        let means = |pattern: &str, image: &str| Pattern::new(pattern).matches(&Image::parse(image).unwrap());
        for (pattern, image) in [
            ("**", "busybox".to_owned()),
            ("busybox", "busybox:1".to_owned()),
            ("busybox", "docker.io/library/busybox".to_owned()),
            ("busybox", pinned("busybox")),
            ("busybox:latest", "busybox".to_owned()),
            ("library/busybox:1.*", "busybox:1.36".to_owned()),
            ("registry.example.com/team/*", "registry.example.com/team/tool:1".to_owned()),
            ("registry.example.com/**", "registry.example.com/a/b/c".to_owned()),
            ("*.example.com/**", "eu.example.com/a/b".to_owned()),
            ("**@sha256:*", pinned("a/b")),
        ] {
            assert!(means(pattern, &image), "{pattern} {image}");
        }
        for (pattern, image) in [
            ("busybox", "evil.example.com/library/busybox".to_owned()),
            ("busybox", "busybox2".to_owned()),
            ("busybox:1", "busybox:2".to_owned()),
            ("busybox:1", pinned("busybox:1")),
            ("registry.example.com/team/*", "registry.example.com/team/a/b".to_owned()),
            ("registry.example.com/team/*", "evil.example.com/registry.example.com/team/a".to_owned()),
            ("*.example.com/**", "evil.com/x.example.com/a".to_owned()),
            ("**@sha256:*", "a/b:1".to_owned()),
            ("*", "busybox".to_owned()),
        ] {
            assert!(!means(pattern, &image), "{pattern} {image}");
        }
    }
}
