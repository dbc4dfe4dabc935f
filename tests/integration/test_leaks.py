"""No secret is in anything that Airflow or the journal keeps, whatever an importer, a site or the manager does.

Every secret holds the word ``canary``; one search of all that was written finds a leak, and its account's user name
says how it came out.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, UDPServer
from typing import Any
from urllib.parse import quote

import pytest
import requests

from likepion_provider import DAG_ID
from likepion_provider.board.questions import Filter, Overview
from likepion_provider.cli.local import airflow_environment, free_port, standalone
from likepion_provider.journal import open_journal
from likepion_provider.models import Credentials
from tests.integration import careless
from tests.integration.conftest import A_YEAR, DAGS, Airflow, SandboxApi, wait_for

pytestmark = pytest.mark.airflow

API_KEY = "canary-api-key-5d1f0a"
CONNECTION_PASSWORD = 'canary c0nnection "pass"/word'
DOMAIN = "pod.example"
#: Every way with the secret as it is, and some with it in another form.
WAYS = sorted(
    [*careless.WAYS]
    + [f"{way}.{form}" for way in ("printed", "logged", "failed", "failed_for_now") for form in careless.FORMS if form]
)
#: The manager answers these accounts' inserts, and reads, with words of its own.
ECHOED = ("echoed.insert", "echoed.read")


@dataclasses.dataclass(frozen=True)
class Canaries:
    """The secrets of an account."""

    user: str
    credentials: dict[str, str]

    @classmethod
    def of(cls, user: str) -> Canaries:
        mark = uuid.uuid4().hex[:10]
        return cls(
            user,
            {
                "username": user,
                "email": f"{user}@{DOMAIN}",
                # No two begin or end alike: what is known of one account must not hide another's.
                "password": f"{mark[:5]}-canary-p@ss'w\"ö\\rd/&<{mark}",
                "pass_mail": f"{mark[1:6]} canary pass mail {mark}",
                "twofa": base64.b32encode(mark[:5].encode()).decode()
                + "CANARY"
                + base64.b32encode(mark.encode()).decode(),
                "app_password": f"{mark[2:7]}-canary-app-password-{mark}",
                "cookie": f"session={mark[3:8]}-canary-cookie-{mark}; theme=dark",
            },
        )

    def encoded(self) -> Iterator[bytes]:
        """What a search for the word does not find: the secrets in base64, but for the end, which can differ."""
        for secret in Credentials(**self.credentials).secrets():
            for text in (secret, f"{self.user}:{secret}"):
                yield base64.b64encode(text.encode())[:-4].rstrip(b"=")


class Echo(BaseHTTPRequestHandler):
    """Before the manager: hands everything on, but answers some accounts with all that it was sent."""

    manager_url = ""
    echoed: dict[str, Canaries] = {}
    #: Whose requests were answered so.
    answered: set[str] = set()

    def do_GET(self) -> None:
        known = self.echoed.get(self.path.rpartition("/")[2])
        if known and known.user == "echoed.read" and "/accounts/" in self.path:
            # The answer is one that holds the account's secrets.
            self._echo(known, " ".join(known.credentials.values()))
        else:
            self._pass_on(b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        known = next((each for account_id, each in self.echoed.items() if account_id.encode() in body), None)
        if known and known.user == "echoed.insert" and self.path.endswith("/links/insert"):
            self._echo(known, json.loads(body)["items"][0]["cookie"])
        else:
            self._pass_on(body)

    def _echo(self, known: Canaries, words: str) -> None:
        self.answered.add(known.user)
        forms = [API_KEY, quote(API_KEY), base64.b64encode(f"api:{API_KEY}".encode()).decode(), API_KEY[:14]]
        said = f"refused: {' '.join(forms)}\nlevel=ERROR forged {words} {quote(words, safe='')}"
        self._answer(422, json.dumps({"success": False, "message": said}).encode())

    def _pass_on(self, body: bytes) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        answer = requests.request(
            self.command, self.manager_url + self.path, data=body or None, headers=headers, timeout=30
        )
        self._answer(answer.status_code, answer.content)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def echoing(manager_url: str) -> Iterator[str]:
    Echo.manager_url, Echo.echoed, Echo.answered = manager_url, {}, set()
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def install_careless(folder: Path) -> None:
    """What a package manager leaves behind."""
    info = folder / "careless-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(Path(careless.__file__), folder)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: careless\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[likepion_provider.platforms]\ncareless = careless:Careless\n")


@contextlib.contextmanager
def statsd(kept: Path) -> Iterator[str]:
    """A StatsD server that keeps every packet in a file; gives its port."""

    class Keep(BaseRequestHandler):
        def handle(self) -> None:
            with kept.open("ab") as file:
                file.write(self.request[0] + b"\n")

    with UDPServer(("127.0.0.1", 0), Keep) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield str(server.server_address[1])
        server.shutdown()


@pytest.fixture(scope="module", params=["INFO", "DEBUG"])
def loud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """An Airflow of its own, with the careless importer, at one level of logging."""
    home = tmp_path_factory.mktemp(f"airflow-{request.param}")
    install_careless(home / "packages")
    port = free_port()
    (home / "dags").mkdir()
    shutil.copy(DAGS / "likepion_podcast_secondary.py", home / "dags")
    stack = contextlib.ExitStack()
    environment = airflow_environment(home, home / "dags", port) | {
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": stack.enter_context(statsd(home / "statsd.txt")),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__LIKEPION__SCHEDULE_MINUTES": A_YEAR,
        "AIRFLOW__LOGGING__LOGGING_LEVEL": request.param,
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "file", "log_file_path": str(home / "lineage.jsonl"), "append": True}
        ),
        "PYTHONPATH": str(home / "packages"),
    }
    with stack, standalone(home, environment):
        api = Airflow(f"http://127.0.0.1:{port}", home, environment)
        api.wait_until_ready()
        wait_for(lambda: api.call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns?run_type=scheduled&state=failed")["dag_runs"])
        yield api


def fill(world: SandboxApi, canaries: list[Canaries]) -> dict[str, Canaries]:
    """Put the accounts into the world's group."""
    group_id = world.state()["groups"][0]["group_id"]
    return {
        world.call("POST", "/sandbox/accounts", {"group_id": group_id, "domain": DOMAIN} | each.credentials)[
            "account_id"
        ]: each
        for each in canaries
    }


