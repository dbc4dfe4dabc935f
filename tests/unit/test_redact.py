"""What may be shown of a feed's address."""

from __future__ import annotations

import pytest

from likepion_provider.redact import redact, tokens


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://feeds.example.com/my-podcast/rss.xml", "https://feeds.example.com/***/rss.xml"),
        ("https://feeds.example.com/podcast/rss.xml", "https://feeds.example.com/podcast/rss.xml"),
        ("https://user:pw@a.example:8080/x#frag", "https://a.example:8080/***"),
        ("https://a.example/feed?token=abc&n=1", "https://a.example/feed?***"),
        ("https://a.example/rss/my-show/k3y9Z", "https://a.example/rss/***/***"),
        ("https://a.example/p/AbCdEfGh/feed", "https://a.example/***/feed"),
        ("https://a.example/feed/s3cr3t", "https://a.example/feed/***"),
        ("https://a.example/rss/Xk3d9QzPm2", "https://a.example/rss/***"),
        ("https://a.example/rss/qzxkvjw.xml", "https://a.example/rss/***.xml"),
        ("https://a.example/%70rivate/abc", "https://a.example/***/***"),
        ("https://a.example/private/short/feed", "https://a.example/***/feed"),
        ("https://k3y9z.feeds.a.example/rss", "https://***.feeds.a.example/rss"),
        ("https://k3y9z.co.uk/rss", "https://k3y9z.co.uk/rss"),
        ("https://k3y9z.a.co.uk/rss", "https://***.a.co.uk/rss"),
        ("https://a.example/feed;key=1/rss", "https://a.example/***/rss"),
        ("http://[::1]:80/feed", "http://[::1]:80/feed"),
        ("http://127.0.0.1:80/feed/", "http://127.0.0.1:80/feed/"),
        ("file:///home/me/secret", "file:***"),
        ("secret", "***"),
        ("http://[x", "<unreadable URL>"),
        ("http://a.example/fe\r\ned", "http://a.example/feed"),
    ],
)
def test_only_words_that_no_token_is_are_shown(url: str, shown: str) -> None:
    assert redact(url) == shown
    assert len(redact(url + "/feed" * 200)) <= 200


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://a.example/rss/my-show/k3y9Z", {"k3y9Z"}),
        ("https://ada:pass%20word@a.example/feed", {"ada", "pass%20word", "pass word"}),
        ("https://a.example/feed.xml?token=abcdef&more", {"abcdef", "more"}),
        ("https://a.example/private/abc/feed.xml", {"abc"}),
        ("https://a.example/podcast/feed.xml", set()),
        ("http://[x", set()),
    ],
)
def test_what_looks_like_a_token_is_masked_elsewhere_too(url: str, found: set[str]) -> None:
    assert {each for each in tokens(url) if each} == found
