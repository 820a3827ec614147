//! The API server: which one it is, what this account may do there, and whether watches live.

use std::sync::Arc;

use futures::future::join_all;

use crate::{
    cluster::{
        Cluster,
        examine::{Asked, Server},
        glance::Glance,
        needs::{self, Need},
    },
    templates::shelf::Places,
};

use super::{database::clocks, patient::Patient, report::Finding};

/// The oldest Kubernetes that is tested, as the minor version of 1.
const OLDEST_MINOR: u32 = 20;
/// What is watched: where it is in the API, and its plural.
const WATCHED: [(&str, &str); 2] = [("apis/batch/v1", "jobs"), ("api/v1", "pods")];

/// The cluster, or the finding that there is none.
pub fn given(patient: &Patient) -> Result<Arc<Cluster>, Finding> {
    patient.cluster.clone().map_err(|_| Finding::because_of("cluster"))
}

/// The server that answered `cluster`, asked once more.
pub async fn server(cluster: &Cluster) -> Result<Server, Finding> {
    match cluster.server().await {
        Asked::Found(it) => Ok(it),
        Asked::Absent | Asked::NotAllowed | Asked::Unknown | Asked::Failed(_) => Err(Finding::because_of("cluster")),
    }
}

pub async fn answers(patient: &Patient) -> Vec<Finding> {
    let cluster = match &patient.cluster {
        Ok(cluster) => cluster,
        Err(finding) => return vec![finding.clone()],
    };
    let why = "no Kubernetes Job can be created or followed; jobs are accepted and wait";
    vec![match cluster.server().await {
        Asked::Found(it) if it.minor.is_some_and(|it| it < OLDEST_MINOR) => Finding::fail(
            format!("Kubernetes {}", it.version),
            format!("Longshore is made for 1.{OLDEST_MINOR} and later"),
            "upgrade the cluster, or use another one",
        ),
        Asked::Found(it) => Finding::ok(format!("Kubernetes {}", it.version)),
        Asked::NotAllowed => Finding::fail(
            "the API server answers, and tells this account nothing",
            why,
            "see whose credentials these are: `kubectl auth whoami`; a token may be of another cluster",
        ),
        Asked::Absent | Asked::Unknown => Finding::fail(
            "what answers does not look like an API server",
            why,
            "correct the server's address in the kubeconfig: `kubectl cluster-info`",
        ),
        Asked::Failed(told) => Finding::fail(
            format!("the API server does not answer as it should: {told}"),
            why,
            "see that `kubectl get --raw /version` answers from here, with the same kubeconfig or account; \
             a NetworkPolicy must let it out to port 443 or 6443",
        ),
    }]
}

pub async fn clock(patient: &Patient) -> Vec<Finding> {
    let asked = async {
        let server = server(&*given(patient)?).await?;
        Ok(server
            .ahead
            .map_or_else(|| Finding::skipped("it does not tell its time"), |it| clocks("the API server's", it)))
    };
    vec![asked.await.unwrap_or_else(|it: Finding| it)]
}

/// One right that is asked for.
struct Right<'a> {
    namespace: &'a str,
    need: &'a Need,
    verb: &'a str,
    /// Of which object, if of one only.
    name: Option<&'a str>,
}

pub async fn permissions(patient: &Patient) -> Vec<Finding> {
    let cluster = match given(patient) {
        Ok(cluster) => cluster,
        Err(finding) => return vec![finding],
    };
    let map = patient.config.template_config_map.as_deref();
    // A name that cannot be used is told of by `templates`.
    let places = Places::of_flags(None, map, None, &cluster.namespaces).unwrap_or_default();
    let mut found = Vec::new();
    for namespace in &cluster.namespaces {
        found.extend(missing(&cluster, namespace, rights_in(namespace, None)).await);
    }
    if let Some((namespace, name)) = &places.config_map {
        found.extend(missing(&cluster, namespace, rights_in(namespace, Some(name))).await);
    }
    found
}

/// What is asked for in a namespace; with a ConfigMap's name, what is asked for on that alone.
fn rights_in<'a>(namespace: &'a str, config_map: Option<&'a str>) -> Vec<Right<'a>> {
    let needs = if config_map.is_some() { std::slice::from_ref(&needs::TEMPLATES) } else { &needs::ALWAYS };
    let each = |need: &'a Need| need.verbs.iter().map(move |verb| Right { namespace, need, verb, name: config_map });
    needs.iter().flat_map(each).collect()
}

async fn missing(cluster: &Cluster, namespace: &str, rights: Vec<Right<'_>>) -> Vec<Finding> {
    let asked = rights.iter().map(|it| cluster.may(it.namespace, it.need, it.verb, it.name));
    let answers = join_all(asked).await;
    let mut found = Vec::new();
    for (right, answer) in rights.iter().zip(answers) {
        let Right { need, verb, name, .. } = right;
        let object = name.map(|it| format!(" {it}")).unwrap_or_default();
        match answer {
            Ok(true) => {}
            Ok(false) => found.push(Finding::fail(
                format!("may not {verb} {}{object}", need.qualified()),
                format!("it takes that for: {}", need.why),
                format!(
                    "add this rule to the account's Role in {namespace}: {}; or let the chart make it (rbac.create, targetNamespaces)",
                    need.rule(&[verb], *name)
                ),
            )),
            Err(told) => {
                found.push(Finding::fail(
                    format!("cannot be asked: {told}"),
                    "nobody can tell what this account may do",
                    "see whether `kubectl auth can-i create jobs.batch` works with the same credentials; everybody may ask, by the ClusterRole system:basic-user",
                ));
                break;
            }
        }
    }
    if found.is_empty() {
        let verbs: Vec<String> = rights.iter().map(|it| format!("{} {}", it.verb, it.need.qualified())).collect();
        found.push(Finding::ok(format!("all {}: {}", verbs.len(), verbs.join(", "))));
    }
    found.into_iter().map(|it| it.about(namespace)).collect()
}

pub async fn watches(patient: &Patient) -> Vec<Finding> {
    let cluster = match given(patient) {
        Ok(cluster) => cluster,
        Err(finding) => return vec![finding],
    };
    let minor = match server(&cluster).await {
        Ok(server) => server.minor,
        Err(finding) => return vec![finding],
    };
    let all = cluster.namespaces.iter().flat_map(|namespace| WATCHED.map(|watched| (namespace, watched)));
    let opened = all.map(async |(namespace, (root, plural))| {
        let why = "what becomes of Jobs is noticed late, by the next list";
        let remedy = "look at proxies and load balancers between here and the API server: they must pass on a stream as it comes; \
                      `kubectl get --raw '/api/v1/namespaces/NAMESPACE/pods?watch=1&timeoutSeconds=5'` shows it";
        let told = match cluster.glance(root, plural, namespace, minor).await {
            Glance::Told => Finding::ok(format!("a watch of {plural} tells what there is")),
            Glance::Quiet => Finding::ok(format!("a watch of {plural} opens, and ends in time")),
            Glance::Silent => Finding::fail(format!("a watch of {plural} opens, and tells nothing"), why, remedy),
            Glance::NotAllowed => Finding::because_of("permissions"),
            Glance::Failed(told) => Finding::fail(format!("a watch of {plural} does not work: {told}"), why, remedy),
        };
        told.about(namespace)
    });
    join_all(opened).await
}
