//! Every metric by name: what it is, in which unit, with which labels, and how it is to be put together over replicas.
//!
//! One table, from which the registry is made, by which tests hold what is exported, and from which docs/metrics.md is written.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What the values of several replicas come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Each replica counts what it did itself.
    Sum,
    /// Each replica says the same, read from the same rows a few seconds ago.
    Max,
    /// Each replica says how it is itself.
    Each,
}

/// A metric as it is documented.
#[derive(Debug)]
pub struct Described {
    /// As it is written in a query; of a histogram without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    pub kind: Kind,
    /// The last word of the name, but for `_total`.
    pub unit: Option<&'static str>,
    pub labels: &'static [&'static str],
    pub about: &'static str,
    pub over: Over,
}

impl Described {
    /// How to put the values of replicas together.
    pub const fn aggregate(&self) -> &'static str {
        match (self.over, self.kind) {
            (Over::Max, _) => "the same at each replica: aggregate with max",
            (Over::Each, _) => "of this replica: look at each, or aggregate with max",
            (Over::Sum, Kind::Gauge) => "of this replica: aggregate with sum",
            (Over::Sum, Kind::Counter | Kind::Histogram) => "counted by each replica: aggregate with sum(rate())",
        }
    }

    /// What `# HELP` says, without a full stop.
    pub fn help(&self) -> String {
        format!("{}; {}", self.about, self.aggregate())
    }

    /// The name without what the registry adds to it.
    pub fn stem(&self) -> &'static str {
        let name = match self.kind {
            Kind::Counter => self.name.trim_end_matches("_total"),
            Kind::Gauge | Kind::Histogram => self.name,
        };
        let unit = self.unit.and_then(|unit| name.strip_suffix(unit)?.strip_suffix('_'));
        unit.unwrap_or(name)
    }
}

const fn counter(
    name: &'static str,
    unit: Option<&'static str>,
    labels: &'static [&'static str],
    about: &'static str,
) -> Described {
    Described { name, kind: Kind::Counter, unit, labels, about, over: Over::Sum }
}

const fn histogram(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    about: &'static str,
) -> Described {
    Described { name, kind: Kind::Histogram, unit: Some(unit), labels, about, over: Over::Sum }
}

const fn gauge(
    name: &'static str,
    unit: Option<&'static str>,
    labels: &'static [&'static str],
    about: &'static str,
    over: Over,
) -> Described {
    Described { name, kind: Kind::Gauge, unit, labels, about, over }
}

const SECONDS: Option<&str> = Some("seconds");
const BYTES: Option<&str> = Some("bytes");

macro_rules! metrics {
    ($($constant:ident = $described:expr;)+) => {
        $(pub static $constant: Described = $described;)+
        /// All of them, in the order in which they are documented.
        pub static ALL: &[&Described] = &[$(&$constant),+];
    };
}

