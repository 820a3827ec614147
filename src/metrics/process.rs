//! What every program tells of itself, under the names that are common: `process_…`. Read from /proc at each scrape.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::counter::ConstCounter,
};

use super::{family, names, write_gauge};

#[derive(Debug)]
pub struct Process {
    began_secs: f64,
}

impl Process {
    pub fn new() -> Self {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { began_secs: began.as_secs_f64() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let (user, system) = (usage.user_time(), usage.system_time());
            let secs = (user.tv_sec() + system.tv_sec()) as f64 + (user.tv_usec() + system.tv_usec()) as f64 / 1e6;
            let (of, counter) = (&names::PROCESS_CPU, ConstCounter::new(secs));
            let (unit, help) = (family::unit(of), format!("{}.", of.help()));
            counter.encode(encoder.encode_descriptor(of.stem(), &help, unit.as_ref(), counter.metric_type())?)?;
        }
        let mut gauge = |of, value: Option<f64>| {
            let value: Vec<([family::Label; 0], f64)> = value.map(|it| ([], it)).into_iter().collect();
            write_gauge(&mut encoder, of, &value)
        };
        let fds = std::fs::read_dir("/proc/self/fd").ok().map(|it| it.count() as f64);
        gauge(&names::PROCESS_FDS, fds)?;
        gauge(&names::PROCESS_MAX_FDS, getrlimit(Resource::RLIMIT_NOFILE).ok().map(|it| it.0 as f64))?;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        gauge(&names::PROCESS_RESIDENT, bytes(&status, "VmRSS:"))?;
        gauge(&names::PROCESS_VIRTUAL, bytes(&status, "VmSize:"))?;
        gauge(&names::PROCESS_START, Some(self.began_secs))
    }
}

/// A line of /proc/self/status such as `VmRSS:     1234 kB`.
fn bytes(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|it| it.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kb| kb * 1024.0)
}
