"""Installs the chart into the cluster of KUBECONFIG, by the real Helm library: every case, an upgrade that changes nothing,
the permissions as the API server judges them, and an uninstall that leaves nothing. With LONGSHORE_BIN it also runs that
binary with the service account's token and nothing else. The namespaces are its own, and are deleted."""

import base64
import contextlib
import json
import os
import pathlib
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request

import helm_python
import yaml

from chart import CHART, MINIMAL, cases, merged
from test_security import documented

NAMESPACE = f"{os.environ.get('CHART_NAMESPACE', 'longshore-chart')}-{secrets.token_hex(3)}"
BATCH = f"{NAMESPACE}-batch"
# What only clusters with the operators of others know.
FOREIGN = {"metrics": {"serviceMonitor": {"enabled": False}, "rules": {"enabled": False}}, "httpRoute": {"enabled": False}}
# No image is pulled: what is tried here is the API server, not the kubelet.
IDLE = {"replicas": 0, "workers": {"replicas": 0}}
KINDS = "deploy,job,pod,svc,sa,role,rolebinding,cm,secret,pdb,hpa,netpol,ingress"


def kubectl(*args, check=True, given=None):
    done = subprocess.run(["kubectl", *args], input=given, capture_output=True, text=True)
    if check and done.returncode:
        raise SystemExit(f"kubectl {' '.join(args)}: {done.stderr}")
    return done.stdout.strip()


def installed(release):
    """What there is of a release, without what the cluster itself writes."""
    found = {}
    for namespace in [NAMESPACE, BATCH]:
        listed = json.loads(kubectl("get", KINDS, "-n", namespace, "-l", f"app.kubernetes.io/instance={release}", "-o", "json"))
        for it in listed["items"]:
            if it["kind"] == "Pod":
                continue
            for key in ["managedFields", "resourceVersion", "annotations"]:
                it["metadata"].pop(key, None)
            it.pop("status", None)
            found[it["kind"], namespace, it["metadata"]["name"]] = it
    return found


def try_every_case(helm):
    for name, values in cases().items():
        # Ports of nodes are the cluster's, and a pod with a volume of its own is none of its business here.
        values = merged(values, FOREIGN, IDLE, {"service": {"type": "ClusterIP"}, "targetNamespaces": [NAMESPACE, BATCH]})
        values["service"].pop("nodePort", None)
        if values.get("templates", {}).get("configMap", {}).get("name"):
            values["templates"]["configMap"]["namespace"] = BATCH
        helm.install(CHART, name, values, namespace=NAMESPACE)
        before = installed(name)
        helm.upgrade(CHART, name, values, namespace=NAMESPACE)
        after = installed(name)
        changed = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
        if changed:
            raise SystemExit(f"{name}: an upgrade to the same changed {changed}")
        helm.uninstall(name, wait="legacy", timeout=120)
        left = list(installed(name))
        if left:
            raise SystemExit(f"{name}: left behind: {left}")
        kinds = sorted({kind for kind, _, _ in before})
        print(f"ok  {name}: {len(before)} objects ({', '.join(kinds)}); upgraded without a change; nothing left")


def try_permissions(helm):
    values = merged(MINIMAL, IDLE, {"targetNamespaces": [NAMESPACE, BATCH], "templates": {"configMap": {"name": "job-template-cm"}}})
    helm.install(CHART, "main", values, namespace=NAMESPACE)
    account = f"--as=system:serviceaccount:{NAMESPACE}:main-longshore"

    def may(verb, resource, namespace):
        return kubectl("auth", "can-i", verb, *resource, "-n", namespace, account, check=False) == "yes"

    always, templates = documented()
    for namespace in [NAMESPACE, BATCH]:
        for group, resource, verb, _ in always:
            kind, _, part = resource.partition("/")
            asked = [f"{kind}.{group}" if group else kind] + ([f"--subresource={part}"] if part else [])
            assert may(verb, asked, namespace), f"may not {verb} {resource} in {namespace}"
    for _, _, verb, name in templates:
        assert may(verb, [f"configmaps/{name}"], NAMESPACE), f"may not {verb} the templates"
        assert not may(verb, [f"configmaps/{name}"], BATCH), "templates are read where they are, nowhere else"
    forbidden = [
        ("get", "secrets"), ("list", "secrets"), ("create", "pods"), ("delete", "pods"), ("create", "pods/exec"), ("update", "jobs.batch"),
        ("patch", "jobs.batch"), ("get", "configmaps"), ("list", "configmaps"), ("create", "roles.rbac.authorization.k8s.io"),
        ("impersonate", "users"), ("get", "nodes"), ("list", "namespaces"),
    ]
    for verb, resource in forbidden:
        assert not may(verb, [resource], NAMESPACE), f"may {verb} {resource}"
    assert not may("create", ["jobs.batch"], "default"), "may create jobs elsewhere"
    print(f"ok  permissions: {len(always)} as documented in both namespaces, the ConfigMap of templates in one, none of {len(forbidden)} others")


def try_missing_definitions(helm):
    try:
        helm.install(CHART, "scraped", merged(MINIMAL, IDLE, {"metrics": {"serviceMonitor": {"enabled": True}}}), namespace=NAMESPACE)
    except helm_python.HelmError as err:
        assert "ServiceMonitor" in str(err), err
        print(f"ok  without the operator, a ServiceMonitor is refused: {str(err).strip().splitlines()[-1][:160]}")
    else:
        print("--  this cluster knows ServiceMonitor")
        helm.uninstall("scraped")


