"""Any server that keeps the manager's contract will do: here is one that shares no line with the sandbox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from likepion_provider.hooks.likepion import LikepionHook
from likepion_provider.manager.protocol import LinkReport
from likepion_provider.operators.likepion import ClaimAccountsOperator, PullSecondaryTasksOperator

ACCOUNT = {
    "id": "a-1",
    "request_id": "p-1",
    "type_request": "post",
    "status": "queued",
    "account_id": "a-1",
    "group_id": "g-1",
    "target": 100,
    "accounts_remaining": 8,
    "domain": "anchor.fm",
    "website": "https://likepion.com",
    "email": "pod.real@anchor.fm",
    "username": "realpoduser",
    "password": "password-of-a-test",
    "link_rss": "",
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        data = [ACCOUNT] if "/links?" in self.path else ACCOUNT
        self._answer({"success": True, "data": data})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/claim"):
            ids = body["account_ids"]
            self._answer({"success": True, "claimed": ids, "count": len(ids), "ttl_min": 15, "not_found": []})
            return
        urls = body["items"][0]["link_post"].split(",")
        results = [{"index": 0, "link_index": n, "link_post": url, "success": True} for n, url in enumerate(urls)]
        self._answer(
            {"success": True, "input": 1, "count": len(urls), "inserted": len(urls), "failed": 0, "results": results}
        )

    def _answer(self, payload: dict[str, Any]) -> None:
        content = json.dumps(payload).encode()
        assert self.headers["X-API-Key"] == "key-of-a-test"
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        host = f"http://127.0.0.1:{listener.server_address[1]}"
        value = {"conn_type": "likepion", "host": host, "password": "key-of-a-test"}
        monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_DEFAULT", json.dumps(value))
        yield
        listener.shutdown()
        thread.join()


@pytest.mark.usefixtures("server")
async def test_the_steps_work_against_it(context: dict[str, Any]) -> None:
    pull = PullSecondaryTasksOperator(task_id="pull_tasks", limit=5)
    tasks = await asyncio.to_thread(pull.execute, context)
    claim = ClaimAccountsOperator(task_id="claim_accounts", tasks=tasks)
    (batch,) = await asyncio.to_thread(claim.execute, context)
    assert batch["waits"]
    assert [task["account_id"] for task in batch["tasks"]] == ["a-1"]
    assert "password-of-a-test" not in json.dumps(batch)
    (record,) = await asyncio.to_thread(LikepionHook().insert, LinkReport("p-1", "a-1", ("https://anchor.fm/1",)))
    assert record.stored
