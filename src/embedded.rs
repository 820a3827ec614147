//! A Postgres of our own, for newcomers, dry runs and tests: the machine's installed server, on a folder of ours.
//!
//! It lives exactly as long as the process that started it: stopped when dropped, and by the kernel (PR_SET_PDEATHSIG)
//! when the process is killed. That signal is tied to the *thread* that started the child, so [`Postgres::start`] must be
//! called from a thread that lives as long as the process: the main one. `postgres` refuses to run as root, so root starts
//! it as the user `postgres`, or else `nobody`.

use std::{
    fs, io,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};

/// How long a server may take to come up, recovery after a crash included.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take to go down before it is made to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const USER: &str = "longshore";
/// The database in it.
pub const DATABASE: &str = "longshore";

/// A running server; stopped when dropped.
pub struct Postgres {
    server: Child,
    /// For tests and `psql`.
    pub url: String,
    /// Where the data is kept.
    pub dir: PathBuf,
    /// Whether the folder goes with the server.
    throw_away: bool,
}

/// Why there is no Postgres of our own.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no PostgreSQL server is installed that could be started here. Either give --database-url (or DATABASE_URL), or \
         install one (Debian: apt-get install postgresql), or say where its programs are with --postgres-bin"
    )]
    NotInstalled,
    #[error(
        "the data in {dir} is of PostgreSQL {version}, and the server found is of another version; install that \
             version, or give another --data-dir"
    )]
    OtherVersion { dir: PathBuf, version: String },
    #[error("the database in {dir} is in use by process {pid}; give another --data-dir, or share it by --database-url")]
    InUse { dir: PathBuf, pid: i32 },
    #[error("cannot {what}")]
    Io { what: String, source: io::Error },
    #[error("{program} failed: {output}")]
    Failed { program: &'static str, output: String },
    #[error("the server in {dir} did not come up; the end of its log: {log}")]
    NotUp { dir: PathBuf, log: String },
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    |source| Error::Io { what, source }
}

impl Postgres {
    /// Starts a server on `dir`, which is made ready when it is empty.
    pub fn start(dir: &Path, programs: Option<&Path>) -> Result<Self, Error> {
        Self::start_in(dir.join("postgres"), programs, false)
    }

    /// Starts a server on a new folder that is removed with it. Commits do not wait for the disk.
    pub fn start_throw_away(programs: Option<&Path>) -> Result<Self, Error> {
        let base = std::env::temp_dir();
        sweep(&base);
        let name = format!("longshore-throw-away-{}-{}", std::process::id(), uuid::Uuid::new_v4().simple());
        Self::start_in(base.join(name), programs, true)
    }