metrics! {
    BUILD_INFO = gauge("longshore_build_info", None, &["version", "revision", "rustc"], "1; the labels say which build runs", Over::Each);
    JOBS = gauge("longshore_jobs", None, &["queue", "state", "reason"], "Jobs that are not over; `reason`: what they wait for. Waiting jobs are counted up to a bound a queue, see docs/metrics.md", Over::Max);
    OLDEST_PENDING = gauge("longshore_oldest_pending_age_seconds", SECONDS, &["queue"], "For how long the job has waited for a slot that has waited longest; 0 when none waits", Over::Max);
    SLOTS_HELD = gauge("longshore_slots_held", None, &["limit"], "Slots that are held, by the rows that the claim goes by", Over::Max);
    SLOTS_LIMIT = gauge("longshore_slots_limit", None, &["limit"], "Slots that may be held: the cap", Over::Max);
    QUEUE_PAUSED = gauge("longshore_queue_paused", None, &["queue"], "1 if the queue is paused, else 0", Over::Max);
    QUEUE_MAX_PENDING = gauge("longshore_queue_max_pending", None, &["queue"], "How many jobs may wait in the queue, where that is bounded", Over::Max);
    CLAIMS = counter("longshore_claims_total", None, &[], "Jobs that were claimed, those that were handed back included");
    CLAIMS_REFUSED = counter("longshore_claims_refused_total", None, &["limit"], "Passes that found jobs waiting and every slot of this limit held");
    CAP_VIOLATIONS = counter("longshore_cap_invariant_violations_total", None, &["limit"], "Looks that found more slots held than the cap allows although nobody had lowered it; must stay 0");
    SUBMITTED = counter("longshore_jobs_submitted_total", None, &["queue", "via", "result"], "Submissions; `result`: accepted (a new job), duplicate (a job already) or rejected");
    FINISHED = counter("longshore_jobs_finished_total", None, &["queue", "outcome", "reason"], "Jobs that ended, counted by the replica that recorded it");
    ATTEMPTS = counter("longshore_job_attempts_total", None, &["queue", "outcome"], "Attempts that ended; `outcome`: succeeded, failed, cancelled, or interrupted (the cluster ended it, and it does not count)");
    WAIT = histogram("longshore_job_wait_seconds", "seconds", &["queue"], "From when an attempt might have started to its claim, by the database's clock");
    START = histogram("longshore_job_start_seconds", "seconds", &["queue"], "From the claim of an attempt to when a container of it was seen to run, by the database's clock; by the pod's where it ended before it was seen");
    RUN = histogram("longshore_job_run_seconds", "seconds", &["queue", "outcome"], "From when a container of an attempt was seen to run to the record of its end, by the same clocks");
    SLOT_RELEASE = histogram("longshore_slot_release_seconds", "seconds", &[], "From when this replica saw that a Kubernetes Job had ended to when its slot was free");
    ETA_ERROR = histogram("longshore_eta_error_ratio", "ratio", &["queue"], "How long a job waited by how long an estimate had said (1 is exact); of the first estimate, where the same replica told and claimed");
    PASS = histogram("longshore_pass_duration_seconds", "seconds", &["loop"], "How long a pass of a loop took, however it ended");
    PASS_SUCCESS = gauge("longshore_pass_last_success_timestamp_seconds", SECONDS, &["loop"], "When a pass of a loop last went well, or there was nothing for it to do; when the loop began, before the first", Over::Each);
    RECONCILE_LAG = histogram("longshore_reconcile_lag_seconds", "seconds", &[], "From the first change that a watch told of to the end of the pass that took it in");
    WATCH_EVENTS = counter("longshore_watch_events_total", None, &["resource", "cause"], "What watches told; `cause`: applied, deleted or listed");
    WATCH_RESTARTS = counter("longshore_watch_restarts_total", None, &["resource", "cause"], "Watches that broke off and were resumed; `cause`: expired (the server forgot where it was), refused, list_failed or broken");
    WATCH_AGE = gauge("longshore_watch_age_seconds", SECONDS, &["resource"], "For how long no watch or list of this kind said anything, of the namespace that is worst off; an idle watch is renewed each minute", Over::Each);
    KUBE_REQUEST = histogram("longshore_kube_request_duration_seconds", "seconds", &["verb", "resource", "code"], "Requests to the API server until the head of the answer; `code`: of HTTP, or error (none came) or gave_up (none came in time)");
    KUBE_THROTTLED = counter("longshore_kube_throttled_total", None, &["cause"], "Requests that were held back; `cause`: 429, quota_403 or client (by --kube-qps)");
    DB_UP = gauge("longshore_db_up", None, &[], "1 if the database answered when it was last asked for these metrics, else 0", Over::Each);
    DB_QUERY = histogram("longshore_db_query_duration_seconds", "seconds", &["statement"], "The statements that matter most, transactions and their commits included");
    DB_POOL = gauge("longshore_db_pool_connections", None, &["state"], "Connections to the database; `state`: idle, used, or given_up (the server still has them)", Over::Sum);
    HTTP_REQUEST = histogram("longshore_http_request_duration_seconds", "seconds", &["method", "route", "code"], "Requests until the head of their answer; `route` is the template, or _other where none fits");
    HTTP_IN_FLIGHT = gauge("longshore_http_requests_in_flight", None, &[], "Requests whose answers have not begun", Over::Sum);
    UNEXPLAINED = gauge("longshore_unexplained_jobs", None, &[], "Kubernetes Jobs that no row explains and that claiming waits for, after a start or a restore", Over::Max);
    STREAM_CLIENTS = gauge("longshore_events_stream_clients", None, &[], "Clients that listen to the stream of events", Over::Sum);
    WEBHOOK_DELIVERIES = counter("longshore_webhook_deliveries_total", None, &["result"], "Tries to deliver a message to a webhook; `result`: delivered, failed or gone");
    WEBHOOK_BACKLOG = gauge("longshore_webhook_backlog", None, &[], "Messages that wait to be delivered, counted up to 10001", Over::Max);
    PARTITIONS = gauge("longshore_partitions", None, &[], "Partitions of history, of all tables", Over::Max);
    FINISHED_ROWS = gauge("longshore_finished_rows_estimate", None, &[], "Jobs in history, as the database estimates", Over::Max);
    SOURCE_RECEIVED = counter("longshore_source_received_total", None, &["source"], "Messages that were taken from a queue elsewhere");
    SOURCE_MESSAGES = counter("longshore_source_messages_total", None, &["source", "result"], "Messages by what they came to: submitted (a new job), duplicate (a job already), refused (never a job)");
    SOURCE_WAITING = gauge("longshore_source_lag_messages", None, &["source"], "Messages that wait in the queue elsewhere", Over::Max);
    SOURCE_LAG = gauge("longshore_source_lag_seconds", SECONDS, &["source"], "Age of the last message when its job was committed, where its queue tells", Over::Each);
    SOURCE_OLDEST = gauge("longshore_source_oldest_seconds", SECONDS, &["source"], "Age of the oldest message that waits there, where its queue tells", Over::Max);
    SOURCE_UP = gauge("longshore_source_up", None, &["source"], "1 if the last look at the queue elsewhere went well, else 0", Over::Each);
    PROCESS_CPU = counter("process_cpu_seconds_total", SECONDS, &[], "Processor time of this process");
    PROCESS_FDS = gauge("process_open_fds", None, &[], "Open file descriptors", Over::Each);
    PROCESS_MAX_FDS = gauge("process_max_fds", None, &[], "File descriptors that may be open", Over::Each);
    PROCESS_RESIDENT = gauge("process_resident_memory_bytes", BYTES, &[], "Memory that this process takes", Over::Each);
    PROCESS_VIRTUAL = gauge("process_virtual_memory_bytes", BYTES, &[], "Memory that this process has mapped", Over::Each);
    PROCESS_START = gauge("process_start_time_seconds", SECONDS, &[], "When this replica began, in seconds since 1970", Over::Each);
}
