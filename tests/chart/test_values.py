"""Values: what is misspelt or makes no sense is refused, what is right reaches the program, and all of it is documented."""

import re
import unittest

import yaml

from chart import CHART, MINIMAL, SCHEMA, cases, flags, merged, of_kind, pods, refused, settings

# Variables that the chart sets by other means than its ConfigMap.
BESIDE = {"LONGSHORE_PORT", "LONGSHORE_ROLES", "LONGSHORE_DATABASE_URL"}
# What a pod has no use for: it has no Postgres and no kubeconfig of its own, and it is neither `sim`, `dev` nor a client.
NOT_FOR_PODS = {
    "LONGSHORE_DATA_DIR", "LONGSHORE_POSTGRES_BIN", "LONGSHORE_KUBECONFIG", "LONGSHORE_DRY_RUN", "LONGSHORE_DRY_RUN_DURATION",
    "LONGSHORE_SIM_DURATION", "LONGSHORE_SIM_PORT", "LONGSHORE_SIM_WRITE_KUBECONFIG", "LONGSHORE_SIM_AUDIT_LOG", "LONGSHORE_URL",
    # The chart gives it to the pod of `helm test` alone.
    "LONGSHORE_NOOP_IMAGE",
    # As text it would be one more way; the chart mounts the filter as a file.
    "LONGSHORE_FILTER",
}


def objects_of(schema, path=()):
    """Every place of the values whose keys are fixed: its path, and the schema of it."""
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]]
    if schema.get("additionalProperties") is False:
        yield path, schema
    for key, value in schema.get("properties", {}).items():
        yield from objects_of(value, (*path, key))


def at(path, value):
    for key in reversed(path):
        value = {key: value}
    return value


class Values(unittest.TestCase):
    def test_a_misspelt_key_is_refused_wherever_it_is(self):
        places = list(objects_of(SCHEMA))
        self.assertGreater(len(places), 25)
        for path, _ in places:
            with self.subTest(place=".".join(path)):
                said = refused(merged(MINIMAL, at((*path, "mispelt"), "x")))
                self.assertIn("mispelt", str(said))

    def test_a_key_that_was_misspelt_by_one_letter_is_refused(self):
        for path, schema in objects_of(SCHEMA):
            for key in schema["properties"]:
                with self.subTest(key=".".join((*path, key))):
                    self.assertIsNotNone(refused(merged(MINIMAL, at((*path, key + "s"), {}))))

    def test_what_a_parent_chart_sends_along_is_let_through(self):
        self.assertIsNone(refused(merged(MINIMAL, {"global": {"a": 1}, "enabled": True, "x-anchors": {"b": 2}})))

    def test_values_that_make_no_sense_are_refused(self):
        wrong = [
            {"replicas": -1}, {"replicas": "two"}, {"config": {"lease": "15"}}, {"config": {"lease": ""}},
            {"config": {"drainTimeout": "100ms"}}, {"config": {"keepLogs": "some"}}, {"config": {"maxConcurrency": -1}},
            {"roles": ["api", "watchers"]}, {"database": {"sslMode": "on"}}, {"database": {"url": "mysql://a"}},
            {"image": {"digest": "0123"}}, {"service": {"type": "External"}}, {"service": {"port": 0}},
            {"targetNamespaces": ["Batch"]}, {"migrations": {"mode": "hook"}}, {"ingress": {"enabled": True}},
            {"httpRoute": {"enabled": True}}, {"metrics": {"rules": {"disabled": ["LongshoreUp"]}}},
            {"podAnnotations": {"a": True}}, {"templates": {"files": {"../a": {}}}}, {"sources": {"list": [{"type": "sqs"}]}},
        ]
        for values in wrong:
            with self.subTest(values=values):
                self.assertIsNotNone(refused(merged(MINIMAL, values)))

    def test_what_excludes_each_other_is_told(self):
        said = {
            "no database": {},
            "database.existingSecret and database.url": {"database": {"existingSecret": "a", "url": "postgres://a"}},
            "sources.list, sources.existingSecret": merged(MINIMAL, {"sources": {"existingSecret": "a", "existingConfigMap": "b"}}),
            "roles and workers.enabled": merged(MINIMAL, {"roles": ["api"], "workers": {"enabled": True}}),
        }
        for words, values in said.items():
            self.assertIn(words, refused(values))

    def test_the_url_may_come_from_elsewhere(self):
        self.assertIsNone(refused({"extraEnv": [{"name": "DATABASE_URL", "value": "postgres://a"}]}))
        self.assertIsNone(refused({"extraEnvFrom": [{"secretRef": {"name": "a"}}]}))


