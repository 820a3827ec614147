//! The table of checks, in the order in which they are made. docs/doctor.md shows it, and a test holds the two together.

use futures::future::LocalBoxFuture;

use super::{cluster, database, jobs, namespace, noop, patient::Patient, replica, report::Finding, rows, sources};

/// One check.
pub struct Check {
    pub name: &'static str,
    /// Those that must have gone well for this one to make sense.
    pub needs: &'static [&'static str],
    /// What it looks at.
    pub looks: &'static str,
    /// What is usually to be done when it fails.
    pub remedy: &'static str,
    pub ask: for<'a> fn(&'a Patient) -> LocalBoxFuture<'a, Vec<Finding>>,
}

pub const CHECKS: &[Check] = &[
    Check {
        name: "replica",
        needs: &[],
        looks: "A replica answers at `--url`, is ready, and is of this program's version",
        remedy: "start one, correct the address, or use a program of its version",
        ask: |it| Box::pin(replica::answers(it)),
    },
    Check {
        name: "database",
        needs: &[],
        looks: "The database can be reached, takes the password, and is Postgres 15 or later",
        remedy: "correct the URL, the password, or what is on the way; upgrade Postgres",
        ask: |it| Box::pin(database::reached(it)),
    },
    Check {
        name: "writable",
        needs: &["database"],
        looks: "It is no standby, and not read-only by a setting",
        remedy: "lead the URL to the primary, or take the setting back",
        ask: |it| Box::pin(database::writable(it)),
    },
    Check {
        name: "session",
        needs: &["database"],
        looks: "Settings of a session hold, and a connection stays the same: no pooler in transaction mode is between",
        remedy: "connect directly, or through a pooler in session mode",
        ask: |it| Box::pin(database::session(it)),
    },
    Check {
        name: "settings",
        needs: &["database"],
        looks: "No setting of the server loses accepted jobs, or ends sessions that wait",
        remedy: "take the setting back, for the role or the server",
        ask: |it| Box::pin(database::settings(it)),
    },
    Check {
        name: "database-clock",
        needs: &["database"],
        looks: "The database's clock and this machine's agree within 5 s",
        remedy: "let both get their time by NTP",
        ask: |it| Box::pin(database::clock(it)),
    },
    Check {
        name: "rights",
        needs: &["database"],
        looks: "The role may create the schema, or owns what is in it: replicas migrate, and make partitions",
        remedy: "grant it the owner's role, or `create` on the database",
        ask: |it| Box::pin(database::rights(it)),
    },
    Check {
        name: "schema",
        needs: &["database"],
        looks: "The schema is what this version makes of it: not missing, older, newer, or from other files",
        remedy: "`longshore migrate`; a newer one needs a newer program",
        ask: |it| Box::pin(rows::schema(it)),
    },
    Check {
        name: "replicas",
        needs: &["schema"],
        looks: "The replicas that are alive are all of this program's version",
        remedy: "finish the rollout",
        ask: |it| Box::pin(rows::replicas(it)),
    },
    Check {
        name: "connections",
        needs: &["schema"],
        looks: "The server, the role and the database allow as many connections as the replicas may open",
        remedy: "raise the limit, or lower --database-connections",
        ask: |it| Box::pin(rows::connections(it)),
    },
    Check {
        name: "held",
        needs: &["schema"],
        looks: "The number of held slots that the claim goes by is that of the rows",
        remedy: "`select longshore.check_held()`, and tell us",
        ask: |it| Box::pin(rows::held(it)),
    },
    Check {
        name: "partitions",
        needs: &["schema"],
        looks: "There is a partition for what is written today",
        remedy: "let a replica run; it makes them",
        ask: |it| Box::pin(rows::partitions(it)),
    },
    Check {
        name: "transactions",
        needs: &["database"],
        looks: "No transaction has been open for an hour, which would keep vacuum from its work",
        remedy: "end it",
        ask: |it| Box::pin(rows::pinned(it)),
    },
    Check {
        name: "cluster",
        needs: &[],
        looks: "The API server answers, takes the credentials, and is Kubernetes 1.20 or later",
        remedy: "correct the kubeconfig, or what is on the way",
        ask: |it| Box::pin(cluster::answers(it)),
    },
    Check {
        name: "cluster-clock",
        needs: &["cluster"],
        looks: "The API server's clock and this machine's agree within 5 s",
        remedy: "let both get their time by NTP",
        ask: |it| Box::pin(cluster::clock(it)),
    },
    Check {
        name: "namespace",
        needs: &["cluster"],
        looks: "Each namespace of `--namespace` is there, and not going away",
        remedy: "`kubectl create namespace`",
        ask: |it| Box::pin(namespace::exists(it)),
    },
    Check {
        name: "permissions",
        needs: &["cluster"],
        looks: "The account has each right of the Role, in each namespace, asked one by one",
        remedy: "add the rule that is shown to the Role",
        ask: |it| Box::pin(cluster::permissions(it)),
    },
    Check {
        name: "watch",
        needs: &["cluster"],
        looks: "A watch of Jobs and one of pods tells what it has to, and ends in time",
        remedy: "look at proxies between here and the API server",
        ask: |it| Box::pin(cluster::watches(it)),
    },
    Check {
        name: "quota",
        needs: &["cluster"],
        looks: "A ResourceQuota leaves room for Jobs and pods, and for pods that name no resources",
        remedy: "raise it, or give containers defaults by a LimitRange",
        ask: |it| Box::pin(namespace::quota(it)),
    },
    Check {
        name: "pod-security",
        needs: &["cluster"],
        looks: "The namespace's Pod Security level lets a job start that says nothing of its security",
        remedy: "use a template that meets the level, or another level",
        ask: |it| Box::pin(namespace::pod_security(it)),
    },
    Check {
        name: "service-accounts",
        needs: &["cluster"],
        looks: "The service accounts that the pod policy names are there",
        remedy: "`kubectl create serviceaccount`",
        ask: |it| Box::pin(namespace::accounts(it)),
    },
    Check {
        name: "default-job",
        needs: &["cluster"],
        looks: "The API server would take a Job of the default image (a dry run; nothing is created)",
        remedy: "what the refusal says",
        ask: |it| Box::pin(jobs::default_job(it)),
    },
    Check {
        name: "templates",
        needs: &[],
        looks: "The templates of `--templates` and of `--template-config-map` can be read and used",
        remedy: "correct the template",
        ask: |it| Box::pin(jobs::templates(it)),
    },
    Check {
        name: "sources",
        needs: &[],
        looks: "The file of `--sources` can be read, and each queue elsewhere answers",
        remedy: "correct the file, or the credentials",
        ask: |it| Box::pin(sources::reached(it)),
    },
    Check {
        name: "no-op",
        needs: &[],
        looks: "With `--submit-noop`: a job that does nothing is accepted, started and ends well, in each namespace",
        remedy: "what its ending says",
        ask: |it| Box::pin(noop::runs(it)),
    },
];
