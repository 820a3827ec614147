"""The image and docker-compose.yml: what can be said of them without an engine."""

import fnmatch
import json
import re
import unittest

import yaml

from chart import ROOT, flags

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = [name for name, it in SERVICES.items() if it["image"].startswith("longshore:")]


def stages():
    """The instructions of each stage, continued lines joined, comments left out."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M).replace("\\\n", " ")
    return [part.splitlines() for part in re.split(r"^(?=FROM )", text, flags=re.M)[1:]]


class Image(unittest.TestCase):
    def test_the_image_has_no_shell_and_is_not_root(self):
        *_, last = stages()
        self.assertIn("distroless/static", last[0])
        self.assertEqual([line for line in last if line.startswith("RUN")], [], "there is nothing that could run it")
        self.assertIn("USER 65532:65532", last)
        for word in ["ENTRYPOINT", "CMD"]:
            [line] = [it for it in last if it.startswith(word)]
            self.assertIsInstance(json.loads(line.removeprefix(word)), list, "a text would need a shell")

    def test_its_health_check_is_the_binary_itself(self):
        [line] = [it for it in stages()[-1] if it.startswith("HEALTHCHECK")]
        self.assertEqual(json.loads(line.split("CMD")[1]), ["/usr/local/bin/longshore", "doctor", "--live"])

    def test_it_says_where_it_is_from(self):
        for label in ["title", "description", "licenses", "source", "version", "revision", "created"]:
            self.assertIn(f"org.opencontainers.image.{label}=", DOCKERFILE)

    def test_it_is_built_by_the_compiler_that_the_crate_asks_for(self):
        wanted = re.search(r'^rust-version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
        self.assertTrue(stages()[0][0].startswith(f"FROM rust:{wanted}-alpine"))

    def test_the_builder_gets_what_it_reads_and_nothing_else(self):
        lines = [it for it in (ROOT / ".dockerignore").read_text().splitlines() if it and not it.startswith("#")]
        self.assertEqual(lines[0], "*")
        allowed = [it.removeprefix("!") for it in lines[1:]]
        for name in allowed:
            self.assertTrue((ROOT / name).exists(), name)
        needed = {"Cargo.toml", "Cargo.lock", "src", "migrations", ".sqlx", ".cargo", "askama.toml", "sqlx.toml"}
        # Files beside the source that it takes in, but not those that only its tests look at.
        for path in (ROOT / "src").rglob("*.rs"):
            if path.name == "tests.rs":
                continue
            for name in re.findall(r'include_(?:str|bytes)!\("([^"]*)"\)', path.read_text()):
                needed.add(str((path.parent / name).resolve().relative_to(ROOT)).split("/")[0])
        self.assertLessEqual(needed, set(allowed))
        for secret in [".env", "kubeconfig", "id_ed25519", "compose/kind.kubeconfig", ".git/config", "target/debug/longshore"]:
            self.assertFalse(any(fnmatch.fnmatch(secret.split("/")[0], it) for it in allowed), secret)


class Compose(unittest.TestCase):
    def test_nothing_is_open_to_the_network(self):
        for name, service in SERVICES.items():
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), f"{name}: {port}")

    def test_images_have_their_versions(self):
        for name, service in SERVICES.items():
            tag = service["image"].partition(":")[2]
            self.assertNotIn(tag, {"", "latest"}, name)

    def test_ours_run_as_in_a_cluster(self):
        self.assertEqual(sorted(OURS), ["cluster", "kind", "replica-1", "replica-2"])
        for name in OURS:
            service = SERVICES[name]
            self.assertIs(service["read_only"], True)
            self.assertEqual(service["cap_drop"], ["ALL"])
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"])
            self.assertGreater(int(service["stop_grace_period"].removesuffix("s")), 20, "the time that a replica takes to drain")

    def test_replicas_differ_in_their_port_alone(self):
        one, other = (dict(SERVICES[it], environment=dict(SERVICES[it]["environment"])) for it in ["replica-1", "replica-2"])
        ports = [it["environment"].pop("LONGSHORE_PORT") for it in (one, other)]
        urls = [it["environment"].pop("LONGSHORE_URL") for it in (one, other)]
        self.assertEqual(one, other)
        self.assertEqual(urls, [f"http://127.0.0.1:{port}" for port in ports])
        proxy = (ROOT / "compose" / "proxy.conf").read_text()
        scraped = yaml.safe_load((ROOT / "compose" / "prometheus.yml").read_text())["scrape_configs"][0]
        self.assertEqual(re.findall(r"server 127\.0\.0\.1:(\d+)", proxy), ports)
        self.assertEqual(scraped["static_configs"][0]["targets"], [f"cluster:{port}" for port in ports])
        self.assertEqual(scraped["job_name"], "longshore", "what the rules go by")

    def test_settings_are_those_that_the_program_reads(self):
        for name in OURS:
            for variable in SERVICES[name].get("environment", {}):
                self.assertIn(variable, flags() | {"DATABASE_URL"}, name)

    def test_the_simulated_cluster_is_where_replicas_and_proxy_look(self):
        port = SERVICES["cluster"]["command"][-1]
        kubeconfig = yaml.safe_load((ROOT / "compose" / "simulated.kubeconfig").read_text())
        self.assertEqual(kubeconfig["clusters"][0]["cluster"]["server"], f"http://127.0.0.1:{port}")
        self.assertIn(f"proxy_pass http://127.0.0.1:{port};", (ROOT / "compose" / "proxy.conf").read_text())

    def test_files_that_are_mounted_are_there(self):
        for name, service in SERVICES.items():
            for volume in service.get("volumes", []):
                source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
                if source.startswith("./") and source != "./compose/kind.kubeconfig":
                    self.assertTrue((ROOT / source).is_file(), f"{name}: {source}")

    def test_without_a_profile_no_cluster_and_no_metrics_are_needed(self):
        without = {name for name, it in SERVICES.items() if not it.get("profiles")}
        self.assertEqual(without, {"postgres", "cluster", "replica-1", "replica-2", "proxy"})


if __name__ == "__main__":
    unittest.main()
