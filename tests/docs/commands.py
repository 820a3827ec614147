"""Runs the commands that documents show, and compares what they print with what is shown.

A ```console block that is to be run has a comment in the line before it:

    <!-- run: longshore serve --dry-run FLAGS -->   a new replica, then the commands of the block
    <!-- run -->                                    beside the replica that runs, if one does
    <!-- not run: WHY -->                           left out; told at the end
    <!-- file: NAME -->                             not run: its text becomes a file in the folder of the commands

A replica is a dry run with a database of its own, on a free port, in a folder that is thrown away; `localhost:8000` in
commands leads to it. A line `$ longshore serve …` in a block starts one too.

What is shown is compared without white space. `…` stands for anything. A time may be any time. An id that is shown for
the first time is whatever comes there, and the same wherever it is shown again, in later commands too. How many jobs are before one may be any number. A command that
only reads is tried again until it shows what it should, within a minute: so nothing depends on speed. Every command has
to end with 0, unless its line asks for its exit code (`echo $?`).
"""

import concurrent.futures
import os
import re
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

BOUND_SECS = 60
BINARY = os.environ.get("LONGSHORE_BIN", "target/debug/longshore")
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
VARIES = re.compile(rf"(?P<id>{UUID})|(?P<plain>\b[0-9a-f]{{32}}\b)|(?P<time>\d{{4}}-\d\d-\d\d[T ]?\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00)?)|(?P<any>…)"
    # As HTTP has it, without white space.
    r"|(?P<date>[A-Z][a-z]{2},\d\d[A-Z][a-z]{2}\d{4}\d\d:\d\d:\d\dGMT)"
    # How many are ahead changes within milliseconds. White space is gone already.
    r"|(?P<place>nexttostart|\d+jobs?beforeit)")
TIME = r"\d{4}-\d\d-\d\dT?\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00)?"
READS = re.compile(r"(longshore (list|get|why|top|queue list|queue get|source|events|logs|limit(?! set)|template (list|get))\b"
                   r"|curl (?!.*(-d|--data|-X|-T)\b)|kubectl .*\bget\b|psql .*select)")


class Replica:
    """A dry run in a folder."""

    def __init__(self, line, folder):
        words = shlex.split(line)
        while "--port" in words:
            at = words.index("--port")
            del words[at:at + 2]
        environment = {key: it for key, it in os.environ.items() if key != "DATABASE_URL" and not key.startswith("LONGSHORE_")}
        while re.match(r"\w+=", words[0]):
            key, _, value = words.pop(0).partition("=")
            environment[key] = value
        assert words[0] == "longshore" and words[1] == "serve" and "--dry-run" in words, f"only a dry run can be run: {line}"
        self.log = Path(folder, "log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen([os.path.abspath(BINARY), *words[1:], "--port", "0", "--host", "127.0.0.1", "--log-format", "json"],
                                            cwd=folder, env=environment, stdout=log, stderr=log)
        until = time.monotonic() + 2 * BOUND_SECS
        self.port = None
        while self.port is None:
            assert self.process.poll() is None, f"{line} ended:\n{self.log.read_text()}"
            assert time.monotonic() < until, f"{line} is not ready:\n{self.log.read_text()}"
            ready = re.search(r'"message":"ready".*"address":"[^"]*:(\d+)"', self.log.read_text())
            self.port = ready and ready[1]
            try:
                self.process.wait(0.1)
            except subprocess.TimeoutExpired:
                pass

    def stop(self):
        self.process.terminate()
        self.process.wait(BOUND_SECS)
        errors = [it for it in self.log.read_text().splitlines() if '"level":"ERROR"' in it]
        assert not errors, "the replica logged errors:\n" + "\n".join(errors)


def commands_of(text):
    """The commands of a block, each with what it is to print."""
    found = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append([line[2:], []])
        elif found and found[-1][0].endswith("\\") and not found[-1][1]:
            found[-1][0] = found[-1][0][:-1] + line.strip()
        elif found:
            found[-1][1].append(line)
        else:
            raise AssertionError(f"a block that is run begins with a command, not with {line!r}")
    return [(command, "\n".join(shown)) for command, shown in found]


