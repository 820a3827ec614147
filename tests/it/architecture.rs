//! Who may know whom: words nothing, the store and the cluster never each other, SQL and Kubernetes in one room each.

use std::path::{Path, PathBuf};

pub fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|it| it == "rs") => found.push(path),
            false => {}
        }
    }
}

/// Each source file: its path below src, its room, and its text.
fn rooms() -> Vec<(String, String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&src, &mut found);
    assert!(found.len() > 20, "the sources were not found");
    let describe = |path: PathBuf| {
        let name = path.strip_prefix(&src).unwrap().to_string_lossy().into_owned();
        let room = name.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        (name, room, std::fs::read_to_string(path).unwrap())
    };
    found.into_iter().map(describe).collect()
}

/// The rooms of this crate that a file names, in its `use` lines and elsewhere.
fn named(text: &str) -> Vec<String> {
    let rooms = [
        "api",
        "client",
        "cluster",
        "commands",
        "config",
        "doctor",
        "embedded",
        "events",
        "lease",
        "reconcile",
        "recover",
        "run",
        "scheduler",
        "sim",
        "sources",
        "store",
        "sweep",
        "webhooks",
        "templates",
        "ui",
    ];
    let code: String = text.lines().filter(|it| !it.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    // A `use crate::{…}` block lists its rooms at the first level of braces.
    let mut found = Vec::new();
    for room in rooms {
        let direct = code
            .split(&format!("crate::{room}"))
            .skip(1)
            .any(|it| !it.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
        let listed = code.split("use crate::{").skip(1).any(|block| {
            let block = block.split("};").next().unwrap_or_default();
            block.lines().any(|line| {
                let line = line.strip_prefix("    ").unwrap_or(line);
                !line.starts_with(' ')
                    && line.split([',', ' ']).any(|it| it == room || it.starts_with(&format!("{room}::")))
            })
        });
        if direct || listed {
            found.push(room.to_owned());
        }
    }
    found
}

#[test]
fn data_flows_one_way() {
    let movers = ["events", "lease", "reconcile", "scheduler", "sweep", "webhooks"];
    for (file, room, text) in rooms() {
        let knows = named(&text);
        let may: Vec<&str> = match room.as_str() {
            "effects" | "egress" | "error" | "eta" | "id" | "lifecycle" | "metrics" | "recovery" | "retry"
            | "roles" | "spec" | "traces" | "trouble" => {
                vec![]
            }
            "store" => vec!["store"],
            "cluster" => vec!["cluster"],
            "sim" => vec!["sim"],
            "client" => vec!["client"],
            "config" => vec!["lease", "telemetry", "templates"],
            "telemetry" => vec!["store"],
            "embedded" | "main" => vec![],
            "templates" => vec!["store", "cluster", "templates"],
            "api" => vec!["store", "cluster", "lease", "events", "templates", "webhooks", "api"],
            // The pages ask the API as any client does, and the store for what is sampled once for all who look.
            "ui" => vec!["store", "cluster", "api", "ui"],
            // A source is one more who brings requests, to the same desk.
            "sources" => vec!["store", "templates", "api", "sources"],
            // It looks at everything, and is known by nobody.
            "doctor" => {
                vec!["store", "cluster", "templates", "sources", "api", "metrics", "client", "config", "run", "doctor"]
            }
            // One command that compares the two, and mends the rows.
            "recover" => vec!["store", "cluster", "client", "config"],
            it if movers.contains(&it) => vec!["store", "cluster", "lease", it],
            "run" | "commands" | "lib" => continue,
            other => panic!("{file}: the room {other} is not on the plan; put it there"),
        };
        for it in &knows {
            assert!(may.contains(&it.as_str()), "src/{file} knows {it}, and may know {may:?}");
        }
    }
}

#[test]
fn sql_is_in_the_store_and_kubernetes_types_are_in_the_cluster_and_the_simulator() {
    for (file, room, text) in rooms() {
        if room != "store" {
            assert!(!text.contains("sqlx::query"), "src/{file} speaks SQL");
        }
        if room != "cluster" && room != "sim" {
            assert!(!text.contains("k8s_openapi") && !text.contains("use kube"), "src/{file} speaks Kubernetes");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_fits_on_a_few_screens() {
    for (file, _, text) in rooms() {
        assert!(text.starts_with("//! "), "src/{file} does not say what it is for");
        assert!(text.lines().count() <= 400, "src/{file} has over 400 lines: which rooms are really in it?");
        assert!(!text.contains("TODO") && !text.contains("FIXME"), "src/{file} is unfinished");
    }
}
