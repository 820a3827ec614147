//! Templates in a folder, read at start and again when they change.

use std::{collections::BTreeMap, fs, io::Read, os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::{Form, document::SOURCE_BYTES, shelf::Shelf};

/// How often to look whether a file changed.
const PERIOD: Duration = Duration::from_secs(1);
/// The most templates in a folder: all of them are kept in memory, and listed at once.
const FILES: usize = 1_000;

/// Which file it is, how large, and when it was written.
type Stamp = (u64, u64, i64, i64);

/// Name and text of each template in the folder, or why it cannot be read, in the order of their names.
pub fn read(dir: &Path) -> anyhow::Result<Vec<(String, Result<String, String>)>> {
    let text = |path: &Path| -> Result<String, String> {
        let file = fs::File::open(path).map_err(|err| format!("cannot be read: {err}"))?;
        let mut text = String::new();
        // One more than is allowed, so that whoever checks the size sees that it is too large.
        file.take(SOURCE_BYTES as u64 + 1).read_to_string(&mut text).map_err(|err| format!("cannot be read: {err}"))?;
        Ok(text)
    };
    Ok(stamps(dir)?.into_keys().map(|name| (name.clone(), text(&dir.join(&name)))).collect())
}

/// The templates in the folder, by their file names.
fn stamps(dir: &Path) -> anyhow::Result<BTreeMap<String, Stamp>> {
    let mut found = BTreeMap::new();
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read --templates {}", dir.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read --templates {}", dir.display()))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let form = name.rsplit_once('.').and_then(|(_, extension)| Form::from_name(extension));
        // By way of a link, as the kubelet mounts a ConfigMap.
        if let (Some(_), Ok(meta)) = (form, fs::metadata(entry.path()))
            && meta.is_file()
        {
            found.insert(name, (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        }
    }
    anyhow::ensure!(found.len() <= FILES, "--templates {} has over {FILES} templates", dir.display());
    Ok(found)
}

/// Reads the files again whenever one changed, until `stop`.
pub async fn follow(shelf: Arc<Shelf>, stop: CancellationToken) {
    let Some(dir) = shelf.places.dir.clone() else { return };
    let mut known = None;
    let mut trouble = None;
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(period.tick()).await.is_some() {
        let (shelf, dir, before) = (shelf.clone(), dir.clone(), known.clone());
        let looked = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
            let now = stamps(&dir)?;
            if before.as_ref() != Some(&now) {
                shelf.take_files(read(&dir)?);
            }
            Ok(now)
        });
        match looked.await {
            Ok(Ok(now)) => (known, trouble) = (Some(now), None),
            Ok(Err(err)) => {
                let said = format!("{err:#}");
                if trouble.as_ref() != Some(&said) {
                    tracing::warn!(error = said, "the templates stay as they were last read");
                }
                trouble = Some(said);
            }
            Err(err) => tracing::error!(error = %err, "reading the templates panicked"),
        }
    }
}
