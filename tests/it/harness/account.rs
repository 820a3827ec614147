//! The account that replicas have on a real cluster: one with the Role of the documents, made of the list that
//! `longshore doctor` goes by, and nothing else. So the whole suite proves that the Role suffices.

use std::path::{Path, PathBuf};

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::ServiceAccount,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client,
    api::PostParams,
    config::{AuthInfo, Context, Kubeconfig, NamedAuthInfo, NamedContext},
};
use longshore::cluster::needs;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::eventually;

/// What account, Role and RoleBinding are called.
pub const NAME: &str = "longshore";
/// The ConfigMap of templates of those tests that have one.
const TEMPLATES: &str = "job-template-cm";
/// How long its token holds, in seconds: longer than any test takes.
const TOKEN_SECS: i64 = 7_200;

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// The rules of the Role, without some of them, each as (resource, verb).
pub fn rules(without: &[(&str, &str)]) -> Vec<Value> {
    let granted = |need: &needs::Need, name: Option<&str>| {
        let verbs: Vec<&str> =
            need.verbs.iter().copied().filter(|verb| !without.contains(&(need.resource, verb))).collect();
        (!verbs.is_empty()).then(|| need.rule(&verbs, name))
    };
    let always = needs::ALWAYS.iter().map(|it| granted(it, None));
    always.chain([granted(&needs::TEMPLATES, Some(TEMPLATES))]).flatten().collect()
}

/// Makes the account with these rules in `namespace`, and writes a kubeconfig with its token beneath `dir`.
pub async fn make(admin: &Path, client: Client, namespace: &str, name: &str, rules: Vec<Value>, dir: &Path) -> PathBuf {
    let params = PostParams::default();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    accounts.create(&params, &read(json!({"metadata": {"name": name}}))).await.unwrap();
    let roles: Api<Role> = Api::namespaced(client.clone(), namespace);
    roles.create(&params, &read(json!({"metadata": {"name": name}, "rules": rules}))).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(client, namespace);
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    });
    bindings.create(&params, &read(binding)).await.unwrap();
    let wish: TokenRequest = read(json!({"spec": {"audiences": [], "expirationSeconds": TOKEN_SECS}}));
    let token = accounts.create_token_request(name, &params, &wish).await.unwrap().status.unwrap().token;
    let file = dir.join(format!("{name}.kubeconfig"));
    std::fs::write(&file, serde_json::to_string(&kubeconfig(admin, namespace, token)).unwrap()).unwrap();
    file
}

/// The admin's way to the cluster, with another account's credentials.
fn kubeconfig(admin: &Path, namespace: &str, token: String) -> Kubeconfig {
    let mut file = Kubeconfig::read_from(admin).unwrap();
    let current = file.current_context.clone().unwrap();
    let context = file.contexts.iter().find(|it| it.name == current).unwrap().context.clone().unwrap();
    let account = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
    file.auth_infos = vec![NamedAuthInfo { name: NAME.into(), auth_info: Some(account), other: Default::default() }];
    let context = Context { user: Some(NAME.into()), namespace: Some(namespace.into()), ..context };
    file.contexts = vec![NamedContext { name: NAME.into(), context: Some(context), other: Default::default() }];
    file.current_context = Some(NAME.into());
    file
}

/// Ends when the server has heard of the account's rights.
pub async fn is_known(client: Client, namespace: &str) {
    let cluster = longshore::cluster::Cluster::new(client, vec![namespace.to_owned()], 0);
    eventually("the account may do what it is to do", async || {
        let need = needs::ALWAYS.first().unwrap();
        let may = cluster.may(namespace, need, need.verbs[0], None).await;
        may.unwrap().then_some(())
    })
    .await;
}