class Page:
    def __init__(self, document):
        self.document = document
        self.ids, self.replica, self.ran, self.left_out = {}, None, 0, []

    def run(self):
        with tempfile.TemporaryDirectory() as folder:
            self.folder = folder
            Path(folder, "bin").mkdir()
            Path(folder, "bin/longshore").symlink_to(os.path.abspath(BINARY))
            try:
                for block in self.document.blocks:
                    self.block(block)
            finally:
                if self.replica:
                    self.replica.stop()

    def block(self, block):
        verb, _, rest = block.note.partition(": ")
        if verb == "file":
            Path(self.folder, rest).parent.mkdir(parents=True, exist_ok=True)
            Path(self.folder, rest).write_text(block.text + "\n")
        elif verb == "not run":
            self.left_out.append((block.line, rest))
        elif verb == "run":
            if rest:
                self.start(rest)
            for command, shown in commands_of(block.text):
                try:
                    self.command(command, shown)
                except AssertionError as err:
                    raise AssertionError(f"{self.document.name}:{block.line}: $ {command}\n{err}") from None
                self.ran += 1

    def start(self, line):
        if self.replica:
            self.replica.stop()
        self.replica = Replica(line, self.folder)

    def command(self, command, shown):
        if re.match(r"(\w+=\S+ )*longshore serve\b", command) and not shown.strip():
            return self.start(command)
        until = time.monotonic() + BOUND_SECS
        while True:
            status, output = self.shell(command)
            asked = "$?" in command
            differs = self.differs(shown, output)
            if differs is None and (status == 0 or asked):
                return None
            if not READS.match(command) or time.monotonic() > until:
                assert status == 0 or asked, f"it ended with {status}:\n{output}"
                raise AssertionError(f"it is to print\n{shown}\nand printed\n{output}\n{differs}")
            time.sleep(0.2)

    def shell(self, command):
        for shown, real in self.ids.items():
            command = command.replace(shown, real)
        environment = {key: it for key, it in os.environ.items() if not key.startswith("LONGSHORE_")}
        environment["PATH"] = f"{self.folder}/bin:{environment['PATH']}"
        if self.replica:
            environment["LONGSHORE_URL"] = f"http://127.0.0.1:{self.replica.port}"
            command = re.sub(r"(localhost|127\.0\.0\.1):8000", rf"127.0.0.1:{self.replica.port}", command)
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=2 * BOUND_SECS)
        return done.returncode, done.stdout.decode(errors="replace")

    def differs(self, shown, output):
        """None where the output is what is shown; and takes down the ids that it has."""
        if not shown.strip():
            return None
        shown, output = ("".join(it.split()) for it in (shown, output))
        pattern, at, groups = [], 0, {}
        for part in VARIES.finditer(shown):
            pattern.append(re.escape(shown[at:part.start()]))
            at = part.end()
            word, kind = part[0], part.lastgroup
            if kind == "any":
                pattern.append(".*?")
            elif kind == "time":
                pattern.append(TIME)
            elif kind == "date":
                pattern.append(r"[A-Z][a-z]{2},\d\d[A-Z][a-z]{2}\d{4}\d\d:\d\d:\d\dGMT")
            elif kind == "place":
                pattern.append(r"(?:nexttostart|\d+jobs?beforeit)")
            elif word in self.ids:
                pattern.append(re.escape(self.ids[word]))
            elif word in groups:
                pattern.append(f"(?P={groups[word]})")
            else:
                groups[word] = f"id{len(groups)}"
                pattern.append(f"(?P<{groups[word]}>{UUID if kind == 'id' else '[0-9a-f]{32}'})")
        pattern.append(re.escape(shown[at:]))
        found = re.fullmatch("".join(pattern), output)
        if not found:
            return "which differ" if len(output) < 2000 else "which differ somewhere"
        for word, group in groups.items():
            self.ids[word] = found[group]
            # The name of a Kubernetes Job has the id without its dashes.
            self.ids.setdefault(word.replace("-", ""), found[group].replace("-", ""))
        return None


def tried(page):
    try:
        page.run()
        return None
    except (AssertionError, subprocess.TimeoutExpired) as err:
        return str(err)


def faults(documents):
    marked = [it for it in documents if {"run", "not run"} & {block.note.partition(": ")[0] for block in it.blocks}]
    pages = [Page(it) for it in marked]
    for document in documents:
        for block in document.blocks if document.name == "README.md" or "/migrating/" in document.name else ():
            if block.language == "console" and not block.note.startswith(("run", "not run: ")):
                yield f"{document.name}:{block.line}: say whether this is run, or why not"
    # Each page has a replica and a database of its own, and mostly waits.
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        yield from filter(None, pool.map(tried, pages))
    left_out = [f"{it.document.name}:{line}: {why}" for it in pages for line, why in it.left_out]
    print(f"{sum(it.ran for it in pages)} commands of {len(pages)} documents were run, {len(left_out)} blocks were not")
    for line in left_out:
        print(f"not run: {line}")
