//! Tells the crate which compiler makes it, and from which revision: `longshore_build_info` says both.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let said = Command::new(rustc).arg("--version").output().ok().and_then(|it| String::from_utf8(it.stdout).ok());
    // As in `rustc 1.95.0 (abc 2026-04-14)`.
    let version = said.as_deref().and_then(|it| it.split(' ').nth(1)).unwrap_or("unknown").to_owned();
    let revision = std::env::var("LONGSHORE_REVISION").ok().filter(|it| !it.is_empty());
    println!("cargo::rustc-env=LONGSHORE_RUSTC={}", version.trim());
    println!("cargo::rustc-env=LONGSHORE_REVISION={}", revision.as_deref().unwrap_or("unknown"));
    println!("cargo::rerun-if-env-changed=LONGSHORE_REVISION");
    println!("cargo::rerun-if-changed=build.rs");
}
