//! How the tables of a pg-boss schema look: pg-boss 7 to 9, 10, 11 and 12 keep the same things under different names, and
//! releases within one of them add columns. What is there decides, and the number in its table `version` only helps to say
//! so: pg-boss 12.5 has the tables of 11.1.

use std::collections::{BTreeMap, BTreeSet};

/// The oldest schema version whose tables are known: pg-boss 7.0.
const OLDEST: i32 = 19;
/// The newest that the tests have run with: pg-boss 12.38. A newer one is taken as long as it has the same columns.
pub const NEWEST: i32 = 46;
/// What an operator is told.
pub const SUPPORTED: &str = "supported are the tables of pg-boss 9, 10, 11 and 12 (schema versions 19 to 46)";

/// The columns of `job` up to pg-boss 9, as Postgres folds them.
const OF_9: [&str; 17] = [
    "id",
    "name",
    "priority",
    "data",
    "state",
    "retrylimit",
    "retrycount",
    "retrydelay",
    "retrybackoff",
    "startafter",
    "startedon",
    "expirein",
    "createdon",
    "completedon",
    "keepuntil",
    "on_complete",
    "output",
];
/// Those that it has from pg-boss 10 on, whatever else comes with a release.
const SINCE_10: [&str; 18] = [
    "id",
    "name",
    "priority",
    "data",
    "state",
    "retry_limit",
    "retry_count",
    "retry_delay",
    "retry_backoff",
    "start_after",
    "started_on",
    "singleton_key",
    "created_on",
    "completed_on",
    "keep_until",
    "output",
    "dead_letter",
    "policy",
];
/// What pg-boss 11 has in place of `expire_in`.
const SINCE_11: [&str; 2] = ["expire_seconds", "deletion_seconds"];

/// What there is to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// pg-boss 7 to 9: names without underscores, items fail where they are.
    Nine,
    /// pg-boss 10: a table of queues, dead letters; an item that fails is made anew.
    Ten,
    /// pg-boss 11, and 12 until 12.11: limits in seconds.
    Eleven,
    /// pg-boss 12 as it is now.
    Twelve(Twelve),
}

/// What releases of pg-boss 12 have added by and by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Twelve {
    /// Since 12.19 an item may wait for others.
    pub blocked: bool,
    /// What a dead letter says of where it came from.
    pub provenance: Provenance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    None,
    /// Since 12.23: queue, id, time and tries.
    Origin,
    /// Since 12.35: what it put out as well, and the first item of its line.
    Lineage,
}

/// The columns of each table that matters.
pub type Columns = BTreeMap<String, BTreeSet<String>>;

