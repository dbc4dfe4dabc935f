"""The site's HTTP interface, as its docstring specifies it."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import aiohttp
import pyotp
import pytest
from yarl import URL

from likepion_provider.sandbox.feeds import Podcast
from likepion_provider.sandbox.server import Sandbox
from likepion_provider.sandbox.site import Site, SiteAccount
from tests.sockets import listening


class Browser:
    """One account's browser: its cookies, its forms, no redirect followed by itself."""

    def __init__(self, sandbox: Sandbox, client: aiohttp.ClientSession, account: SiteAccount) -> None:
        self.account = account
        self.base = f"{sandbox.site_url}/{account.domain}"
        self._client = client

    async def __call__(self, method: str, path: str, **options: Any) -> tuple[int, str, Any]:
        url = path if path.startswith("http") else self.base + path
        async with self._client.request(method, url, allow_redirects=False, **options) as answer:
            body = await (answer.json() if answer.content_type == "application/json" else answer.text())
            return answer.status, answer.headers.get("Location", ""), body

    async def send(self, path: str, **fields: str) -> tuple[int, str, Any]:
        """Open a form and send it."""
        status, _, page = await self("GET", path)
        assert status == 200, page
        token = re.search(r'name="csrf" value="(\w+)"', page)
        assert token
        return await self("POST", path, data={"csrf": token[1], **fields})

    async def sign_in(self) -> None:
        assert (await self.send("/login", username=self.account.username, password=self.account.password))[0] == 303
        assert (await self.send("/login/totp", code=pyotp.TOTP(self.account.twofa).now()))[0] == 303

    def cookie(self, name: str = "session") -> str:
        return next((cookie.value for cookie in self._client.cookie_jar if cookie.key == name), "")

    def set_session(self, value: str) -> None:
        self._client.cookie_jar.clear()
        cookie = SimpleCookie({"session": value})
        cookie["session"]["path"] = f"/{self.account.domain}"
        self._client.cookie_jar.update_cookies(cookie, URL(self.base))


@pytest.fixture
def browser(sandbox: Sandbox, client: aiohttp.ClientSession) -> Browser:
    return Browser(sandbox, client, sandbox.site.accounts[0])


@pytest.fixture
async def signed_in(sandbox: Sandbox, browser: Browser) -> Browser:
    browser.set_session(sandbox.site.open_session(browser.account))
    return browser


@pytest.fixture
def feed(sandbox: Sandbox) -> str:
    """A feed of 25 episodes."""
    return sandbox.feed_url(sandbox.world.posts[0].request_id)


