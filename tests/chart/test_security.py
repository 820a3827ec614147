"""What the chart may never do: reach beyond its Roles, run a pod with more than it needs, or show a secret."""

import re
import unittest

import yaml

from chart import MINIMAL, NAMESPACE, ROOT, cases, merged, notes, objects, of_kind, pod_of, pods, refused, texts

KINDS = {
    "ConfigMap", "Deployment", "HTTPRoute", "HorizontalPodAutoscaler", "Ingress", "Job", "NetworkPolicy", "Pod",
    "PodDisruptionBudget", "PrometheusRule", "Role", "RoleBinding", "Secret", "Service", "ServiceAccount", "ServiceMonitor",
}


def rules_of(role):
    """What is allowed: (group, resource, verb, name) by name or for all."""
    return {
        (group, resource, verb, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [None])
    }


def documented():
    """The table of docs/operating.md: what always holds, and what holds for a ConfigMap of templates."""
    page = (ROOT / "docs" / "operating.md").read_text()
    table = page.split("## Permissions")[1].split("\n## ")[0]
    always, templates = set(), set()
    for resource, verbs in re.findall(r"^\| ([a-z/]+) \| ([a-z, ]+) \|", table, re.M):
        if resource == "what":
            continue
        group = "batch" if resource == "jobs" else ""
        into, name = (templates, "job-template-cm") if resource == "configmaps" else (always, None)
        into |= {(group, resource, verb.strip(), name) for verb in verbs.split(",")}
    return always, templates


class Permissions(unittest.TestCase):
    def test_nothing_is_of_the_whole_cluster(self):
        for name, values in cases().items():
            with self.subTest(values=name):
                self.assertLessEqual({it["kind"] for it in objects(values)}, KINDS)
                for binding in of_kind(values, "RoleBinding"):
                    self.assertEqual(binding["roleRef"]["kind"], "Role")

    def test_the_role_is_what_the_documents_say(self):
        always, _ = documented()
        self.assertEqual(len(always), 11, "the table was not found")
        [role] = of_kind(MINIMAL, "Role")
        self.assertEqual(rules_of(role), always)
        readme = (ROOT / "README.md").read_text()
        shown = [it for block in re.findall(r"```yaml\n(.*?)```", readme, re.S) for it in yaml.safe_load_all(block)]
        [shown] = [it for it in shown if it.get("kind") == "Role"]
        self.assertEqual(rules_of(shown), always)

    def test_each_target_gets_a_role_and_only_the_one_with_templates_may_read_them(self):
        always, templates = documented()
        roles = {it["metadata"]["namespace"]: rules_of(it) for it in of_kind(cases()["namespaces"], "Role")}
        self.assertEqual(roles, {"batch-a": always, "batch-b": always | templates, NAMESPACE: always})
        for binding in of_kind(cases()["namespaces"], "RoleBinding"):
            [subject] = binding["subjects"]
            self.assertEqual(subject, {"kind": "ServiceAccount", "name": "main-longshore", "namespace": NAMESPACE})

    def test_templates_elsewhere_are_refused(self):
        values = merged(MINIMAL, {"templates": {"configMap": {"name": "cm", "namespace": "other"}}})
        self.assertIn("must be one of targetNamespaces", refused(values))

    def test_accounts_of_others_are_used_as_they_are(self):
        values = cases()["own-accounts"]
        self.assertEqual([it for it in objects(values) if it["kind"] in {"Role", "RoleBinding", "ServiceAccount"}], [])
        self.assertEqual({spec["serviceAccountName"] for _, _, spec in pods(values)}, {"batch"})
        self.assertIn("Role is yours to make", notes(values))


