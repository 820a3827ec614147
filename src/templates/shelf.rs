//! The templates that are kept outside the database: in files and in a ConfigMap, as they were last read.
//!
//! Of one name in two places, files come before the ConfigMap, and that before what is stored: who can write files decides
//! what a name means, and no request can change it. An edit that cannot be used leaves the last one that could in force, in
//! this replica's memory; a replica that starts afterwards has none, and says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    cluster::{config_map::Told, manifest},
    spec::{self, Fault},
};

use super::{Form, Template, check, files};

/// How long a request waits for the ConfigMap to be read for the first time.
const FIRST_READ: Duration = Duration::from_secs(5);

/// Where a template is kept. The first of those that have a name has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TemplateHome)]
pub enum Home {
    File,
    ConfigMap,
    Stored,
}

/// One name, and what is known of it.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// The last that could be used.
    pub template: Option<Arc<Template>>,
    /// What is wrong with a later one.
    pub faults: Vec<Fault>,
    /// The file's name, or the ConfigMap's key.
    pub of: String,
    /// What was read last.
    source: String,
}

type Entries = BTreeMap<String, Entry>;

/// What became of a question for a name.
pub enum Found {
    There(Arc<Template>),
    /// There is one, and it never could be used.
    Broken(Home, Vec<Fault>),
    /// The ConfigMap, which may have it, was not read yet.
    NotRead,
    Absent,
}

/// How far the ConfigMap is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    NotTried,
    Failed,
    Done,
}

/// Where to look for templates.
#[derive(Debug, Clone, Default)]
pub struct Places {
    pub dir: Option<PathBuf>,
    /// Namespace and name.
    pub config_map: Option<(String, String)>,
    /// Which to use for a request that says nothing of what to run.
    pub default: Option<String>,
}

impl Places {
    /// As the flags of a replica say: a ConfigMap that names no namespace is in the first of `namespaces`.
    pub fn of_flags(
        dir: Option<&Path>,
        config_map: Option<&str>,
        default: Option<&str>,
        namespaces: &[String],
    ) -> anyhow::Result<Self> {
        let first = namespaces.first().map_or("default", String::as_str);
        let config_map = config_map.map(|it| it.split_once('/').unwrap_or((first, it)));
        if let Some((namespace, name)) = config_map {
            let parts_fit =
                name.len() <= spec::LABEL_PREFIX_CHARS && name.split('.').all(|it| spec::check_dns_label(it).is_ok());
            let fits = parts_fit && spec::check_dns_label(namespace).is_ok();
            anyhow::ensure!(fits, "--template-config-map must be the name of a ConfigMap, or NAMESPACE/NAME");
        }
        Ok(Self {
            dir: dir.map(Path::to_owned),
            config_map: config_map.map(|(namespace, name)| (namespace.to_owned(), name.to_owned())),
            default: default.map(str::to_owned),
        })
    }
}

/// The templates of files and of a ConfigMap.
pub struct Shelf {
    pub places: Places,
    pub defaults: Arc<manifest::Defaults>,
    files: RwLock<Entries>,
    config_map: RwLock<Entries>,
    reading: watch::Sender<Reading>,
}

impl Shelf {
    /// Reads the files. One that cannot be used is an error now, and only a warning later.
    pub fn open(places: Places, defaults: Arc<manifest::Defaults>) -> anyhow::Result<Self> {
        let (files, config_map) = Default::default();
        let shelf = Self { places, defaults, files, config_map, reading: watch::Sender::new(Reading::NotTried) };
        if let Some(dir) = &shelf.places.dir {
            shelf.take_files(files::read(dir)?);
            let entries = shelf.all();
            let broken = entries.iter().map(|it| &it.2).filter(|it| !it.faults.is_empty());
            let broken: Vec<String> =
                broken.map(|it| format!("{}: {}", dir.join(&it.of).display(), told(&it.faults))).collect();
            anyhow::ensure!(broken.is_empty(), "templates that cannot be used: {}", broken.join("; "));
        }
        Ok(shelf)
    }

    /// Who has this name, of files and ConfigMap.
    pub async fn find(&self, name: &str) -> Found {
        if let Some(found) = self.look(Home::File, name) {
            return found;
        }
        if self.places.config_map.is_some() {
            let mut reading = self.reading.subscribe();
            let tried = reading.wait_for(|it| *it != Reading::NotTried);
            // When that takes too long it counts as not read.
            let _ = tokio::time::timeout(FIRST_READ, tried).await;
            if *self.reading.borrow() != Reading::Done {
                return Found::NotRead;
            }
        }
        self.look(Home::ConfigMap, name).unwrap_or(Found::Absent)
    }

