"""Every way to install the chart renders, is valid for each Kubernetes, and comes out the same each time."""

import unittest

import helm_python
import kubernetes_validate

from chart import CHART, MINIMAL, NAMESPACE, RELEASE, cases, merged, notes, objects, of_kind, pods, refused, settings, texts

# Kinds of others, whose schemas are not at hand.
FOREIGN = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}
# What was tried: the oldest and the newest that there are schemas of, and all between.
VERSIONS = [f"1.{minor}" for minor in range(25, 38)]
NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"


def selects(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


class Render(unittest.TestCase):
    def test_lint_has_nothing_to_say(self):
        for name, values in cases().items():
            with self.subTest(values=name):
                report = helm_python.lint(CHART, values, strict=True, namespace=NAMESPACE)
                self.assertEqual(report["errors"], [])
                # An icon is a recommendation; this project has none.
                said = [it["error"] for it in report["messages"] if "icon is recommended" not in it["error"]]
                self.assertEqual(said, [])

    def test_objects_are_valid_strictly(self):
        foreign = set()
        for name, values in cases().items():
            with self.subTest(values=name):
                for version in VERSIONS:
                    for it in objects(values):
                        try:
                            kubernetes_validate.validate(it, version, strict=True)
                        except kubernetes_validate.SchemaNotFoundError:
                            foreign.add(it["kind"])
        self.assertEqual(foreign, FOREIGN)

    def test_the_same_values_come_to_the_same_text(self):
        for name, values in cases().items():
            with self.subTest(values=name):
                first = texts(values)
                with helm_python.Chart.load(CHART) as chart:
                    again = chart.render(values, name=RELEASE, namespace=NAMESPACE, revision=7, is_upgrade=True)
                self.assertEqual(first, again, "an upgrade to the same must change nothing")

    def test_objects_are_told_apart(self):
        for name, values in cases().items():
            with self.subTest(values=name):
                names = [(it["apiVersion"], it["kind"], it["metadata"].get("namespace"), it["metadata"]["name"]) for it in objects(values)]
                self.assertEqual(len(names), len(set(names)))

    def test_everything_is_in_the_namespace_of_the_release_but_roles(self):
        for name, values in cases().items():
            with self.subTest(values=name):
                for it in objects(values):
                    if it["kind"] not in {"Role", "RoleBinding"} and it["metadata"]["name"] not in {"main-more", "main-text"}:
                        self.assertEqual(it["metadata"]["namespace"], NAMESPACE, it["metadata"]["name"])

    def test_labels_are_those_of_the_field(self):
        for name, values in cases().items():
            with self.subTest(values=name):
                for it in objects(values):
                    if it["metadata"]["name"] in {"main-more", "main-text"}:
                        continue
                    labels = it["metadata"]["labels"]
                    for key in ["name", "instance", "version", "component", "part-of", "managed-by"]:
                        self.assertIn(f"app.kubernetes.io/{key}", labels)
                    self.assertEqual(labels["helm.sh/chart"], "longshore-0.1.0")
                    self.assertEqual(labels["app.kubernetes.io/managed-by"], "Helm")
                    self.assertEqual(labels[INSTANCE], RELEASE)
                    for value in labels.values():
                        self.assertLessEqual(len(value), 63)

    def test_common_labels_do_not_displace_those_that_are_selected_by(self):
        values = merged(MINIMAL, {"commonLabels": {COMPONENT: "x", "team": "data"}, "podLabels": {NAME: "x"}})
        for _, labels, _ in pods(values):
            self.assertEqual((labels[NAME], labels["team"]), ("longshore", "data"))
            self.assertNotEqual(labels[COMPONENT], "x")

    def test_selectors_find_their_pods_and_no_others(self):
        for name, values in cases().items():
            with self.subTest(values=name):
                found = {name: labels for name, labels, _ in pods(values)}
                for it in objects(values):
                    match it["kind"]:
                        case "Deployment" | "PodDisruptionBudget":
                            selector = it["spec"]["selector"]["matchLabels"]
                        case "Service":
                            selector = it["spec"]["selector"]
                        case _:
                            continue
                    self.assertEqual((selector[INSTANCE], NAME in selector), (RELEASE, True))
                    met = {labels[COMPONENT] for labels in found.values() if selects(selector, labels)}
                    if it["metadata"]["name"].endswith("-metrics"):
                        self.assertLessEqual(met, {"server", "worker"})
                    else:
                        self.assertEqual(met, {it["metadata"]["labels"][COMPONENT]})

    def test_selectors_never_name_what_an_upgrade_changes(self):
        for name, values in cases().items():
            with self.subTest(values=name):
                for it in of_kind(values, "Deployment"):
                    self.assertEqual(set(it["spec"]["selector"]["matchLabels"]), {NAME, INSTANCE, COMPONENT})

    def test_a_rollout_leaves_no_gap(self):
        for name, values in cases().items():
            with self.subTest(values=name):
                for it in of_kind(values, "Deployment"):
                    self.assertEqual(it["spec"]["strategy"], {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}})
                    spec = it["spec"]["template"]["spec"]
                    main = spec["containers"][0]
                    self.assertEqual(main["readinessProbe"]["httpGet"]["path"], "/readyz")
                    self.assertEqual(main["livenessProbe"]["httpGet"]["path"], "/livez")
                    self.assertEqual(settings(values)["LONGSHORE_DRAIN_DELAY"], "5s")
                    drain = {"20s": 20, "1m30s": 90}[settings(values)["LONGSHORE_DRAIN_TIMEOUT"]]
                    self.assertGreater(spec["terminationGracePeriodSeconds"], drain + 5)

    def test_a_grace_period_that_is_too_short_is_refused(self):
        self.assertIn("must be more than 25", refused(merged(MINIMAL, {"terminationGracePeriodSeconds": 25})))
        self.assertIsNone(refused(merged(MINIMAL, {"terminationGracePeriodSeconds": 26})))
        self.assertIn("must be more than 3605", refused(merged(MINIMAL, {"config": {"drainTimeout": "1h"}, "terminationGracePeriodSeconds": 60})))

    def test_budgets_are_for_what_runs_more_than_once(self):
        budgets = lambda more: sorted(it["metadata"]["name"] for it in of_kind(merged(MINIMAL, more), "PodDisruptionBudget"))
        self.assertEqual(budgets({}), ["main-longshore"])
        self.assertEqual(budgets({"replicas": 1}), [])
        self.assertEqual(budgets({"workers": {"enabled": True}}), ["main-longshore", "main-longshore-worker"])
        self.assertEqual(budgets({"pdb": {"enabled": False}}), [])
        for it in of_kind(MINIMAL, "PodDisruptionBudget"):
            self.assertEqual((it["apiVersion"], it["spec"]["maxUnavailable"]), ("policy/v1", 1))

    def test_an_autoscaler_and_a_number_of_replicas_do_not_fight(self):
        values = merged(MINIMAL, {"autoscaling": {"enabled": True}})
        [deployment], [scaler] = of_kind(values, "Deployment"), of_kind(values, "HorizontalPodAutoscaler")
        self.assertNotIn("replicas", deployment["spec"])
        self.assertEqual(scaler["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"])
        for count in [0, 1, 5]:
            [deployment] = of_kind(merged(MINIMAL, {"replicas": count}), "Deployment")
            self.assertEqual(deployment["spec"]["replicas"], count)
        self.assertEqual(of_kind(MINIMAL, "Deployment")[0]["spec"]["replicas"], 2)

    def test_workers_take_the_loops(self):
        roles = {}
        for it in of_kind(merged(MINIMAL, {"workers": {"enabled": True}}), "Deployment"):
            env = {var["name"]: var.get("value") for var in it["spec"]["template"]["spec"]["containers"][0]["env"]}
            roles[it["metadata"]["name"]] = env.get("LONGSHORE_ROLES")
        self.assertEqual(roles, {"main-longshore": "api", "main-longshore-worker": "scheduler,watcher,sources"})

    def test_a_setting_restarts_the_pods_and_a_template_does_not(self):
        def checksum(more):
            [it] = of_kind(merged(MINIMAL, more), "Deployment")
            return it["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

        files = {"templates": {"files": {"a": {"manifest": {}}}}}
        more = {"templates": {"files": {"a": {"manifest": {}}, "b": {"manifest": {}}}}}
        self.assertEqual(checksum(files), checksum(more))
        for change in [{"config": {"lease": "20s"}}, {"podPolicy": {"level": "restricted"}}, {"filter": "."}]:
            self.assertNotEqual(checksum({}), checksum(change))

    def test_a_migration_is_a_plain_job_whose_name_follows_from_what_it_is(self):
        def job(more):
            [it] = of_kind(merged(MINIMAL, {"migrations": {"mode": "job"}}, more), "Job")
            self.assertNotIn("annotations", it["metadata"], "a hook")
            self.assertNotIn("ttlSecondsAfterFinished", it["spec"], "it would be made again for ever")
            return it["metadata"]["name"]

        self.assertEqual(job({}), job({"replicas": 5}))
        self.assertNotEqual(job({}), job({"image": {"tag": "9.9.9"}}))
        self.assertEqual(of_kind(MINIMAL, "Job"), [])

    def test_long_names_stay_names(self):
        release = "a-release-whose-name-is-as-long-as-helm-lets-it-be-53"
        values = merged(cases()["split"], {"migrations": {"mode": "job"}, "metrics": {"serviceMonitor": {"enabled": True}}})
        for it in objects(values, release=release):
            self.assertLessEqual(len(it["metadata"]["name"]), 63)

    def test_no_name_is_taken_twice_by_releases_that_share_a_target(self):
        values = merged(MINIMAL, {"targetNamespaces": ["batch"]})
        [one], [other] = (of_kind(values, "Role", namespace=it) for it in ["a", "b"])
        self.assertNotEqual(one["metadata"]["name"], other["metadata"]["name"])

    def test_the_image_is_named_by_tag_or_digest(self):
        image = lambda **it: pods(merged(MINIMAL, {"image": it}))[0][2]["containers"][0]["image"]
        digest = "sha256:" + "0" * 64
        self.assertEqual(image(), "ghcr.io/longshore/longshore:0.1.0")
        self.assertEqual(image(tag="1.2.3"), "ghcr.io/longshore/longshore:1.2.3")
        self.assertEqual(image(tag="1.2.3", digest=digest), f"ghcr.io/longshore/longshore@{digest}")
        self.assertEqual(image(registry="", repository="a/b"), "a/b:0.1.0")

    def test_a_filter_is_given_its_memory_or_a_warning(self):
        filtered = merged(MINIMAL, {"filter": "."})
        self.assertIn("1536Mi", notes(filtered))
        self.assertNotIn("1536Mi", notes(merged(filtered, {"resources": {"limits": {"memory": "2Gi"}}})))
        self.assertNotIn("1536Mi", notes(MINIMAL))

    def test_extra_objects_are_filled_in(self):
        names = {it["metadata"]["name"] for it in objects(cases()["everything"])}
        self.assertLessEqual({"main-more", "main-text"}, names)


if __name__ == "__main__":
    unittest.main()
