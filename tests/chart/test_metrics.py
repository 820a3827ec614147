"""Alerts and the dashboard: they name metrics that there are, each alert has its page, and the chart scopes them right."""

import json
import re
import unittest

import yaml

from chart import ALERTS, CHART, MINIMAL, ROOT, RULES, SCHEMA, merged, of_kind, refused

METRICS = yaml.safe_load((ROOT / "tests" / "chart" / "metrics.yaml").read_text())
DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
PAGES = ROOT / "docs" / "runbooks"
ON = merged(MINIMAL, {"metrics": {"rules": {"enabled": True}}})


def expressions():
    for group in RULES["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for note in DASHBOARD["annotations"]["list"]:
        yield note["name"], note["expr"]


def used(expr):
    """The metrics in an expression, with the labels that each is selected by."""
    for name, labels in re.findall(r"\b(longshore_\w+)(?:\{([^}]*)\})?", expr):
        yield re.sub(r"_(bucket|count|sum)$", "", name), set(re.findall(r"(\w+)(?:=~|!~|!=|=)", labels or ""))


def slug(heading):
    """The anchor that a heading gets."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


def alerts(values):
    [rules] = of_kind(values, "PrometheusRule")
    return {rule["alert"]: rule for group in rules["spec"]["groups"] for rule in group["rules"]}


class Names(unittest.TestCase):
    def test_pages_ask_for_metrics_that_there_are(self):
        for page in PAGES.glob("*.md"):
            for block in re.findall(r"```promql\n(.*?)```", page.read_text(), re.S):
                for name, _ in used(block):
                    self.assertIn(name, METRICS, page.name)

    def test_only_metrics_and_labels_that_there_are(self):
        of_prometheus = {"job", "namespace", "le", "instance"}
        for where, expr in expressions():
            with self.subTest(where=where):
                labels = set()
                for name, selected in used(expr):
                    self.assertIn(name, METRICS)
                    self.assertLessEqual(selected - of_prometheus, set(METRICS[name]), name)
                    labels |= set(METRICS[name])
                for grouped in re.findall(r"\b(?:by|on|without) \(([^)]*)\)", expr):
                    self.assertLessEqual({it.strip() for it in grouped.split(",")} - of_prometheus, labels)

    def test_gauges_of_rows_are_never_added_up_over_replicas(self):
        rows = ["longshore_jobs", "longshore_slots_held", "longshore_slots_limit", "longshore_oldest_pending_age_seconds"]
        for where, expr in expressions():
            for name in rows:
                # The annotation looks at each replica's own; all change at once.
                allowed = {"max", "changes"} if where == "The cap was changed" else {"max"}
                for before in re.findall(rf"(\w+)(?: by \([^)]*\))? ?\({name}\{{", expr):
                    self.assertIn(before, allowed, f"{where}: {name}")

    def test_numbers_have_their_units_in_their_names(self):
        for name in METRICS:
            self.assertRegex(name, r"^longshore_[a-z][a-z_]*[a-z]$")
            if "duration" in name or "age" in name.split("_") or "timestamp" in name:
                self.assertTrue(name.endswith("_seconds"), name)


class Alerts(unittest.TestCase):
    def test_each_says_what_and_how_bad(self):
        self.assertEqual(len(ALERTS), len(set(ALERTS)))
        for group in RULES["groups"]:
            for rule in group["rules"]:
                with self.subTest(alert=rule["alert"]):
                    self.assertIn(rule["labels"]["severity"], {"critical", "warning", "info"})
                    self.assertEqual(set(rule["annotations"]), {"summary", "description"})
                    self.assertIn('job="longshore"', rule["expr"])

    def test_each_has_a_page_and_each_page_an_alert(self):
        pages = {it.stem for it in PAGES.glob("*.md")} - {"README"}
        self.assertEqual(pages, set(ALERTS))
        for name in pages:
            text = (PAGES / f"{name}.md").read_text()
            headings = re.findall(r"^## (.*)$", text, re.M)
            self.assertEqual(headings, ["Meaning", "Impact", "Diagnosis", "Mitigation"], name)
            for page, part in re.findall(r"\]\(([^)#]*\.md)(?:#([^)]*))?\)", text):
                at = PAGES / page
                self.assertTrue(at.exists(), f"{name}: {page}")
                parts = {slug(it) for it in re.findall(r"^#+ (.*)$", at.read_text(), re.M)}
                self.assertIn(part, parts | {""}, f"{name}: {page}")

    def test_each_is_played(self):
        played = yaml.safe_load((ROOT / "tests" / "chart" / "alerts.yaml").read_text())["tests"]
        fired = {case["alertname"] for test in played for case in test["alert_rule_test"] if case.get("exp_alerts")}
        self.assertEqual(fired, set(ALERTS))

    def test_the_schema_knows_their_names(self):
        self.assertEqual(SCHEMA["definitions"]["alert"]["enum"], ALERTS)

    def test_they_are_of_this_release_alone(self):
        for name, rule in alerts(ON).items():
            self.assertNotIn('job="longshore"', rule["expr"], name)
            for _, selected in used(rule["expr"]):
                self.assertLessEqual({"job", "namespace"}, selected, name)
            self.assertIn('job="main-longshore",namespace="longshore"', rule["expr"])
            self.assertTrue(rule["annotations"]["runbook_url"].endswith(f"/{name}.md"))

    def test_each_can_be_switched_off_or_changed(self):
        values = merged(ON, {"metrics": {"rules": {
            "disabled": ["LongshoreDown"],
            "overrides": {"LongshoreQueueStuck": {"for": "1h", "labels": {"severity": "critical", "team": "data"}}},
        }}})
        found = alerts(values)
        self.assertEqual(set(found), set(ALERTS) - {"LongshoreDown"})
        stuck = found["LongshoreQueueStuck"]
        self.assertEqual((stuck["for"], stuck["labels"]), ("1h", {"severity": "critical", "team": "data"}))
        self.assertEqual(stuck["annotations"], alerts(ON)["LongshoreQueueStuck"]["annotations"])
        self.assertIsNotNone(refused(merged(ON, {"metrics": {"rules": {"overrides": {"Longshore": {}}}}})))

    def test_what_is_scraped_is_called_as_the_alerts_call_it(self):
        values = merged(ON, {"metrics": {"serviceMonitor": {"enabled": True}}})
        [monitor] = of_kind(values, "ServiceMonitor")
        [endpoint] = monitor["spec"]["endpoints"]
        self.assertEqual(endpoint["relabelings"], [{"targetLabel": "job", "replacement": "main-longshore"}])
        services = [it for it in of_kind(values, "Service") if monitor["spec"]["selector"]["matchLabels"].items() <= it["metadata"]["labels"].items()]
        self.assertEqual([it["metadata"]["name"] for it in services], ["main-longshore-metrics"])


class Dashboard(unittest.TestCase):
    def test_panels_are_told_apart_and_do_not_lie_on_each_other(self):
        ids = [it["id"] for it in DASHBOARD["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        taken = set()
        for panel in DASHBOARD["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(at["x"] + at["w"], 24)
            taken |= cells

    def test_it_asks_only_for_what_was_chosen(self):
        for panel in DASHBOARD["panels"]:
            for target in panel.get("targets", []):
                self.assertEqual(target["datasource"]["uid"], "${datasource}")
                for name, selected in used(target["expr"]):
                    wanted = {"job", "namespace"} | ({"queue"} if "queue" in METRICS[name] else set())
                    self.assertLessEqual(wanted, selected, panel["title"])

    def test_the_chart_hands_it_on_as_it_is(self):
        values = merged(MINIMAL, {"metrics": {"grafana": {"enabled": True}}})
        [config] = [it for it in of_kind(values, "ConfigMap") if it["metadata"]["name"].endswith("-dashboard")]
        self.assertEqual(json.loads(config["data"]["longshore.json"]), DASHBOARD)
        self.assertEqual(config["metadata"]["labels"]["grafana_dashboard"], "1")
        self.assertLess(len(config["data"]["longshore.json"]), 500_000)


if __name__ == "__main__":
    unittest.main()
