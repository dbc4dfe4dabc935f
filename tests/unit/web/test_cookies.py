"""An account's cookies: sent as they came, changed by the site alone."""

from __future__ import annotations

import pytest
from yarl import URL

from likepion_provider.web.cookies import MAX_COOKIES, Cookies

SITE = URL("https://site.example/app/page")
ODD = ['prefs={"a":1}; sid=1', 'flag; sid="a b"', "b@d=2; path=/x; sid=ä", "a=1;b=2", "", "x=1; ; y"]


@pytest.mark.parametrize("given", ODD)
def test_what_cannot_be_parsed_is_sent_as_it_came_and_is_no_news(given: str) -> None:
    cookies = Cookies(given)
    assert cookies.text == given
    wanted = [each.strip() for each in given.split(";") if each.strip()]
    assert cookies.header(SITE).split("; ") == (wanted or [""])
    cookies.take(SITE, ["sid=1; Domain=elsewhere.example", "nothing", "=1", "x\x00=1", "big=" + "x" * 5000])
    assert cookies.text == given


def test_only_what_the_site_set_is_changed() -> None:
    cookies = Cookies('prefs={"a":1}; sid=old; flag')
    cookies.take(SITE, ['sid="new one"; Path=/; HttpOnly; Secure', "extra=2; Max-Age=60"])
    assert cookies.text == 'prefs={"a":1}; flag; sid="new one"; extra=2'
    assert cookies.header(SITE) == 'prefs={"a":1}; flag; sid="new one"; extra=2'
    assert "extra" not in cookies.header(URL("https://site.example/else")), "its path is that of the page"
    assert "sid" not in cookies.header(URL("http://site.example/app/")), "secure"


def test_the_same_value_again_is_no_news() -> None:
    cookies = Cookies("sid=1")
    cookies.take(SITE, ["sid=1; Path=/", "gone=; Max-Age=0", "older=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"])
    assert cookies.text == "sid=1"


@pytest.mark.parametrize("end", ["Max-Age=0", "max-age=-5", "Expires=Thu, 01-Jan-1970 00:00:00 GMT"])
def test_a_cookie_that_is_over_is_forgotten(end: str) -> None:
    cookies = Cookies("sid=1; other=2")
    cookies.take(SITE, ["later=3; Path=/"])
    cookies.take(SITE, [f"sid=; {end}", f"later=; Path=/; {end}"])
    assert cookies.text == "other=2"


def test_a_site_sets_no_more_than_a_browser_takes() -> None:
    cookies = Cookies("")
    cookies.take(SITE, [f"c{number}=1" for number in range(1000)])
    assert cookies.text.count("=") == MAX_COOKIES


def test_what_no_header_carries_is_left_out() -> None:
    assert Cookies("a=1\r\nX-Evil: 1; b=\ud800").header(SITE) == "a=1X-Evil: 1; b="


@pytest.mark.parametrize(("domain", "taken"), [("site.example", True), (".example", False), ("other.example", False)])
def test_a_domain_must_be_the_sites_own(domain: str, taken: bool) -> None:
    cookies = Cookies("")
    cookies.take(SITE, [f"a=1; Domain={domain}"])
    assert bool(cookies.text) is taken