    fn start_in(dir: PathBuf, programs: Option<&Path>, throw_away: bool) -> Result<Self, Error> {
        let bin = find_programs(programs).ok_or(Error::NotInstalled)?;
        let user = other_user()?;
        fs::create_dir_all(&dir).map_err(io_error(format!("create the folder {}", dir.display())))?;
        let dir = fs::canonicalize(&dir).map_err(io_error(format!("find the folder {}", dir.display())))?;
        if let Some(user) = &user {
            let owner = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
            chown(&dir, owner.0, owner.1).map_err(io_error(format!("give {} to {}", dir.display(), user.name)))?;
        }
        refuse_in_use(&dir)?;
        let data = dir.join("data");
        match fs::read_to_string(data.join("PG_VERSION")) {
            Ok(version) if version.trim() != major_version(&bin)? => {
                return Err(Error::OtherVersion { dir, version: version.trim().to_owned() });
            }
            Ok(_) => {}
            Err(_) => init(&bin, &dir, user.as_ref())?,
        }
        let password = fs::read_to_string(dir.join("password")).map_err(io_error("read the database's password"))?;
        let port = choose_port(&dir)?;
        let log = fs::File::create(dir.join("log")).map_err(io_error("create the database's log"))?;
        let mut command = command(&bin.join("postgres"), &dir, user.as_ref());
        command.arg("-D").arg(&data).args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        command.args(["-c", &format!("port={port}"), "-c", "max_connections=200"]);
        if throw_away {
            command.args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]);
        }
        let again = log.try_clone().map_err(io_error("use the database's log"))?;
        command.stdin(Stdio::null()).stdout(log).stderr(again);
        // A group of its own, so that a Ctrl-C at the terminal reaches us alone and we stop it when we are done with it.
        command.process_group(0);
        let server = command.spawn().map_err(io_error("start postgres"))?;
        let url = format!("postgres://{USER}:{}@127.0.0.1:{port}/{DATABASE}", password.trim());
        let mut started = Self { server, url, dir, throw_away };
        started.wait_until_up()?;
        Ok(started)
    }

    fn wait_until_up(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + START_TIMEOUT;
        let pid_file = self.dir.join("data/postmaster.pid");
        loop {
            // The server writes its process id into the first line and its state into the eighth; the file of one that was
            // killed may still be there.
            let text = fs::read_to_string(&pid_file).unwrap_or_default();
            let line = |number: usize| text.lines().nth(number).map(str::trim);
            if line(0) == Some(&self.server.id().to_string()) && line(7) == Some("ready") {
                return Ok(());
            }
            let ended = self.server.try_wait().ok().flatten().is_some();
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(5).collect();
                let log = tail.into_iter().rev().collect::<Vec<_>>().join(" | ");
                return Err(Error::NotUp { dir: self.dir.clone(), log });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.server.id().try_into().unwrap_or(0));
        let deadline = Instant::now() + STOP_TIMEOUT;
        // SIGINT asks for a fast shutdown, SIGQUIT for one at once. A throw-away has nothing to save.
        let _ = kill(pid, if self.throw_away { Signal::SIGQUIT } else { Signal::SIGINT });
        while let Ok(None) = self.server.try_wait() {
            if Instant::now() > deadline {
                let _ = kill(pid, Signal::SIGQUIT);
                let _ = self.server.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.throw_away {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// The folder of the server's programs: the one that is named, else the newest that is installed.
pub fn find_programs(named: Option<&Path>) -> Option<PathBuf> {
    let has_both = |dir: &Path| dir.join("postgres").is_file() && dir.join("initdb").is_file();
    if let Some(dir) = named {
        return has_both(dir).then(|| dir.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(dir) = std::env::split_paths(&path).find(|it| has_both(it)) {
        return Some(dir);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let installed = versions.filter_map(|it| {
        let version: u32 = it.file_name().to_str()?.parse().ok()?;
        Some((version, it.path().join("bin"))).filter(|(_, dir)| has_both(dir))
    });
    installed.max().map(|(_, dir)| dir)
}

/// The major version of the server in `bin`, which its data folders name too.
fn major_version(bin: &Path) -> Result<String, Error> {
    let output = Command::new(bin.join("postgres")).arg("--version").output().map_err(io_error("start postgres"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().find(|it| it.starts_with(|c: char| c.is_ascii_digit())).unwrap_or_default();
    Ok(version.chars().take_while(char::is_ascii_digit).collect())
}

/// Who is to run the server, when we are root.
fn other_user() -> Result<Option<User>, Error> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let found = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
    let missing =
        || Error::Failed { program: "postgres", output: "it refuses root, and no other user is there".into() };
    found.map(Some).ok_or_else(missing)
}

fn init(bin: &Path, dir: &Path, user: Option<&User>) -> Result<(), Error> {
    let password_file = dir.join("password");
    fs::write(&password_file, format!("{}\n", uuid::Uuid::new_v4().simple())).map_err(io_error("write a password"))?;
    fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600)).map_err(io_error("protect the password"))?;
    if let Some(user) = user {
        let owner = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
        chown(&password_file, owner.0, owner.1).map_err(io_error("give away the password"))?;
    }
    let mut command = command(&bin.join("initdb"), dir, user);
    command.arg("-D").arg(dir.join("data")).args(["-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"]);
    command.args(["--no-sync", "--no-instructions"]).arg("--pwfile").arg(&password_file);
    let output = command.stdin(Stdio::null()).output().map_err(io_error("start initdb"))?;
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " | ");
    Err(Error::Failed { program: "initdb", output })
}

fn command(program: &Path, dir: &Path, user: Option<&User>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    let parent = std::process::id();
    // SAFETY: between fork and exec only two system calls are made, both async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            // After the change of user, which would clear it.
            nix::sys::prctl::set_pdeathsig(Signal::SIGINT)?;
            // The parent may have died before this line.
            if nix::unistd::getppid().as_raw().unsigned_abs() != parent {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    }
    command
}

fn refuse_in_use(dir: &Path) -> Result<(), Error> {
    let Ok(text) = fs::read_to_string(dir.join("data/postmaster.pid")) else { return Ok(()) };
    let Some(pid) = text.lines().next().and_then(|it| it.trim().parse::<i32>().ok()) else { return Ok(()) };
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.trim() == "postgres" { Err(Error::InUse { dir: dir.to_owned(), pid }) } else { Ok(()) }
}

/// The port it had last time, so that a printed `psql` line stays true, else one that is free.
fn choose_port(dir: &Path) -> Result<u16, Error> {
    let file = dir.join("port");
    let last = fs::read_to_string(&file).ok().and_then(|it| it.trim().parse::<u16>().ok());
    let bind = |port| TcpListener::bind(("127.0.0.1", port)).and_then(|it| it.local_addr());
    let address = match last.map(bind) {
        Some(Ok(address)) => address,
        Some(Err(_)) | None => bind(0).map_err(io_error("find a free port"))?,
    };
    fs::write(&file, address.port().to_string()).map_err(io_error("note the database's port"))?;
    Ok(address.port())
}

/// Removes throw-away folders whose processes were killed before they could.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid =
            name.to_str().and_then(|it| it.strip_prefix("longshore-throw-away-")?.split('-').next()?.parse().ok());
        let is_dead = |pid: i32| kill(Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH);
        if pid.is_some_and(is_dead) && refuse_in_use(&entry.path()).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