def test_no_secret_is_in_what_is_kept(loud: Airflow, sandbox: Callable[..., SandboxApi], tmp_path: Path) -> None:
    world = sandbox("--world", "built", "--accounts", "0", "--posts", "1", "--api-key", API_KEY)
    canaries = [Canaries.of(user) for user in (*WAYS, *ECHOED)]
    with echoing(world.addresses["manager_url"]) as manager_url:
        Echo.echoed = fill(world, canaries)
        loud.use(world)
        loud.connect("likepion_default", "likepion", manager_url, API_KEY, allow_private_feeds=True)
        loud.connect(
            "likepion_platform_pod_example", "http", "http://127.0.0.1:9", CONNECTION_PASSWORD, platform="careless"
        )
        run_id, _ = loud.run(batch_size=1000)
    assert Echo.answered == {*ECHOED}
    journal = open_journal(f"sqlite:///{loud.journal_path(world)}", manager_url)
    tried = {row.label for row in Overview(journal.database).every_account(Filter()) if row.attempts}
    assert {f"{user}@{DOMAIN}" for user in WAYS} <= tried
    log = loud.log(run_id, "import_batch.import_rss", 0)
    assert "with a traceback" in log
    assert "made now: " in log
    (tmp_path / "rest.json").write_text(json.dumps(rest(loud, run_id)))
    (tmp_path / "report.json").write_text(loud.log(run_id, "report"))
    written = [*loud.home.rglob("*"), tmp_path / "rest.json", tmp_path / "report.json"]
    assert any(path.name == "lineage.jsonl" for path in written)
    assert b"likepion.accounts.imported" in (loud.home / "statsd.txt").read_bytes()
    assert any(path.suffix == ".db" and path.name.startswith("journal-") for path in written)
    hits = {
        f"{path.name}: {hit}"
        for path in written
        if path.is_file() and "packages" not in path.parts
        for hit in leaks(path.read_bytes(), canaries)
    }
    assert not hits, "\n".join(sorted(hits))


def rest(airflow: Airflow, run_id: str) -> dict[str, Any]:
    """What REST tells of a run."""
    run = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}"
    told = {path: airflow.call("GET", path) for path in (run, "/api/v2/eventLogs?limit=1000")}
    for (task_id, map_index), row in airflow.tasks(run_id).items():
        told[f"{task_id} {map_index}"] = row
        place = f"{run}/taskInstances/{task_id}"
        entries = airflow.call("GET", f"{place}/xcomEntries?map_index={map_index}")["xcom_entries"]
        for entry in entries:
            path = f"{place}/xcomEntries/{entry['key']}?map_index={map_index}"
            told[path] = airflow.call("GET", path)
        if row["state"] != "skipped":
            told[f"{place} {map_index} log"] = airflow.log(run_id, task_id, map_index)
    return told


def leaks(content: bytes, canaries: list[Canaries]) -> Iterator[str]:
    """The secrets in it, each with what stands before it."""
    for hit in re.finditer(rb"canary", content, re.IGNORECASE):
        yield repr(content[max(hit.start() - 90, 0) : hit.end() + 25])
    for each in canaries:
        if any(form in content for form in each.encoded()):
            yield f"base64 of a secret of {each.user}"
    for text in (API_KEY, f"api:{API_KEY}", CONNECTION_PASSWORD):
        if base64.b64encode(text.encode())[:-4] in content:
            yield "base64 of a connection's secret"
