"""The mailbox page: mails can be read and clicked, and can do nothing of their own accord."""

import os
import secrets

import httpx
import psycopg
import pytest

HOSTILE = '<script>alert(1)</script><img src=//evil.test><form action=//evil.test></form><a href="http://localhost:1/?a&amp;b">Go</a>'


@pytest.fixture
def mailbox():
    with httpx.Client(base_url=os.environ["MAILBOX_URL"], trust_env=False) as http:
        yield http


@pytest.fixture
def mail(mailbox):
    """A mail full of tricks, as the list shows it."""
    address = f"mailbox-{secrets.token_hex(8)}@example.com"
    with psycopg.connect(os.environ["DATABASE_URL"]) as database:
        database.execute(
            'insert into mailbox.mails ("to", subject, html, kind) values (%s, %s, %s, %s)',
            [address, "<b>Hello</b>", HOSTILE, "confirmation"],
        )
    [listed] = mailbox.get("/messages.json", params={"to": address.upper()}).json()
    return listed


def test_a_mail_is_listed_with_its_links(mail):
    assert mail["links"] == ["http://localhost:1/?a&b"]
    assert (mail["subject"], mail["html"], mail["kind"]) == ("<b>Hello</b>", HOSTILE, "confirmation")


@pytest.mark.parametrize("page", ["", "/{id}"])
def test_the_page_shows_a_subject_as_text_and_runs_nothing(mailbox, mail, page):
    answer = mailbox.get(page.format(**mail))
    assert "&lt;b&gt;Hello&lt;/b&gt;" in answer.text
    assert "<b>Hello" not in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


def test_the_mail_itself_is_shut_in(mailbox, mail):
    answer = mailbox.get(f"/{mail['id']}/body")
    directives = [directive.strip() for directive in answer.headers["Content-Security-Policy"].split(";")]
    assert directives[0] == "sandbox allow-popups allow-popups-to-escape-sandbox"
    assert {"default-src 'none'", "form-action 'none'"} <= set(directives)
    assert HOSTILE in answer.text
    frame = mailbox.get(f"/{mail['id']}").text
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in frame


def test_an_unknown_mail_is_not_found(mailbox):
    assert mailbox.get("/999999999").status_code == 404