class PodSecurity(unittest.TestCase):
    """The Pod Security Standard `restricted`, and a little more, on everything that runs."""

    def test_every_pod_is_restricted(self):
        seen = set()
        for name, values in cases().items():
            for it in objects(values):
                if not pod_of(it):
                    continue
                seen.add(it["kind"])
                with self.subTest(values=name, pod=it["metadata"]["name"]):
                    _, spec = pod_of(it)
                    self.restricted(spec)
        self.assertEqual(seen, {"Deployment", "Job", "Pod"})

    def restricted(self, spec):
        own = spec["securityContext"]
        self.assertIs(own["runAsNonRoot"], True)
        self.assertEqual((own["runAsUser"], own["runAsGroup"]), (65532, 65532))
        self.assertEqual(own["seccompProfile"], {"type": "RuntimeDefault"})
        for forbidden in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"]:
            self.assertNotIn(forbidden, spec)
        kinds = {kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"}
        self.assertLessEqual(kinds, {"configMap", "secret", "emptyDir"})
        for container in spec["containers"] + spec.get("initContainers", []):
            context = container["securityContext"]
            self.assertIs(context["allowPrivilegeEscalation"], False)
            self.assertIs(context["readOnlyRootFilesystem"], True)
            self.assertIs(context["runAsNonRoot"], True)
            self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
            self.assertNotIn("privileged", context)
            self.assertIn("memory", container["resources"]["limits"])
            self.assertIn("requests", container["resources"])
            self.assertNotIn("cpu", container["resources"]["limits"], "throttling delays heartbeats")
            for mount in container.get("volumeMounts", []):
                self.assertTrue(mount.get("readOnly") or mount["mountPath"] == "/scratch")

    def test_a_token_is_for_pods_that_ask_the_api_server(self):
        values = cases()["everything"]
        tokens = {labels["app.kubernetes.io/component"]: spec["automountServiceAccountToken"] for _, labels, spec in pods(values)}
        self.assertEqual(tokens, {"server": True, "worker": True, "test": True, "migrate": False})
        for account in of_kind(values, "ServiceAccount"):
            self.assertIs(account["automountServiceAccountToken"], False)

    def test_services_do_not_set_our_variables(self):
        # A Service called longshore makes LONGSHORE_PORT=tcp://… in each pod of its namespace, unless it is told not to.
        for values in cases().values():
            for name, _, spec in pods(values):
                self.assertIs(spec["enableServiceLinks"], False, name)

    def test_only_our_own_image_is_run(self):
        for name, values in cases().items():
            if name == "everything":
                continue
            for _, _, spec in pods(values):
                for container in spec["containers"]:
                    self.assertIn("longshore", container["image"])


class Secrets(unittest.TestCase):
    def test_a_url_in_clear_text_is_in_its_secret_alone(self):
        values = cases()["trial"]
        [secret] = of_kind(values, "Secret")
        self.assertEqual(secret["metadata"]["name"], "main-longshore-database")
        for case in cases().values():
            for name, text in texts(merged(case, {"database": {"existingSecret": "", **values["database"]}})).items():
                self.assertNotIn("s3cret-word", text, name)
        self.assertIn("WARNING: database.url", notes(values))

    def test_a_secret_of_others_is_only_referred_to(self):
        for name in ["minimal", "cloudnativepg"]:
            values = cases()[name]
            self.assertEqual(of_kind(values, "Secret"), [])
            for _, _, spec in pods(values):
                [url] = [var for var in spec["containers"][0]["env"] if var["name"] == "LONGSHORE_DATABASE_URL"]
                self.assertEqual(url["valueFrom"]["secretKeyRef"], {"name": values["database"]["existingSecret"], "key": "uri"})

    def test_no_command_line_leads_to_the_database(self):
        for values in cases().values():
            for _, _, spec in pods(values):
                for container in spec["containers"]:
                    self.assertNotIn("database", " ".join(container.get("args", [])))

    def test_the_authority_of_the_database_is_mounted_where_it_is_looked_for(self):
        for _, _, spec in pods(cases()["cloudnativepg"]):
            [container] = spec["containers"]
            env = {var["name"]: var.get("value") for var in container["env"]}
            self.assertEqual((env["PGSSLMODE"], env["PGSSLROOTCERT"]), ("verify-full", "/etc/longshore/database-ca/ca.crt"))
            self.assertIn("/etc/longshore/database-ca", [it["mountPath"] for it in container["volumeMounts"]])

    def test_whoever_keeps_jobs_beside_the_secret_of_the_database_is_warned(self):
        self.assertIn("can mount its Secrets", notes(MINIMAL))
        self.assertNotIn("WARNING", notes(merged(MINIMAL, {"targetNamespaces": ["jobs"]})))

    def test_whoever_opens_the_port_is_warned(self):
        self.assertNotIn("no authentication", notes(MINIMAL))
        for more in [{"service": {"type": "LoadBalancer"}}, {"httpRoute": {"enabled": True, "parentRefs": [{"name": "a"}]}}]:
            self.assertIn("no authentication", notes(merged(MINIMAL, more)))


if __name__ == "__main__":
    unittest.main()
