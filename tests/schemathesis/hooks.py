"""What schemathesis does not know by itself: lines of JSON, and that the codes of problems are documented too."""

import re

import schemathesis

# With a manifest, none of these: it says them itself. Which a schema could only say at the cost of everyone who reads it.
OF_A_CONTAINER = {
    "image", "command", "args", "env", "env_from", "resources", "parallelism", "completions", "service_account",
}


@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx, value):
    """Text, as it is."""
    return {"data": value if isinstance(value, bytes) else str(value).encode(errors="replace")}


@schemathesis.deserializer("application/x-ndjson")
def lines(ctx, response):
    return response.text


def whole(value):
    """JSON Schema takes 5.0 for an integer, and Longshore wants it written as one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole(it) for it in value]
    if isinstance(value, dict):
        return {key: whole(it) for key, it in value.items()}
    return value


def fitting(job):
    """A job whose fields go together, in a namespace that there is, so that good data is mostly accepted."""
    if not isinstance(job, dict):
        return job
    left_out = OF_A_CONTAINER if job.get("manifest") else {"manifest"}
    if job.get("run_at"):
        left_out = left_out | {"delay"}
    job = {key: it for key, it in job.items() if key not in left_out}
    if job.get("namespace"):
        job["namespace"] = "default"
    return job


def nowhere(webhook):
    """A webhook at a host that there is not: nobody else is to hear of this."""
    if isinstance(webhook, dict) and isinstance(webhook.get("url"), str) and "//" in webhook["url"]:
        return {**webhook, "url": re.sub("//[^/?#]*", "//webhook.invalid", webhook["url"], count=1)}
    return webhook


@schemathesis.hook
def before_call(context, case, kwargs):
    case.body = whole(case.body)
    if case.operation.label == "POST /webhooks":
        case.body = nowhere(case.body)
    if case.meta is not None and case.meta.generation.mode.is_negative:
        return
    if case.operation.label == "POST /jobs":
        case.body = fitting(case.body)
    if case.operation.label == "POST /jobs/batch" and isinstance(case.body, list):
        case.body = [fitting(it) for it in case.body]


@schemathesis.check
def problem_is_documented(ctx, response, case):
    """Every problem of a route has a code that the document names for that route and status."""
    if response.status_code < 400 or response.status_code == 405:
        return
    documented = case.operation.definition.raw["responses"].get(str(response.status_code))
    if documented is None:
        return  # status_code_conformance says it.
    codes = documented["content"]["application/problem+json"]["examples"]
    code = response.json()["code"]
    assert code in codes, f"{case.method} {case.path} answers {response.status_code} with the undocumented code {code!r}"
