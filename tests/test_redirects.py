"""Statement 30 of the Auth contract, as arithmetic: which addresses a mailed link may lead to."""

import pytest

from local_supabase.auth_api.redirects import is_allowed
from local_supabase.platform import Config

CONFIG = Config("https://site.example", redirect_urls=("https://*.preview.example/**", "myapp://done", "https://a.b/?"))


@pytest.mark.parametrize(
    "url",
    [
        "https://site.example",
        "https://site.example/any/path?and=query#fragment",
        "https://SITE.example/",
        "http://127.0.0.1:1/x",
        "http://[::1]/x",
        "https://one.preview.example/a/b.c",
        "https://one.preview.example/a#fragment",
        "myapp://done",
        "https://a.b/c",
    ],
)
def test_home_this_machine_and_the_allow_list_are_allowed(url):
    assert is_allowed(CONFIG, url)


@pytest.mark.parametrize(
    "url",
    [
        "http://site.example/",
        "https://site.example:444/",
        "https://site.example.evil.test/",
        "https://site.example@evil.test/",
        "https://evil.test/https://site.example/",
        "https://evil.test\\@site.example/",
        "https://one.two.preview.example/",
        "https://evil.test/x.preview.example/y",
        "https://user@one.preview.example/",
        "https://preview.example/",
        "myapp://done/elsewhere",
        "https://a.b/cd",
        "https://a.b//",
        "https://192.0.2.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "javascript://127.0.0.1/%0aalert(1)",
        "https://site.example:port/",
        "//site.example/",
        "",
    ],
)
def test_anything_else_is_not(url):
    assert not is_allowed(CONFIG, url)
