"""Secrets, and words of strangers, in all the forms in which they come."""

from __future__ import annotations

import base64
import html
import json
import re
import threading
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from likepion_provider.errors import FeedInvalid, LikepionError, PlatformChanged, Rejected
from likepion_provider.masking import LEAST_CHARS, MOST_CHARS, Secrets, clean, hide, hide_account, hide_url, masked
from likepion_provider.models import Credentials

pytestmark = pytest.mark.usefixtures("own_heap")

PASSWORD = "pä ss'w\"örd/&<+1234>\\"


@pytest.mark.parametrize(
    "form",
    [
        str,
        quote,
        quote_plus,
        repr,
        json.dumps,
        html.escape,
        lambda secret: re.sub("%..", lambda each: each[0].lower(), quote(secret, safe="")),
        lambda secret: quote(secret, safe=""),
        lambda secret: json.dumps(secret, ensure_ascii=False),
        lambda secret: repr(secret.encode()),
        lambda secret: f"Basic {base64.b64encode(f'ada:{secret}'.encode()).decode()}",
        lambda secret: base64.b64encode(f"ada.l:{secret}, and more".encode()).decode(),
        lambda secret: base64.urlsafe_b64encode(f"a:{secret}".encode()).decode(),
    ],
)
@pytest.mark.parametrize("secret", [PASSWORD, "plain-password-1", "ALLLETTERS", "1234"])
def test_a_secret_is_masked_in_every_form(secret: str, form: Callable[[str], str]) -> None:
    hide([secret])
    shown = masked(f"before {form(secret)} after")
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    rest = shown.removeprefix("before ").removesuffix(" after")
    assert "***" in rest
    # What base64 shows of the login before it, and of what follows it.
    assert len(rest.replace("***", "").removeprefix("Basic ")) <= 24
    assert secret not in shown


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("cut at its end: secret-pass", "cut at its end: ***"),
        ("cut: 'secret-pass'. Try again", "cut: '***'. Try again"),
        ("word-12 was cut at its beginning", "word-12 was cut at its beginning"),
        ("sword-12 was cut at its beginning", "*** was cut at its beginning"),
        ("a secret is no secret-", "a secret is no secret-"),
        ("secret-password-12secret-password-12", "***"),
        ("secret-password-1234", "***34"),
    ],
)
def test_a_piece_of_a_secret_is_masked_from_eight_characters_on(words: str, shown: str) -> None:
    hide(["secret-password-12"])
    assert masked(words) == shown


def test_a_word_that_a_password_begins_with_stays_readable_but_where_a_text_is_cut() -> None:
    hide(["password77"])
    assert masked("Correct the account's password, then run it") == "Correct the account's password, then run it"
    assert masked("it is password") == "it is ***"
    assert masked("it is password\nand more") == "it is ***\nand more"
    hide(["JBSWYDPEHPKPXP"])
    assert masked("it is JBSWYDPEHP, cut") == "it is ***, cut"
    assert masked("it is password77.") == "it is ***."


def test_what_is_shorter_than_four_characters_is_not_masked() -> None:
    hide(["a1!", "b2!?"])
    assert LEAST_CHARS == 4
    assert masked("a1! b2!?") == "a1! ***"


def test_an_account_hides_all_that_it_holds() -> None:
    credentials = Credentials(
        email="ada@pod.example",
        username="ada",
        password="pass-1",
        pass_mail="mail-1",
        twofa="JBSWY3DP",
        app_password="app-1",
        cookie='session="abc-1234567"; theme=dark',
    )
    hide_account(credentials, "https://feeds.example/rss/my-show/k3y9Z")
    words = "ada pass-1 mail-1 JBSWY3DP app-1 abc-1234567 dark https://feeds.example/rss/my-show/k3y9Z /x/k3y9Z"
    assert masked(words) == "ada *** *** *** *** *** dark *** /x/***"


def test_an_address_without_a_secret_may_be_shown() -> None:
    hide_url("https://feeds.example/podcast/feed.xml")
    hide_url("https://feeds.example/my-show/feed.xml")
    assert masked("https://feeds.example/podcast/feed.xml") == "https://feeds.example/podcast/feed.xml"
    assert masked("https://feeds.example/my-show/feed.xml") == "***"
    assert masked("https://feeds.example/my-show/1") == "https://feeds.example/my-show/1"
    assert masked(quote("https://feeds.example/my-show/feed.xml", safe="")) == "***"


def test_the_oldest_are_forgotten_first() -> None:
    secrets = Secrets(most=10)
    for number in range(25):
        secrets.add(f"secret-number-{number:04d}")
        assert secrets.masked(f"secret-number-{number:04d}") == "***"
    shown = [secrets.masked(f"x-number-{number:04d}") for number in range(25)]
    assert shown[0] == "x-number-0000"
    assert shown[24] == "x***"


def test_masking_costs_the_same_for_a_thousand_accounts_and_for_texts_that_mean_harm() -> None:
    secrets = Secrets()
    began_s = time.process_time()
    for number in range(5000):
        secrets.add(f"session=canary-{number:06d}")
    assert time.process_time() - began_s < 5
    began_s = time.process_time()
    secrets.masked("an ordinary line of some length " * 10_000)
    secrets.masked("session=canary-" * 2000)
    assert time.process_time() - began_s < 5


def test_secrets_can_be_added_while_others_mask() -> None:
    secrets = Secrets(most=50)
    ends = threading.Event()
    errors: list[Exception] = []

    def mask() -> None:
        while not ends.is_set():
            try:
                secrets.masked("secret-0001 and more session=0001")
            except Exception as error:
                errors.append(error)

    thread = threading.Thread(target=mask)
    thread.start()
    for number in range(3000):
        secrets.add(f"secret-{number:04d}")
    ends.set()
    thread.join()
    assert not errors


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("one\ntwo\r\nthree\u2028four", "one two three four"),
        ("\x1b]52;c;Zm9v\x07 \x9b31m", "]52;c;Zm9v 31m"),
        ("ada\u202egpj.exe \u2066x\u2069\u200b", "adagpj.exe x"),
        ("lone \ud83d and NUL \x00", "lone ? and NUL"),
        ("Tiếng Việt \U0001f468\u200d\U0001f469 \u0627", "Tiếng Việt \U0001f468\u200d\U0001f469 \u0627"),
        ("sec\x00ret-\u202epass", "***"),
        ("x" * 3000, "x" * (MOST_CHARS - 1) + "…"),
    ],
)
def test_words_of_strangers_are_one_line_of_printable_text(words: str, shown: str) -> None:
    hide(["secret-pass"])
    assert clean(words) == shown


def test_every_error_is_without_secrets_in_all_its_words() -> None:
    hide(["secret-pass"])
    words = "a secret-pass\n\x1b[31m"
    errors: list[LikepionError] = [
        LikepionError(words, remedy=words),
        Rejected(words, status=400, server_message=words),
        FeedInvalid(words, url=words, where=words),
        PlatformChanged(words, platform="p", url=words, field=words),
    ]
    for error in errors:
        told = [str(error), error.advice, *map(str, vars(error).values())]
        assert "a *** [31m" in told[0]
        assert not [each for each in told if "secret" in each or "\n" in each or "\x1b" in each]
