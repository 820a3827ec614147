//! The process that a filter runs in: this program again, which gives away all that it does not need before it reads the
//! first request.
//!
//! jaq bounds neither time nor memory, and a filter that recurses for ever or asks for too much memory takes its whole
//! process with it. So it has a process that nobody else needs: without an environment, without files, with a bound on
//! memory, and with a parent that ends it when its time is up. A worker serves one request after the other until it is
//! told no more, or dies of one.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use nix::sys::{
    prctl,
    resource::{Resource, UsageWho, getrusage, setrlimit},
    signal::Signal,
};

use super::{
    engine::Engine,
    frame::{self, Answer, Start},
};

/// The one argument that makes this program a worker. Not a command for people.
pub const ARGUMENT: &str = "run-filter";
/// The most file descriptors: the three that it has.
const FILES: u64 = 3;

/// Everything that the process does.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            let _ = writeln!(io::stderr(), "{err}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    // Ends with whoever started it, even in the middle of a filter. By a signal that nothing else here sends, so that it is
    // told from a death that the filter brought about.
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    let Some(start) = frame::read(&mut from)? else { return Ok(()) };
    let start: Start = serde_json::from_slice(&start)?;
    confine(start.memory_bytes)?;
    let engine = match Engine::compile(&start) {
        Ok(engine) => engine,
        Err(why) => return frame::write(&mut to, &Answer::Failed(why).encode()),
    };
    frame::write(&mut to, &Answer::Output(Vec::new()).encode())?;
    while let (Some(path), Some(body)) = (frame::read(&mut from)?, frame::read(&mut from)?) {
        bound_time(start.cpu_secs)?;
        let answer = engine.run(&String::from_utf8_lossy(&path), &body);
        frame::write(&mut to, &answer.encode())?;
    }
    Ok(())
}

/// Gives away for good what a filter has no use for.
fn confine(memory_bytes: u64) -> io::Result<()> {
    let memory = address_space_bytes()?.saturating_add(memory_bytes);
    for (resource, limit) in [
        (Resource::RLIMIT_AS, memory),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NOFILE, FILES),
    ] {
        setrlimit(resource, limit, limit)?;
    }
    prctl::set_no_new_privs()?;
    Ok(())
}

/// What the program itself takes, which differs between a debug build and a released one by more than most filters need.
fn address_space_bytes() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmSize:"));
    let kib = line.and_then(|it| it.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map(|it| it * 1024).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// For when the parent is not there to look at the clock: it is stopped, or dying.
fn bound_time(cpu_secs: u64) -> io::Result<()> {
    let used = getrusage(UsageWho::RUSAGE_SELF)?;
    let used_secs = used.user_time().tv_sec() + used.system_time().tv_sec() + 1;
    let limit = u64::try_from(used_secs).unwrap_or(0) + cpu_secs;
    // The upper bound of the bound stays as it is, or the next request could not be given its own time.
    setrlimit(Resource::RLIMIT_CPU, limit, nix::sys::resource::RLIM_INFINITY)?;
    Ok(())
}