def kubeconfig_of_the_account(folder):
    """A kubeconfig with the token of the release's service account, and nothing else."""
    named = json.loads(kubectl("get", "sa", "main-longshore", "-n", NAMESPACE, "-o", "json")).get("secrets")
    if named:
        data = json.loads(kubectl("get", "secret", named[0]["name"], "-n", NAMESPACE, "-o", "json"))["data"]
        token = base64.b64decode(data["token"]).decode()
    else:
        token = kubectl("create", "token", "main-longshore", "-n", NAMESPACE)
    own = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    own["users"] = [{"name": "account", "user": {"token": token}}]
    own["contexts"] = [{"name": "account", "context": {"cluster": own["clusters"][0]["name"], "user": "account", "namespace": NAMESPACE}}]
    own["current-context"] = "account"
    path = pathlib.Path(folder) / "kubeconfig"
    path.write_text(yaml.safe_dump(own))
    return path


def try_the_binary(binary):
    """Runs it with that token: what it does for a job must need no more than the Role."""
    template = {"manifest": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": [
        {"name": "main", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["echo", "from the template"]}]}}}}}
    kubectl("create", "configmap", "job-template-cm", "-n", NAMESPACE, f"--from-literal=job-template.yaml={yaml.safe_dump(template)}")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        os.chmod(folder, 0o755)
        log = stack.enter_context(open(f"{folder}/log", "w+"))
        env = {"PATH": os.environ["PATH"], "HOME": folder, "LONGSHORE_KUBECONFIG": str(kubeconfig_of_the_account(folder))}
        command = [binary, "serve", "--port", "18790", "--host", "127.0.0.1",
                   "--namespace", f"{NAMESPACE},{BATCH}", "--template-config-map", "job-template-cm", "--keep-logs", "all",
                   "--keep-finished", "1s", "--lease", "3s", "--start-grace", "ImagePullBackOff=1s,ErrImagePull=1s", "--data-dir", f"{folder}/pg"]
        serve = subprocess.Popen(command, env=env, stderr=log, stdout=log)
        stack.callback(serve.wait)
        stack.callback(serve.terminate)
        url = "http://127.0.0.1:18790"

        def client(*args):
            done = subprocess.run([binary, "--url", url, *args], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180)
            return done.returncode, done.stdout, done.stderr

        for _ in range(300):
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"{url}/readyz", timeout=5).status == 200:
                    break
            time.sleep(0.2)
        else:
            log.seek(0)
            raise SystemExit(f"not ready: {log.read()}")
        said = client("submit", "hello", "--wait", "-o", "json", "--", "sh", "-c", "echo hello")
        assert said[0] == 0, said
        job = json.loads(said[1])["job_id"]
        assert "hello" in client("logs", job)[1]
        said = client("submit", "templated", "--template", "job-template", "--wait")
        assert said[0] == 0, said
        said = client("submit", "elsewhere", "--namespace", BATCH, "--wait", "--", "true")
        assert said[0] == 0, said
        said = client("submit", "nowhere", "--image", "registry.invalid/nothing:1", "--wait")
        assert said[0] == 10 and "image" in said[1] + said[2], said
        job = client("submit", "long", "-o", "name", "--", "sleep", "600")[1].strip()
        for _ in range(300):
            if json.loads(client("get", job, "-o", "json")[1])["state"] == "running":
                break
            time.sleep(0.2)
        said = client("cancel", job)
        assert said[0] == 0, said
        said = client("wait", job, "--timeout", "90s")
        assert said[0] == 11, said
        # Before the Jobs are looked for: it submits one in each namespace.
        said = client("doctor", "--submit-noop", "-o", "json", "--kubeconfig", env["LONGSHORE_KUBECONFIG"], "--namespace",
                      f"{NAMESPACE},{BATCH}", "--template-config-map", "job-template-cm")
        assert said[0] == 0, said
        ended = {(it["check"], it["about"]): it for it in json.loads(said[1])}
        for check in ["permissions", "default-job", "no-op", "watch"]:
            for namespace in [NAMESPACE, BATCH]:
                assert ended[check, namespace]["status"] == "ok", ended
        for _ in range(150):
            if not kubectl("get", "jobs", "-n", NAMESPACE, "-o", "name") + kubectl("get", "jobs", "-n", BATCH, "-o", "name"):
                break
            time.sleep(0.2)
        else:
            raise SystemExit("finished Kubernetes Jobs were not removed")
        log.seek(0)
        text = log.read()
        assert "orbidden" not in text, text
        print("ok  serve with the token of the service account alone: a job and its log, a template of the ConfigMap, another namespace,")
        print("    an image that is not there, a cancel, longshore doctor, and the removal of what was finished; nothing was forbidden")


def main():
    for namespace in [NAMESPACE, BATCH]:
        kubectl("create", "namespace", namespace)
    try:
        with helm_python.Config(namespace=NAMESPACE) as helm:
            print(f"Kubernetes {json.loads(kubectl('version', '-o', 'json'))['serverVersion']['gitVersion']}, namespace {NAMESPACE}")
            try_every_case(helm)
            try_missing_definitions(helm)
            try_permissions(helm)
            if binary := os.environ.get("LONGSHORE_BIN"):
                try_the_binary(binary)
            helm.uninstall("main")
    finally:
        kubectl("delete", "namespace", NAMESPACE, BATCH, "--wait=false", check=False)


if __name__ == "__main__":
    sys.exit(main())
