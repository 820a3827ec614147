//! Every kind of problem that the API answers with, in one table: constructors, the OpenAPI document and the pages under
//! `/docs` all read it, so that none of them can say something else.

use axum::http::StatusCode;

/// What the problem pages and the OpenAPI document say about a kind of problem.
#[derive(Debug, Clone, Copy)]
pub struct About {
    pub status: StatusCode,
    /// Stable: programs may look at it.
    pub code: &'static str,
    pub title: &'static str,
    /// When it is answered.
    pub meaning: &'static str,
    /// What a client should do about it.
    pub remedy: &'static str,
}

/// Declares the kinds, each with what there is to say about it.
macro_rules! kinds {
    ($($kind:ident: $status:ident $code:literal, $title:literal, $meaning:literal, $remedy:literal;)+) => {
        /// A kind of problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind {
            $($kind,)+
        }

        impl Kind {
            pub const ALL: [Kind; [$($code),+].len()] = [$(Self::$kind),+];

            pub const fn about(self) -> About {
                match self {
                    $(Self::$kind => About {
                        status: StatusCode::$status,
                        code: $code,
                        title: $title,
                        meaning: $meaning,
                        remedy: $remedy,
                    },)+
                }
            }
        }
    };
}

kinds! {
    InvalidJson: BAD_REQUEST "invalid_json", "The body is not JSON",
        "The body of the request could not be read as JSON.",
        "Send JSON; `detail` says at which line and column it stops being that.";
    UnreadableBody: BAD_REQUEST "unreadable_body", "The body could not be read",
        "The body ended before its announced length, or nothing of it came for ten seconds.",
        "Send it again, with a key for idempotency if the job must not be made twice.";
    CrossSite: FORBIDDEN "cross_site", "Refused",
        "A browser says that a page of another site wants to change something here: by `Sec-Fetch-Site`, or by an `Origin` \
         that is not this host.",
        "Change things from a page of this host, or from a program that is no browser.";
    UnknownHost: FORBIDDEN "unknown_host", "Refused",
        "A replica that listens at an address of its machine alone is asked under another name than that machine's. A page \
         whose name was made to lead there looks like a page of this host.",
        "Use `localhost` or `127.0.0.1`. Where a proxy is on the same machine, let it pass such a name on as `Host`, or let \
         the replica listen at another address (`--host`).";
    NoSuchJob: NOT_FOUND "no_such_job", "No such job",
        "No job has this id, or it has aged out of the history.",
        "Use an id as `job_id` had it. What is finished is kept for the time of `--retention`.";
    NoLog: NOT_FOUND "no_log", "No log",
        "There is no log of that job or attempt, or not yet: it has not been started, its container has not begun, no pod \
         of it was ever known, or its pod is gone and nothing was kept.",
        "`detail` says which of these it is. Ask again with `follow=true` where it has not begun; see `--keep-logs` for what is \
         kept.";
    NoSuchPath: NOT_FOUND "no_such_path", "No such path",
        "There is nothing at this path.",
        "The pages under `/docs` have all paths.";
    NoFilter: NOT_FOUND "no_filter", "No filter",
        "This Longshore was started without a filter, so it cannot make a Job of any JSON.",
        "Start `serve` with `--filter` or `--from-file`, or submit to `/jobs`.";
    NoSuchProblem: NOT_FOUND "no_such_problem", "No such problem",
        "There is no kind of problem with this code.",
        "The page `/docs` lists all of them.";
    WrongMethod: METHOD_NOT_ALLOWED "wrong_method", "Wrong method",
        "This path does not answer to this method.",
        "The header `Allow` says which methods there are.";
    NoSuchQueue: NOT_FOUND "no_such_queue", "No such queue",
        "No queue has this name.",
        "A queue comes into being with its first job, or by `PUT /queues/{name}`.";
    NoSuchSource: NOT_FOUND "no_such_source", "No such source",
        "No source has this name.",
        "`GET /sources` has them all. A source is an entry of the file that `serve --sources` reads.";
    NoSuchWebhook: NOT_FOUND "no_such_webhook", "No such webhook",
        "No webhook has this id.",
        "`GET /webhooks` has them all.";
    NoSuchDelivery: NOT_FOUND "no_such_delivery", "No such delivery",
        "This webhook has no delivery with this id, or it has aged out.",
        "`GET /webhooks/{id}/deliveries` has them all.";
    NotWaiting: CONFLICT "not_waiting", "The job does not wait",
        "The job has been started, or has ended; only a job that waits, pending or scheduled, can be changed.",
        "Leave it, or cancel it and submit another one.";
    AlreadyFinished: CONFLICT "already_finished", "The job has ended",
        "The job has succeeded or failed, so it cannot be cancelled any more.",
        "Nothing is to be done: it does not run.";
    NotRetryable: CONFLICT "not_retryable", "The job cannot be tried again",
        "The job is not over, or it succeeded.",
        "Only what failed or was cancelled is tried again. Submit what succeeded again to run it once more.";
    KeyReused: CONFLICT "idempotency_key_reused", "The idempotency key is taken",
        "The idempotency key came with another request before, which made another job.",
        "Use a new key for a new request. To ask again what became of the first, send it exactly as it was.";
    EventsGone: GONE "events_gone", "Events are gone",
        "What happened after the event of this id cannot be told any more: too much has happened, it has aged out, or the \
         database is another one since.",
        "Read `GET /jobs` for how things are, and listen without an id.";
    NoSuchTemplate: NOT_FOUND "no_such_template", "No such template",
        "There is no template of this name, in no file, not in the ConfigMap and not in the database.",
        "GET /templates lists what there is.";
    TemplateIsFixed: CONFLICT "template_is_fixed", "The template is kept elsewhere",
        "A file or the ConfigMap has a template of this name, which goes before what is stored.",
        "Change it there, or use another name.";
    TooLarge: PAYLOAD_TOO_LARGE "too_large", "The body is too large",
        "The body, or one item of a batch, is larger than 1 MiB.",
        "Make it smaller: Kubernetes could not keep a larger manifest either. Many jobs go into one batch, item by item.";
    TooManyJobs: PAYLOAD_TOO_LARGE "too_many_jobs", "Too many jobs",
        "One batch has more than 100,000 jobs, of which those before were accepted or refused each for itself; or one that is \
         to be accepted as a whole has more than 10,000 or 32 MiB, and nothing was.",
        "Send the rest, from the index of this problem on, in another request; of a whole, several.";
    InvalidFields: UNPROCESSABLE_ENTITY "invalid_fields", "Some fields are wrong",
        "A field or parameter is unknown, has a wrong type, or breaks a rule.",
        "`errors` names each wrong field as a JSON Pointer, with what would be right.";
    PodPolicy: UNPROCESSABLE_ENTITY "pod_policy", "The pod policy forbids it",
        "The pods of the job would break a rule of this installation's pod policy.",
        "`errors` names each field with the rule that it breaks. Leave it out, or ask whoever runs Longshore for the rule to be \
         loosened (`--pod-policy`).";
    ManifestRejected: UNPROCESSABLE_ENTITY "manifest_rejected", "The cluster denies it",
        "A webhook or a policy of the cluster denies the Job; `detail` is what it says.",
        "Change what it names.";
    TooManyQueues: UNPROCESSABLE_ENTITY "too_many_queues", "Too many queues",
        "The job's queue is new, and there are as many queues as there may be.",
        "Use a queue that there is.";
    TooManyWebhooks: UNPROCESSABLE_ENTITY "too_many_webhooks", "Too many webhooks",
        "There are as many webhooks as there may be.",
        "Delete one that is not needed any more.";
    FilterFailed: UNPROCESSABLE_ENTITY "filter_failed", "The filter failed",
        "The filter ended with an error, had no output, or took more memory or made more output than it may.",
        "`detail` says which. What the filter refuses is for whoever wrote it to explain.";
    TooManyTemplates: UNPROCESSABLE_ENTITY "too_many_templates", "Too many templates",
        "There are as many stored templates as there may be.",
        "Delete one that nobody uses.";
    BatchRefused: UNPROCESSABLE_ENTITY "batch_refused", "The batch was refused",
        "Some jobs of a batch with `atomic=true` cannot be accepted, and so none was. Its status is that of the first of them.",
        "`errors` names what is wrong, each pointer beginning with the index of a job. Mend those and send all again, or send it \
         without `atomic`.";
    QueueFull: TOO_MANY_REQUESTS "queue_full", "The queue is full",
        "As many jobs wait in the queue as its `max_pending` allows.",
        "Submit again after `Retry-After` seconds, or when fewer wait.";
    Internal: INTERNAL_SERVER_ERROR "internal", "Internal error",
        "Something went wrong here that is not the request's fault.",
        "The log of the replica says what it was. Please report it.";
    TemplatesUnavailable: SERVICE_UNAVAILABLE "templates_unavailable", "Templates unavailable",
        "The ConfigMap that may have the template could not be read yet.",
        "Ask again after `Retry-After` seconds. Where that does not help, the log of the replica says why.";
    OutcomeUnknown: SERVICE_UNAVAILABLE "outcome_unknown", "Outcome unknown",
        "The database did not answer in time. A change may have been made or not.",
        "Ask again after `Retry-After` seconds; a submission with the same idempotency key, which then makes at most one job.";
    DatabaseUnavailable: SERVICE_UNAVAILABLE "database_unavailable", "The database is away",
        "The database is away, read-only or refused for the moment. Nothing was done.",
        "Ask again after `Retry-After` seconds.";
    ClusterUnavailable: SERVICE_UNAVAILABLE "cluster_unavailable", "Cluster unavailable",
        "The Kubernetes API server does not answer as it should.",
        "Ask again after `Retry-After` seconds. Submitting and listing need no cluster.";
    WatchBroken: SERVICE_UNAVAILABLE "watch_broken", "A watch is broken",
        "This replica can reach the Kubernetes API server, and has not been able to list or watch Jobs or pods for a minute. It \
         claims nothing meanwhile.",
        "`detail` says which verb, on what, in which namespace; after a 403 the Role does not allow it any more \
         (`longshore doctor` looks at all of them). Nothing is to be restarted: it is tried again every half minute.";
    Recovering: SERVICE_UNAVAILABLE "recovering", "The cluster is ahead of the rows",
        "Since this replica started, or since the database was restored or failed over, the cluster has not been matched to the \
         rows, or Jobs of this installation live that no row knows. It claims nothing meanwhile.",
        "`detail` names those Jobs. Run `longshore recover`, wait until they end, or delete them: `kubectl delete job -n NAMESPACE NAME`.";
    TooManyStreams: SERVICE_UNAVAILABLE "too_many_streams", "Too many streams",
        "As many clients listen to the events of this replica as may.",
        "Ask again after `Retry-After` seconds, or another replica.";
    FilterBusy: SERVICE_UNAVAILABLE "filter_busy", "The filter is busy",
        "Too many requests wait for the filter.",
        "Ask again after `Retry-After` seconds.";
    FilterUnavailable: SERVICE_UNAVAILABLE "filter_unavailable", "The filter is not there",
        "The process that the filter runs in could not be started.",
        "Ask again after `Retry-After` seconds. The log of the replica says why.";
    FilterTimeout: GATEWAY_TIMEOUT "filter_timeout", "The filter took too long",
        "The filter took longer for this request than `--filter-timeout`.",
        "Send another request; this one will take as long again.";
    DatabaseReadOnly: SERVICE_UNAVAILABLE "database_read_only", "Not ready",
        "The database can be read and not written to, as a standby.",
        "Wait, or ask another replica. After a failover it heals by itself.";
    Starting: SERVICE_UNAVAILABLE "starting", "Not ready",
        "This replica is starting: it waits for the database, or brings its schema up to date.",
        "Ask again after `Retry-After` seconds, or another replica.";
    Stopping: SERVICE_UNAVAILABLE "stopping", "Not ready",
        "This replica is stopping.",
        "Ask another one.";
}

impl Kind {
    /// The statuses that it comes with: its own, but for a batch that is refused because of one of its jobs.
    pub fn statuses(self) -> Vec<StatusCode> {
        let own = self.about().status;
        match self {
            Self::BatchRefused => {
                vec![StatusCode::BAD_REQUEST, StatusCode::CONFLICT, own, StatusCode::TOO_MANY_REQUESTS]
            }
            _ => vec![own],
        }
    }

    /// The kind with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.about().code == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_names_one_kind() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_code(kind.about().code), Some(kind));
        }
    }
}