class TestSigningIn:
    async def test_password_then_code(self, browser: Browser) -> None:
        account = browser.account
        status, location, _ = await browser.send("/login", username=account.username, password=account.password)
        assert (status, location) == (303, f"/{account.domain}/login/totp")
        assert browser.cookie() == ""
        status, location, _ = await browser.send("/login/totp", code=pyotp.TOTP(account.twofa).now())
        assert (status, location) == (303, f"/{account.domain}/import")
        assert browser.cookie().startswith("canary-session-")
        assert browser.cookie("visit") == ""
        assert (await browser("GET", "/import"))[0] == 200

    async def test_the_email_address_will_do(self, browser: Browser) -> None:
        account = browser.account
        assert (await browser.send("/login", username=account.email, password=account.password))[0] == 303

    async def test_without_totp_the_password_is_enough(self, sandbox: Sandbox, browser: Browser) -> None:
        sandbox.site.add_account(SiteAccount(browser.account.domain, "plain", password="p"))
        status, location, _ = await browser.send("/login", username="plain", password="p")
        assert (status, location) == (303, f"/{browser.account.domain}/import")
        assert browser.cookie()

    @pytest.mark.parametrize(("name", "password"), [("", ""), ("pod0001", "wrong"), ("nobody", "x"), ("pod0002", "")])
    async def test_a_wrong_name_or_password_is_401(self, browser: Browser, name: str, password: str) -> None:
        status, _, page = await browser.send("/login", username=name, password=password)
        assert status == 401
        assert "Wrong user name or password" in page
        assert (await browser("GET", "/login/totp"))[:2] == (303, f"/{browser.account.domain}/login")

    async def test_another_domains_account_is_401(self, sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
        account, other = sandbox.site.accounts[:2]
        elsewhere = Browser(sandbox, client, SiteAccount(other.domain, account.username))
        assert (await elsewhere.send("/login", username=account.username, password=account.password))[0] == 401

    @pytest.mark.parametrize("code", ["", "000000", "abcdef"])
    async def test_a_wrong_code_is_401(self, browser: Browser, code: str) -> None:
        await browser.send("/login", username=browser.account.username, password=browser.account.password)
        right = {pyotp.TOTP(browser.account.twofa).now()}
        assert code not in right
        assert (await browser.send("/login/totp", code=code))[0] == 401
        assert browser.cookie() == ""

    async def test_a_code_of_two_minutes_ago_is_401(self, sandbox: Sandbox, browser: Browser) -> None:
        await browser.send("/login", username=browser.account.username, password=browser.account.password)
        code = pyotp.TOTP(browser.account.twofa).at(sandbox.site.clock.now() - timedelta(minutes=2))
        assert (await browser.send("/login/totp", code=code))[0] == 401

    async def test_an_account_is_held_up_until_its_owner_says_that_it_was_them(self, browser: Browser) -> None:
        account = browser.account
        account.verified = False
        status, location, _ = await browser.send("/login", username=account.username, password=account.password)
        assert (status, location) == (303, path := f"/{account.domain}/verify/{account.username}")
        assert (await browser("GET", "/login/totp"))[:2] == (303, f"/{account.domain}/login"), "no way around"
        assert (await browser.send(path.removeprefix(f"/{account.domain}")))[0] == 200
        await browser.sign_in()

    async def test_nobody_answers_for_an_account_that_is_not_there_or_without_the_form(self, browser: Browser) -> None:
        browser.account.verified = False
        assert (await browser("GET", "/verify/nobody"))[0] == 404
        assert (await browser("POST", f"/verify/{browser.account.username}", data={"csrf": "forged"}))[0] == 403
        assert not browser.account.verified

    @pytest.mark.parametrize("path", ["/login", "/login/totp"])
    async def test_a_form_without_its_token_is_403(self, browser: Browser, path: str) -> None:
        fields = {"username": browser.account.username, "password": browser.account.password}
        assert (await browser("POST", path, data=fields))[0] == 403
        await browser("GET", "/login")
        assert (await browser("POST", path, data={"csrf": "forged", **fields}))[0] == 403


class TestSession:
    async def test_every_answer_replaces_the_cookie(self, signed_in: Browser) -> None:
        before = signed_in.cookie()
        assert (await signed_in("GET", "/api/imports"))[0] == 200
        renewed = signed_in.cookie()
        assert renewed != before
        assert (await signed_in("GET", "/api/imports"))[0] == 200
        signed_in.set_session(before)
        assert (await signed_in("GET", "/api/imports"))[0] == 401

    async def test_the_old_cookie_may_have_some_grace(self, sandbox: Sandbox, signed_in: Browser) -> None:
        sandbox.site.settings.session_grace_s = 60
        before = signed_in.cookie()
        await signed_in("GET", "/api/imports")
        signed_in.set_session(before)
        assert (await signed_in("GET", "/api/imports"))[0] == 200
        sandbox.site.clock.advance(40)
        signed_in.set_session(before)
        assert (await signed_in("GET", "/api/imports"))[0] == 200
        sandbox.site.clock.advance(20)
        signed_in.set_session(before)
        assert (await signed_in("GET", "/api/imports"))[0] == 401

    async def test_it_ends_when_unused(self, sandbox: Sandbox, signed_in: Browser) -> None:
        for _ in range(2):
            sandbox.site.clock.advance(3599)
            assert (await signed_in("GET", "/api/imports"))[0] == 200
        sandbox.site.clock.advance(3600)
        assert (await signed_in("GET", "/api/imports"))[0] == 401

    async def test_it_is_good_on_its_own_domain_only(self, sandbox: Sandbox, signed_in: Browser) -> None:
        elsewhere = f"{sandbox.site_url}/harbor.example/api/imports"
        cookie = {"Cookie": f"session={signed_in.cookie()}"}
        assert (await signed_in("GET", elsewhere, headers=cookie))[0] == 401
        assert (await signed_in("GET", "/api/imports", headers=cookie))[0] == 200

    async def test_the_cookie_stays_on_its_path(self, browser: Browser) -> None:
        await browser.sign_in()
        cookie = next(cookie for cookie in browser._client.cookie_jar if cookie.key == "session")
        assert (cookie["path"], cookie["httponly"]) == (f"/{browser.account.domain}", True)

    async def test_without_it_nothing_is_shown(self, sandbox: Sandbox, signed_in: Browser) -> None:
        sandbox.site.drop_sessions()
        assert (await signed_in("GET", "/import"))[:2] == (303, f"/{signed_in.account.domain}/login")
        for method, path in (("POST", "/import"), ("GET", "/api/imports/x"), ("GET", "/api/shows/x/episodes")):
            status, _, answer = await signed_in(method, path)
            assert (status, answer["error"]) == (401, "login_required")


class TestImporting:
    async def test_a_feed_becomes_a_show(self, sandbox: Sandbox, signed_in: Browser, feed: str) -> None:
        status, _, job = await signed_in.send("/import", feed_url=feed)
        assert status == 202
        assert (job["feed_url"], job["message"]) == (feed, "")
        status, _, job = await signed_in("GET", f"/api/imports/{job['import_id']}")
        assert (status, job["state"], job["episodes"]) == (200, "listed", 25)
        assert (await signed_in("GET", "/api/imports"))[2] == {"imports": [job]}
        submitted = sandbox.site.submissions[0]
        assert (submitted.username, submitted.status, submitted.show_id) == ("pod0001", 202, job["show_id"])

    async def test_episodes_come_in_pages(self, signed_in: Browser, feed: str) -> None:
        _, _, job = await signed_in.send("/import", feed_url=feed)
        pages = [(await signed_in("GET", f"/api/shows/{job['show_id']}/episodes?page={n}"))[2] for n in (1, 2, 3)]
        assert [len(page["episodes"]) for page in pages] == [20, 5, 0]
        assert {(page["total"], page["pages"]) for page in pages} == {(25, 2)}
        first = pages[0]["episodes"][0]
        assert first.keys() == {"guid", "title", "url", "enclosure_url", "published"}
        assert (first["guid"], first["title"]) == ("podcast-1-0025", "Tide Tables #25")
        assert first["published"].endswith("+00:00")
        urls = {episode["url"] for page in pages for episode in page["episodes"]}
        assert len(urls) == 25

    @pytest.mark.parametrize("page", ["0", "-1", "x", ""])
    async def test_a_bad_page_is_400(self, signed_in: Browser, feed: str, page: str) -> None:
        _, _, job = await signed_in.send("/import", feed_url=feed)
        assert (await signed_in("GET", f"/api/shows/{job['show_id']}/episodes?page={page}"))[0] == 400

    async def test_it_goes_through_its_states(self, sandbox: Sandbox, signed_in: Browser, feed: str) -> None:
        settings = sandbox.site.settings
        settings.import_latency_s, settings.check_wait_s, settings.listing_delay_s = 0.05, 0, 100
        _, _, job = await signed_in.send("/import", feed_url=feed)
        states = [job["state"]]
        await sandbox.site.accounts[0].imports[feed].settled.wait()
        for advance_s in (0, 99, 2):
            sandbox.site.clock.advance(advance_s)
            _, _, job = await signed_in("GET", f"/api/imports/{job['import_id']}")
            _, _, page = await signed_in("GET", f"/api/shows/{job['show_id']}/episodes")
            states.append(job["state"])
            listed = job["state"] == "listed"
            assert job["episodes"] == page["total"] == (25 if listed else 0)
            assert (await signed_in("GET", job["show_url"]))[0] == (200 if listed else 404)
        assert states == ["queued", "importing", "importing", "listed"]

    async def test_a_feed_that_is_there_is_409(self, signed_in: Browser, feed: str) -> None:
        _, _, job = await signed_in.send("/import", feed_url=feed)
        status, _, answer = await signed_in.send("/import", feed_url=feed)
        assert (status, answer["error"]) == (409, "already_imported")
        assert (answer["show_id"], answer["import_id"]) == (job["show_id"], job["import_id"])

    async def test_a_feed_is_read_again_when_that_is_asked_for(self, sandbox: Sandbox, signed_in: Browser) -> None:
        feed = f"{sandbox.feeds_url}/growing/feed.xml"
        sandbox.feeds.add(Podcast("growing", "Growing", episodes=1))
        _, _, job = await signed_in.send("/import", feed_url=feed)
        sandbox.feeds.add(Podcast("growing", "Growing", episodes=2))
        for told in (1, 2):
            _, _, page = await signed_in("GET", f"/api/shows/{job['show_id']}/episodes")
            assert page["total"] == told
            status, _, answer = await signed_in("POST", f"/api/imports/{job['import_id']}/refresh")
            assert (status, answer["import_id"]) == (202, job["import_id"])
            await asyncio.gather(*sandbox.site._tasks)
        sandbox.faults.add("feed.rss", "html", times=None)
        await signed_in("POST", f"/api/imports/{job['import_id']}/refresh")
        await asyncio.gather(*sandbox.site._tasks)
        _, _, page = await signed_in("GET", f"/api/shows/{job['show_id']}/episodes")
        assert page["total"] == 2, "what cannot be read changes nothing"
        assert (await signed_in("POST", "/api/imports/none/refresh"))[0] == 404

    async def test_two_accounts_have_shows_of_their_own(self, sandbox: Sandbox, signed_in: Browser, feed: str) -> None:
        _, _, first = await signed_in.send("/import", feed_url=feed)
        signed_in.set_session(sandbox.site.open_session(sandbox.site.accounts[3]))
        status, _, second = await signed_in.send("/import", feed_url=feed)
        assert status == 202
        assert first["show_id"] != second["show_id"]
        assert (await signed_in("GET", f"/api/shows/{first['show_id']}/episodes"))[0] == 404
        assert (await signed_in("GET", f"/api/imports/{first['import_id']}"))[0] == 404

    @pytest.mark.parametrize("feed_url", ["", "ftp://x/y", "file:///etc/passwd", "http://", "http://[", "x"])
    async def test_what_is_no_web_address_is_400(self, signed_in: Browser, feed_url: str) -> None:
        status, _, answer = await signed_in.send("/import", feed_url=feed_url)
        assert (status, answer["error"]) == (400, "bad_feed_url")

    async def test_a_form_without_its_token_is_403(self, sandbox: Sandbox, signed_in: Browser, feed: str) -> None:
        status, _, answer = await signed_in("POST", "/import", data={"feed_url": feed, "csrf": "forged"})
        assert (status, answer["error"]) == (403, "bad_csrf")
        assert sandbox.site.submissions == []

    async def test_a_failed_import_says_why_and_may_be_repeated(self, sandbox: Sandbox, signed_in: Browser) -> None:
        feed = f"{sandbox.feeds_url}/later/feed.xml"
        status, _, job = await signed_in.send("/import", feed_url=feed)
        assert (status, job["state"], job["message"]) == (202, "failed", "The feed's server answered 404.")
        sandbox.feeds.add(Podcast("later", "Later", episodes=1))
        status, _, again = await signed_in.send("/import", feed_url=feed)
        assert (status, again["state"], again["import_id"]) == (202, "listed", job["import_id"])

    @pytest.mark.parametrize("kind", ["cut", "html", "truncated_json", "lose_answer"])
    async def test_a_broken_feed_fails(self, sandbox: Sandbox, signed_in: Browser, feed: str, kind: str) -> None:
        sandbox.faults.add("feed.rss", kind, times=None)
        _, _, job = await signed_in.send("/import", feed_url=feed)
        assert job["state"] == "failed"
        assert job["message"]
        assert "canary" not in job["message"]

    async def test_a_locked_feed_is_423(self, sandbox: Sandbox, signed_in: Browser, feed: str) -> None:
        podcast = sandbox.world.posts[0].podcast
        podcast.locked = True
        status, _, answer = await signed_in.send("/import", feed_url=feed)
        assert (status, answer["error"], answer["state"]) == (423, "locked", "locked")
        assert "unlock" in answer["message"]
        assert (await signed_in("GET", f"/api/imports/{answer['import_id']}"))[2]["state"] == "locked"
        podcast.locked = False
        assert (await signed_in.send("/import", feed_url=feed))[0] == 202

    async def test_a_locked_feed_opens_to_its_owner(self, sandbox: Sandbox, signed_in: Browser, feed: str) -> None:
        podcast = sandbox.world.posts[0].podcast
        podcast.locked, podcast.owner_email = True, signed_in.account.email.upper()
        signed_in.account.email = signed_in.account.email.title()
        assert (await signed_in.send("/import", feed_url=feed))[0] == 202

    async def test_a_slow_locked_feed_becomes_locked_later(
        self, sandbox: Sandbox, signed_in: Browser, feed: str
    ) -> None:
        sandbox.world.posts[0].podcast.locked = True
        sandbox.site.settings.check_wait_s = 0.01
        sandbox.faults.add("feed.rss", "delay", delay_s=0.1)
        status, _, job = await signed_in.send("/import", feed_url=feed)
        assert (status, job["state"]) == (202, "queued")
        await sandbox.site.accounts[0].imports[feed].settled.wait()
        assert (await signed_in("GET", f"/api/imports/{job['import_id']}"))[2]["state"] == "locked"

    async def test_what_is_not_there_is_404(self, signed_in: Browser) -> None:
        for path in ("/api/imports/none", "/api/shows/none/episodes"):
            status, _, answer = await signed_in("GET", path)
            assert (status, answer["error"]) == (404, "not_found")


class TestPublicPages:
    async def test_from_the_home_page_to_the_audio(self, sandbox: Sandbox, signed_in: Browser, feed: str) -> None:
        sandbox.world.posts[0].podcast.title = "<b>Tides & more"
        await signed_in.send("/import", feed_url=feed)
        async with aiohttp.ClientSession() as anybody:
            url, pages = signed_in.base + "/", []
            for link in (r'<li><a href="([^"]+/shows/\w+)"', r'<li><a href="([^"]+/episodes/\w+)"', r'src="([^"]+)"'):
                async with anybody.get(url) as answer:
                    assert answer.status == 200
                    pages.append(await answer.text())
                found = re.search(link, pages[-1])
                assert found
                url = found[1]
            async with anybody.get(url) as answer:
                assert (answer.status, answer.content_type) == (200, "audio/wav")
        for page in pages:
            assert page.startswith('<!doctype html><html lang="en">')
            assert page.count("<h1>") == page.count("<main>") == 1
            assert "<b>Tides" not in page
            assert "canary" not in page
        assert "<audio controls" in pages[-1]

    async def test_urls_are_the_same_every_time_and_may_hold_a_comma(
        self, sandbox: Sandbox, signed_in: Browser, feed: str
    ) -> None:
        sandbox.site.settings.comma_in_urls = True
        _, _, job = await signed_in.send("/import", feed_url=feed)
        seen = [(await signed_in("GET", f"/api/shows/{job['show_id']}/episodes"))[2]["episodes"] for _ in range(2)]
        url = seen[0][0]["url"]
        assert seen[0] == seen[1]
        assert "," in url
        assert (await signed_in("GET", url))[0] == 200
        assert (await signed_in("GET", url.replace(",", "%2C")))[0] == 200

    @pytest.mark.parametrize("path", ["/shows/none", "/shows/none/episodes/none", "/nothing"])
    async def test_what_is_not_there_is_404(self, browser: Browser, path: str) -> None:
        assert (await browser("GET", path))[0] == 404

    async def test_an_enclosure_that_is_no_web_address_is_not_linked(self, signed_in: Browser) -> None:
        body = '<rss><channel><item><title>t</title><enclosure url="javascript:x"/></item></channel></rss>'

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with listening(serve) as port:
            _, _, job = await signed_in.send("/import", feed_url=f"http://127.0.0.1:{port}/")
        _, _, page = await signed_in("GET", f"/api/shows/{job['show_id']}/episodes")
        assert page["episodes"][0]["published"] is None
        status, _, html = await signed_in("GET", page["episodes"][0]["url"])
        assert status == 200
        assert "javascript" not in html


async def test_every_answer_is_late_by_latency_s(sandbox: Sandbox, browser: Browser) -> None:
    sandbox.site.settings.latency_s = 0.1
    before = asyncio.get_running_loop().time()
    await browser("GET", "/login")
    assert asyncio.get_running_loop().time() - before >= 0.1


def test_a_name_is_taken_once_a_domain() -> None:
    site = Site()
    site.add_account(SiteAccount("tide", "me", "me@tide"))
    site.add_account(SiteAccount("harbor", "me"))
    for account in (SiteAccount("tide", "me"), SiteAccount("tide", "you", "me@tide"), SiteAccount("tide", "")):
        with pytest.raises(ValueError, match="taken"):
            site.add_account(account)