class Settings(unittest.TestCase):
    def test_every_setting_of_the_program_can_be_given(self):
        given = set(settings(cases()["everything"]))
        self.assertEqual(given - flags(), set(), "the program knows no such variable")
        missing = flags() - given - BESIDE - NOT_FOR_PODS
        self.assertEqual(missing, set(), "the chart has no value for these")

    def test_values_reach_the_program_as_it_reads_them(self):
        found = settings(cases()["everything"])
        self.assertEqual(found["LONGSHORE_MAX_CONCURRENCY"], "5000000")
        self.assertEqual(found["LONGSHORE_START_GRACE"], "FailedMount=never,ImagePullBackOff=5m")
        self.assertEqual(found["LONGSHORE_ALLOW_SERVICE_ACCOUNT"], "robot,builder")
        self.assertEqual(found["LONGSHORE_WEBHOOK_ALLOW"], "10.1.0.0/16,hooks.example.com")
        self.assertEqual(found["LONGSHORE_NAMESPACE"], "longshore,batch")
        self.assertEqual(found["LONGSHORE_TEMPLATE_CONFIG_MAP"], "longshore/job-template-cm")
        for value in found.values():
            self.assertIsInstance(value, str)

    def test_what_is_not_given_is_left_to_the_program(self):
        self.assertEqual(
            settings(MINIMAL),
            {"LONGSHORE_LOG_FORMAT": "json", "LONGSHORE_DRAIN_DELAY": "5s", "LONGSHORE_DRAIN_TIMEOUT": "20s", "LONGSHORE_NAMESPACE": "longshore"},
        )
        self.assertEqual(settings(merged(MINIMAL, {"config": {"maxConcurrency": 0}}))["LONGSHORE_MAX_CONCURRENCY"], "0")

    def test_files_are_mounted_where_the_settings_say(self):
        values = cases()["everything"]
        found = settings(values)
        [(_, _, spec)] = [it for it in pods(values) if it[0] == "main-queue"]
        mounts = {it["mountPath"]: it["name"] for it in spec["containers"][0]["volumeMounts"]}
        volumes = {it["name"]: it for it in spec["volumes"]}
        data = {it["metadata"]["name"]: it["data"] for it in of_kind(values, "ConfigMap") if "data" in it}
        for key in ["LONGSHORE_FILTER_FILE", "LONGSHORE_POD_POLICY", "LONGSHORE_SOURCES"]:
            folder, file = found[key].rsplit("/", 1)
            self.assertIn(file, data[volumes[mounts[folder]]["configMap"]["name"]])
        self.assertIn("report.yaml", data[volumes[mounts[found["LONGSHORE_TEMPLATES"]]]["configMap"]["name"]])
        sources = yaml.safe_load(data["main-queue-files"]["sources.yaml"])
        self.assertEqual(sources["sources"][0]["name"], "mails")


    def test_a_file_of_sources_brings_its_neighbours(self):
        for key, kind in [("existingSecret", "secret"), ("existingConfigMap", "configMap")]:
            values = merged(MINIMAL, {"sources": {key: "queues"}})
            self.assertEqual(settings(values)["LONGSHORE_SOURCES"], "/etc/longshore/sources/sources.yaml")
            [(_, _, spec)] = [it for it in pods(values) if it[0] == "main-longshore"]
            [volume] = [it for it in spec["volumes"] if it["name"] == "sources"]
            self.assertNotIn("items", volume[kind], "a jobs.json is beside it")


class Documented(unittest.TestCase):
    def test_values_yaml_shows_every_key_of_the_schema(self):
        text = (CHART / "values.yaml").read_text()
        for path, schema in objects_of(SCHEMA):
            # Those of Kubernetes' own are theirs to document, and those of a parent chart are not ours.
            for key in set(schema["properties"]) - {"global", "enabled", "claims"}:
                with self.subTest(key=".".join((*path, key))):
                    self.assertRegex(text, re.compile(rf"(^\s*(# )?|[{{,] ?){key}:", re.M))

    def test_the_schema_knows_every_key_of_values_yaml(self):
        def walk(values, path=()):
            for key, value in values.items():
                yield (*path, key)
                if isinstance(value, dict):
                    yield from walk(value, (*path, key))

        def known(path, schema):
            for key in path:
                if "$ref" in schema:
                    schema = SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]]
                if key in schema.get("properties", {}):
                    schema = schema["properties"][key]
                else:
                    return schema.get("additionalProperties", True) is not False
            return True

        for path in walk(yaml.safe_load((CHART / "values.yaml").read_text())):
            self.assertTrue(known(path, SCHEMA), ".".join(path))


if __name__ == "__main__":
    unittest.main()
