"""A manager in its own process that knows every account, has no feed yet, and counts what it is asked."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

API = "/api/v1/podcast"


def _app() -> web.Application:
    asked = {"requests": 0}

    @web.middleware
    async def count(request: web.Request, handler: object) -> web.StreamResponse:
        asked["requests"] += request.path.startswith(API)
        return await handler(request)  # type: ignore[operator, no-any-return]

    async def account(request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if not name.startswith("account-"):
            return web.json_response({"success": False}, status=404)
        number = name.removeprefix("account-")
        row = {"account_id": name, "request_id": f"post-{number}", "group_id": f"group-{number}", "link_rss": ""}
        return web.json_response({"success": True, "data": row | {"domain": "tide.example", "target": 5}})

    async def claim(request: web.Request) -> web.Response:
        ids = (await request.json())["account_ids"]
        answer = {"success": True, "claimed": ids, "count": len(ids), "ttl_min": 15, "not_found": []}
        return web.json_response(answer)

    async def counted(_: web.Request) -> web.Response:
        return web.json_response(asked)

    app = web.Application(middlewares=[count])
    app.add_routes(
        [
            web.get(f"{API}/accounts/{{id}}", account),
            web.post(f"{API}/accounts/claim", claim),
            web.get("/asked", counted),
        ]
    )
    return app


async def main() -> None:
    """Serve until the process is ended."""
    runner = web.AppRunner(_app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    print(json.dumps({"manager_url": f"http://{host}:{port}"}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
