//! The world by the API server's audit log: an independent witness of what was created, how often, and how much lived at
//! once. Where the project's witness program lies beside the checkout, it is asked as well.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Keeps what a server's audit log says of one namespace from now on, in a file of its own. The server's grows with every
/// test, and is put aside and begun anew whenever it has become long.
pub struct Follow {
    /// Where what concerns the namespace is.
    pub path: PathBuf,
    from: PathBuf,
    namespace: String,
    /// How far each file has been read, by its number on the disk, which it keeps when it is put aside.
    read: HashMap<u64, u64>,
    kept: File,
}

impl Follow {
    /// None where there is no such log.
    pub fn start(from: PathBuf, namespace: String, path: PathBuf) -> Option<Self> {
        let mut follow = Self { kept: File::create(&path).unwrap(), path, from, namespace, read: HashMap::new() };
        for file in follow.files() {
            let known = file.metadata().unwrap();
            follow.read.insert(known.ino(), known.len());
        }
        (!follow.read.is_empty()).then_some(follow)
    }

    /// Reads what is new; answers whether `last` is in it.
    pub fn catch_up(&mut self, last: &str) -> bool {
        let mut found = false;
        for mut file in self.files() {
            let number = file.metadata().unwrap().ino();
            let mut at = self.read.get(&number).copied().unwrap_or(0);
            file.seek(SeekFrom::Start(at)).unwrap();
            let (mut lines, mut line) = (BufReader::new(file), Vec::new());
            // The last one may not be written to its end.
            while lines.read_until(b'\n', &mut line).unwrap() > 0 && line.ends_with(b"\n") {
                at += line.len() as u64;
                let text = String::from_utf8_lossy(&line);
                if text.contains(&self.namespace) {
                    found |= text.contains(last);
                    self.kept.write_all(&line).unwrap();
                }
                line.clear();
            }
            self.read.insert(number, at);
        }
        found
    }

    /// The log, after those that were put aside, which have a time in their names; each once. The log is opened first: what is
    /// put aside after that is found twice, and what is begun anew is for the next time.
    fn files(&self) -> Vec<File> {
        let newest = File::open(&self.from).ok();
        let (stem, suffix) = (self.from.file_stem().unwrap(), self.from.extension().unwrap());
        let is_one = |it: &PathBuf| {
            let name = it.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            it.extension() == Some(suffix) && name.starts_with(&format!("{}-", stem.to_string_lossy()))
        };
        let beside = fs::read_dir(self.from.parent().unwrap()).into_iter().flatten();
        let mut aside: Vec<PathBuf> = beside.filter_map(|it| Some(it.ok()?.path())).filter(is_one).collect();
        aside.sort();
        let mut seen = HashSet::new();
        let opened = aside.iter().filter_map(|it| File::open(it).ok()).chain(newest);
        opened.filter(|it| seen.insert(it.metadata().unwrap().ino())).collect()
    }
}

/// What the log says of Jobs of one installation.
pub struct Audit {
    /// Per attempt, as (job, attempt): when each create of it was answered with success.
    pub creates: HashMap<(String, String), Vec<String>>,
    /// Requests that carried our user agent, as `verb resource code`.
    pub requests: HashMap<String, u64>,
}

pub fn read(path: &Path, instance: &str) -> Audit {
    let mut audit = Audit { creates: HashMap::new(), requests: HashMap::new() };
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    for event in text.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok()) {
        if event["stage"] != "ResponseComplete" {
            continue;
        }
        let code = event["responseStatus"]["code"].as_u64().unwrap_or(0);
        let (verb, reference) = (event["verb"].as_str().unwrap_or_default(), &event["objectRef"]);
        let labels = &event["responseObject"]["metadata"]["labels"];
        let asked = &event["requestObject"]["metadata"]["labels"];
        let ours = labels["longshore.dev/instance"] == instance || asked["longshore.dev/instance"] == instance;
        if event["userAgent"].as_str().is_some_and(|it| it.starts_with("longshore/")) && (ours || verb != "create") {
            let resource = reference["resource"].as_str().unwrap_or_default();
            *audit.requests.entry(format!("{verb} {resource} {code}")).or_default() += 1;
        }
        if verb == "create" && reference["resource"] == "jobs" && code < 300 && ours {
            let text = |key: &str| labels[key].as_str().unwrap_or_default().to_owned();
            let attempt = (text("longshore.dev/job-id"), text("longshore.dev/attempt"));
            audit.creates.entry(attempt).or_default().push(event["stageTimestamp"].to_string());
        }
    }
    audit
}

/// No attempt made two Jobs.
pub fn check(audit: &Audit, _cap: i32) {
    for ((job, attempt), creates) in &audit.creates {
        assert_eq!(creates.len(), 1, "attempt {attempt} of {job} was created {} times: {creates:?}", creates.len());
    }
}

/// Nothing that the replicas asked for was beyond the rights of their account.
pub fn check_rights(path: &Path, account: &str) {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let mine = text.lines().filter(|it| it.contains(account));
    let events = mine.filter_map(|it| serde_json::from_str::<Value>(it).ok());
    let mut asked = 0;
    for event in events.filter(|it| it["user"]["username"] == account) {
        let decision = &event["annotations"]["authorization.k8s.io/decision"];
        assert_ne!(decision, "forbid", "the Role does not suffice: {} {}", event["verb"], event["requestURI"]);
        asked += 1;
    }
    println!("the account asked {asked} times, and was never forbidden anything");
}

/// Asks the independent witness, if it is there: it also says whether more attempts lived at once than the cap allows.
pub fn ask_witness(log: &Path, instance: &str, cap: i32) {
    let Some(witness) = witness() else {
        println!("no witness program beside this checkout; LONGSHORE_WITNESS can name it");
        return;
    };
    let mut command = Command::new("python3");
    command.arg(witness).arg(log).args(["--instance", instance]);
    if cap != i32::MAX {
        command.args(["--cap", &cap.to_string()]);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "the witness saw a violation: {said}{}", String::from_utf8_lossy(&output.stderr));
    println!("witness: {}", said.replace('\n', ""));
}

fn witness() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/witness/witness.py");
    let named = std::env::var_os("LONGSHORE_WITNESS").map(PathBuf::from);
    named.or(Some(beside)).filter(|it| it.exists())
}