    fn look(&self, home: Home, name: &str) -> Option<Found> {
        let entries = self.entries(home);
        let entry = entries.get(name)?;
        Some(match &entry.template {
            Some(template) => Found::There(template.clone()),
            None => Found::Broken(home, entry.faults.clone()),
        })
    }

    /// Who holds this name before the database does.
    pub fn holder(&self, name: &str) -> Option<Home> {
        [Home::File, Home::ConfigMap].into_iter().find(|home| self.entries(*home).contains_key(name))
    }

    /// Everything there is, by home and name.
    pub fn all(&self) -> Vec<(Home, String, Entry)> {
        let of = |home| {
            let entries = self.entries(home);
            entries.iter().map(|(name, it)| (home, name.clone(), it.clone())).collect::<Vec<_>>()
        };
        [of(Home::File), of(Home::ConfigMap)].concat()
    }

    /// Takes in what the files say now: file name and text of each.
    pub fn take_files(&self, files: Vec<(String, Result<String, String>)>) {
        self.take(Home::File, files);
    }

    /// Takes in what was heard of the ConfigMap.
    pub fn take_config_map(&self, heard: Told) {
        let reading = match heard {
            Told::There(keys) => {
                self.take(Home::ConfigMap, keys.into_iter().map(|(key, text)| (key, Ok(text))).collect());
                Reading::Done
            }
            Told::Absent => {
                self.take(Home::ConfigMap, Vec::new());
                Reading::Done
            }
            Told::Unreadable => Reading::Failed,
        };
        self.reading.send_if_modified(|it| {
            // What was read once is still known when the API server goes away.
            let changes = *it != reading && *it != Reading::Done;
            if changes {
                *it = reading;
            }
            changes
        });
    }

    fn take(&self, home: Home, written: Vec<(String, Result<String, String>)>) {
        let mut seen = BTreeSet::new();
        for (of, text) in written {
            let Some((name, form)) = name_and_form(&of) else { continue };
            let text = match seen.insert(name.to_owned()) {
                true => text,
                false => Err(format!("{of} has the same name as another one")),
            };
            let known = self.entries(home).get(name).is_some_and(|it| text.as_ref() == Ok(&it.source) && it.of == of);
            if known {
                continue;
            }
            // Checked before the lock is taken: it may be long.
            let checked = match &text {
                Ok(text) => check_name(name).and_then(|()| check::take_in(text, form, &self.defaults)),
                Err(detail) => Err(vec![Fault::new("", detail.clone())]),
            };
            let mut entries = self.entries_mut(home);
            let entry = entries.entry(name.to_owned()).or_default();
            entry.of.clone_from(&of);
            entry.source = text.unwrap_or_default();
            match checked {
                Ok(template) => {
                    tracing::info!(?home, name, "a template was read");
                    entry.template = Some(Arc::new(template));
                    entry.faults.clear();
                }
                Err(faults) => {
                    if entry.faults != faults {
                        let error = told(&faults);
                        match entry.template.is_some() {
                            true => tracing::warn!(?home, name, error, "a template is broken; the last good one stays"),
                            false => tracing::warn!(?home, name, error, "a template is broken, and was never good"),
                        }
                    }
                    entry.faults = faults;
                }
            }
        }
        self.entries_mut(home).retain(|name, _| {
            let stays = seen.contains(name);
            if !stays {
                tracing::info!(?home, name, "a template is gone");
            }
            stays
        });
    }

    fn entries(&self, home: Home) -> RwLockReadGuard<'_, Entries> {
        self.lock(home).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries_mut(&self, home: Home) -> RwLockWriteGuard<'_, Entries> {
        self.lock(home).write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self, home: Home) -> &RwLock<Entries> {
        if home == Home::File { &self.files } else { &self.config_map }
    }
}

/// The template's name and form that a file's name, or a key, stands for; none for what is no template.
fn name_and_form(of: &str) -> Option<(&str, Form)> {
    let (stem, extension) = of.rsplit_once('.')?;
    // The kubelet keeps its own things beside the keys of a mounted ConfigMap.
    let named = !stem.is_empty() && !stem.starts_with('.');
    Form::from_name(extension).filter(|_| named).map(|form| (stem, form))
}

/// Whether a template can be called so.
pub fn check_name(name: &str) -> Result<(), Vec<Fault>> {
    let checked = if name.is_empty() { Err("must not be empty".into()) } else { spec::check_label_value(name) };
    checked.map_err(|detail| vec![Fault::new("", format!("its name {detail}"))])
}

/// Faults in one line.
pub fn told(faults: &[Fault]) -> String {
    faults.iter().map(|it| format!("{} {}", it.pointer, it.detail).trim().to_owned()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
