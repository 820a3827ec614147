"""Whether what the documents name is there: files and headings, flags, variables, routes, alerts, metrics, targets."""

import re

from markdown import ROOT, Document

# Flags of other programs that the text speaks of by themselves.
FOREIGN_FLAGS = {"--help", "--version", "--no-default-features", "--profile", "--release", "--kube-api-qps", "--as"}
# Read by the tests and the scripts, not by the binary.
TEST_VARIABLES = re.compile(r"LONGSHORE_(TEST_\w+|BIN|WRITE_DOCS|BENCH_\w+)$")


def links(documents):
    known = {it.path: it for it in documents}
    for document in documents:
        for number, target in document.links():
            if re.match(r"[a-z][a-z+.-]*:", target):
                continue
            path, _, anchor = target.partition("#")
            at = (document.path.parent / path).resolve() if path else document.path
            if not at.exists():
                yield f"{document.name}:{number}: there is no {target}"
            elif anchor and at.suffix == ".md" and anchor not in (known.get(at) or Document(at)).anchors():
                yield f"{document.name}:{number}: {path or 'this page'} has no heading #{anchor}"


def reference(name):
    return (ROOT / "docs/reference" / name).read_text()


def flags_and_variables(documents):
    texts = reference("cli.md") + reference("settings.md")
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", texts)) | FOREIGN_FLAGS
    variables = set(re.findall(r"LONGSHORE_[A-Z_]+", texts))
    for document in documents:
        named = [(number, text) for number, text in document.code() if text.startswith(("--", "longshore "))]
        for block in document.blocks:
            for line in block.text.splitlines():
                command = re.match(r"\s*(?:\$ )?(?:\w+=\S+ )*longshore (.*)", line)
                if command:
                    named.append((block.line, re.split(r" -- | [|;&#>] ?", command[1])[0]))
        for number, text in named:
            for flag in re.findall(r"(?<![\w'\"=/-])--[a-z][a-z-]*", text.split(" -- ")[0]):
                if flag not in flags:
                    yield f"{document.name}:{number}: longshore has no flag {flag}"
        whole = document.path.read_text()
        for variable in sorted(set(re.findall(r"\bLONGSHORE_[A-Z][A-Z_]+[A-Z]\b", whole))):
            if variable not in variables and not TEST_VARIABLES.match(variable):
                yield f"{document.name}: nothing reads {variable}"


def routes(documents):
    known = re.findall(r"^### (GET|POST|PUT|PATCH|DELETE) (\S+)$", reference("http.md"), re.M)
    # The dashboard's pages are for people, and not in the OpenAPI document.
    patterns = [(method, re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) + "$")) for method, path in known]
    pages = [ROOT / "docs" / it for it in ("http.md", "events.md", "jq.md", "sources.md")]
    told = "".join(it.read_text() for it in pages)
    for method, path in known:
        # What only pages of Longshore's own ask for is for nobody to know.
        if f"{path}`" not in told and not path.endswith((".css", ".js", ".svg")):
            yield f"docs/http.md says nothing of {method} {path}"
    commands = set(re.findall(r"^## longshore ([a-z-]+)", reference("cli.md"), re.M))
    for name in sorted(commands):
        if not re.search(rf"`{name}[` ]", (ROOT / "docs/cli.md").read_text()):
            yield f"docs/cli.md says nothing of longshore {name}"
    for document in documents:
        # The pages about moving speak of the routes of others too.
        for number, text in document.code() if "/migrating/" not in document.name else ():
            asked = re.match(r"(GET|POST|PUT|PATCH|DELETE) (/[^\s?]*)(?:\?\S*)?$", text)
            if asked and "/k8s" not in asked[2] and not asked[2].startswith(("/apis", "/api/", "/ui", "/sim")) and asked[2] != "/":
                path = asked[2].replace("{any/path}", "{path}").replace("/any/path", "/path")
                if not any(method == asked[1] and it.match(path) for method, it in patterns):
                    yield f"{document.name}:{number}: there is no {text}"


def alerts_and_metrics(documents):
    rules = (ROOT / "charts/longshore/files/rules.yaml").read_text()
    alerts = set(re.findall(r"alert: (Longshore\w+)", rules))
    pages = {it.stem for it in (ROOT / "docs/runbooks").glob("Longshore*.md")}
    for name in sorted(alerts ^ pages):
        yield f"docs/runbooks: {name} is {'an alert without a page' if name in alerts else 'a page without an alert'}"
    source = "".join(it.read_text() for it in (ROOT / "src").rglob("*.rs"))
    metrics = {f"longshore_{it}" for it in re.findall(r'(?:register\(\s*"|"longshore_)([a-z_]+)"', source)}
    metrics |= set(re.findall(r"\blongshore_[a-z_]+", (ROOT / "tests/chart/metrics.yaml").read_text()))
    for document in documents:
        text = document.path.read_text()
        for name in sorted(set(re.findall(r"\bLongshore[A-Z]\w+", text)) - alerts):
            yield f"{document.name}: there is no alert {name}"
        for name in sorted(set(re.findall(r"\blongshore_[a-z_]*[a-z](?![a-z_])", text))):
            plain = re.sub(r"_(bucket|sum|count)$", "", name)
            if not {name, plain, plain.removesuffix("_total")} & metrics:
                yield f"{document.name}: there is no metric {name}"


def targets(documents):
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for document in documents:
        blocks = [(it.line, line) for it in document.blocks for line in it.text.splitlines()]
        for number, text in [*document.code(), *blocks]:
            asked = re.match(r"(?:\$ )?(?:\w+=\S+ )*make ([a-z-]+)\b", text)
            if asked and asked[1] not in known:
                yield f"{document.name}:{number}: the Makefile has no {asked[1]}"


def faults(documents):
    for check in (links, flags_and_variables, routes, alerts_and_metrics, targets):
        yield from check(documents)