impl Shape {
    /// What tables with these columns are, or why they are none that are known: said as what follows the schema's name.
    pub fn of(tables: &Columns, version: Option<i32>) -> Result<Self, String> {
        let Some(job) = tables.get("job") else {
            let found: Vec<&str> = tables.keys().map(String::as_str).collect();
            let found =
                if found.is_empty() { "none of its tables".to_owned() } else { format!("only {}", found.join(", ")) };
            return Err(format!(
                "holds no queues of pg-boss: it has {found} that pg-boss has there; pg-boss makes them when it is started \
                 for the first time, so look at the schema's name and at the database"
            ));
        };
        let Some(version) = version else {
            return Err(format!("has a table job, and no version of pg-boss in a table version; {SUPPORTED}"));
        };
        if version < OLDEST {
            return Err(format!("is of pg-boss's schema version {version}; {SUPPORTED}"));
        }
        let lacks = |wanted: &[&str]| -> Vec<String> {
            wanted.iter().filter(|it| !job.contains(**it)).map(|it| (*it).to_owned()).collect()
        };
        let has = |column: &str| job.contains(column);
        let refused = |missing: Vec<String>| {
            Err(format!(
                "(schema version {version}) has a table job without {}, as no version of pg-boss has that is known here; \
                 {SUPPORTED}",
                missing.join(", ")
            ))
        };
        if !has("start_after") {
            return match lacks(&OF_9) {
                missing if missing.is_empty() => Ok(Self::Nine),
                missing => refused(missing),
            };
        }
        match lacks(&SINCE_10) {
            missing if !missing.is_empty() => return refused(missing),
            _ if !tables.contains_key("queue") => return refused(vec!["a table queue beside it".to_owned()]),
            _ if has("expire_in") => return Ok(Self::Ten),
            _ => {}
        }
        match lacks(&SINCE_11) {
            missing if !missing.is_empty() => return refused(missing),
            _ if !has("heartbeat_on") => return Ok(Self::Eleven),
            _ => {}
        }
        // Until 12.22 whoever completes an item sets free those that wait for it; since then pg-boss does so by itself.
        if has("blocking") && !tables.get("version").is_some_and(|it| it.contains("flow_on")) {
            return Err(format!(
                "(schema version {version}) is of pg-boss 12.19 to 12.21, where whoever completes an item has to set free \
                 those that wait for it; bring it to 12.22 or newer"
            ));
        }
        let provenance = match (has("source_root_id"), has("source_name")) {
            (true, _) => Provenance::Lineage,
            (false, true) => Provenance::Origin,
            (false, false) => Provenance::None,
        };
        Ok(Self::Twelve(Twelve { blocked: has("blocked"), provenance }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(job: &[&[&str]], version: &[&str]) -> Columns {
        let set = |columns: &[&str]| columns.iter().map(|it| (*it).to_owned()).collect::<BTreeSet<_>>();
        let of = |name: &str, columns: &[&str]| (name.to_owned(), set(columns));
        BTreeMap::from([of("job", &job.concat()), of("queue", &["name"]), of("version", version)])
    }

    #[test]
    fn columns_tell_releases_apart_that_share_a_version_of_the_schema_or_none() {
        let twelve = |blocked, provenance| Ok(Shape::Twelve(Twelve { blocked, provenance }));
        let of =
            |more: &[&str], version| Shape::of(&tables(&[&SINCE_10, more], &["version", "flow_on"]), Some(version));
        assert_eq!(of(&["expire_in"], 21), Ok(Shape::Ten));
        let seconds = ["expire_seconds", "deletion_seconds"];
        assert_eq!(of(&seconds, 26), Ok(Shape::Eleven), "11.1, and 12.0 to 12.5");
        let with = |more: &[&'static str]| [&seconds, more].concat();
        assert_eq!(of(&with(&["heartbeat_on"]), 30), twelve(false, Provenance::None));
        let flow = ["heartbeat_on", "blocked", "blocking"];
        assert_eq!(of(&with(&flow), 33), twelve(true, Provenance::None));
        let origin = [&flow[..], &["source_name"]].concat();
        assert_eq!(of(&with(&origin), 34), twelve(true, Provenance::Origin));
        let lineage = [&origin[..], &["source_root_id"]].concat();
        assert_eq!(of(&with(&lineage), 99), twelve(true, Provenance::Lineage), "newer, and with all that is needed");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let flow = ["expire_seconds", "deletion_seconds", "heartbeat_on", "blocked", "blocking"];
        let refused = Shape::of(&tables(&[&SINCE_10, &flow], &["version"]), Some(31)).unwrap_err();
        assert!(refused.contains("12.19 to 12.21") && refused.contains("12.22 or newer"), "{refused}");
        let refused = Shape::of(&tables(&[&SINCE_10], &["version"]), Some(26)).unwrap_err();
        assert!(refused.contains("a table job without expire_seconds, deletion_seconds, as no version"), "{refused}");
        let mut alone = tables(&[&SINCE_10, &["expire_in"]], &["version"]);
        alone.remove("queue");
        assert!(Shape::of(&alone, Some(24)).unwrap_err().contains("without a table queue beside it"));
        let refused = Shape::of(&tables(&[&OF_9[1..]], &["version"]), Some(20)).unwrap_err();
        assert!(refused.contains("a table job without id,"), "{refused}");
        assert_eq!(Shape::of(&tables(&[&OF_9], &["version"]), Some(20)), Ok(Shape::Nine));
        assert!(
            Shape::of(&tables(&[&OF_9], &["version"]), Some(18)).unwrap_err().contains("schema version 18; supported")
        );
        assert!(Shape::of(&tables(&[&OF_9], &["version"]), None).unwrap_err().contains("no version of pg-boss"));
    }
}
