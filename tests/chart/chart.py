"""The chart as the tests see it: rendered by the real Helm library, and taken apart."""

import copy
import functools
import json
import pathlib
import re

import helm_python
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "longshore"
RELEASE, NAMESPACE = "main", "longshore"
MINIMAL = {"database": {"existingSecret": "longshore-database"}}

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
RULES = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())
ALERTS = [rule["alert"] for group in RULES["groups"] for rule in group["rules"]]


def cases():
    """The values of ci/, by name: each is a way to install the chart that must work."""
    return {it.name.removesuffix("-values.yaml"): yaml.safe_load(it.read_text()) for it in sorted(CHART.glob("ci/*.yaml"))}


def merged(*values):
    """Values on top of each other, as Helm does it."""
    out = {}
    for more in values:
        for key, value in more.items():
            both = isinstance(value, dict) and isinstance(out.get(key), dict)
            out[key] = merged(out[key], value) if both else copy.deepcopy(value)
    return out


@functools.cache
def _render(values, release, namespace):
    with helm_python.Chart.load(CHART) as chart:
        return chart.render(json.loads(values), name=release, namespace=namespace)


def texts(values, release=RELEASE, namespace=NAMESPACE):
    """What each template came to, as text."""
    return dict(_render(json.dumps(values, sort_keys=True), release, namespace))


def notes(values):
    return texts(values)["longshore/templates/NOTES.txt"]


def objects(values, release=RELEASE, namespace=NAMESPACE):
    """Every object, in the order of the templates."""
    found = []
    for name, text in sorted(texts(values, release, namespace).items()):
        if not name.endswith(".txt"):
            found += [it for it in yaml.safe_load_all(text) if it]
    return found


def of_kind(values, kind, **where):
    return [it for it in objects(values, **where) if it["kind"] == kind]


def pod_of(thing):
    """The pod template of an object that has one, or the pod itself: labels and spec."""
    match thing["kind"]:
        case "Pod":
            return thing["metadata"]["labels"], thing["spec"]
        case "Deployment" | "Job":
            template = thing["spec"]["template"]
            return template["metadata"]["labels"], template["spec"]
    return None


def pods(values):
    """Name, labels and spec of everything that runs."""
    return [(it["metadata"]["name"], *pod_of(it)) for it in objects(values) if pod_of(it)]


def settings(values):
    """The variables of the ConfigMap that replicas read."""
    config = next(it for it in of_kind(values, "ConfigMap") if any(key.startswith("LONGSHORE_") for key in it["data"]))
    return config["data"]


def flags():
    """The variables of `longshore serve`, as its code names them, and whatever else the code reads."""
    found = set()
    for path in (ROOT / "src").rglob("*.rs"):
        found |= set(re.findall(r'env = "(LONGSHORE_[A-Z_]+)"', path.read_text()))
    return found


def refused(values):
    """What Helm says to values that it does not take, or None."""
    try:
        texts(values)
    except helm_python.HelmError as err:
        return str(err)
    return None
