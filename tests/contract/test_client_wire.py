"""What the unmodified client sends for the calls the app makes (contract B3, C1), without any server.

Run it before raising the pin of supabase: what changes here changes for the app and for the embedded stack.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from supabase import Client, ClientOptions, create_client
from supabase_auth import SyncSupportedStorage

URL, KEY = "http://supabase.test", "sb_publishable_x"
FACTOR = "11111111-1111-4111-8111-111111111111"
CHALLENGE = "22222222-2222-4222-8222-222222222222"

USER = {
    "id": "33333333-3333-4333-8333-333333333333", "aud": "authenticated", "app_metadata": {}, "user_metadata": {},
    "created_at": "2026-01-01T00:00:00Z",
}  # fmt: skip
SESSION = {
    "access_token": "header.payload.signature", "refresh_token": "r2", "token_type": "bearer", "expires_in": 3600,
    "expires_at": int(time.time()) + 3600, "user": USER,
}  # fmt: skip
ANSWERS = {
    "/auth/v1/signup": USER,
    "/auth/v1/token": SESSION,
    "/auth/v1/verify": SESSION,
    "/auth/v1/logout": None,
    "/auth/v1/factors": {
        "id": FACTOR, "type": "totp", "friendly_name": "phone",
        "totp": {"qr_code": "<svg/>", "secret": "S", "uri": "otpauth://totp/x"},
    },
    f"/auth/v1/factors/{FACTOR}": {"id": FACTOR},
    f"/auth/v1/factors/{FACTOR}/challenge": {"id": CHALLENGE, "type": "totp", "expires_at": 1},
    f"/auth/v1/factors/{FACTOR}/verify": SESSION | {"access_token": "new.payload.signature"},
}  # fmt: skip


@dataclass
class Recorder:
    """Answers with ANSWERS, or an empty list, and remembers what was asked."""

    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = ANSWERS.get(request.url.path, [])
        return httpx.Response(204) if answer is None else httpx.Response(200, json=answer)

    @property
    def only(self) -> httpx.Request:
        assert len(self.requests) == 1, [str(request.url) for request in self.requests]
        return self.requests[0]


class Storage(SyncSupportedStorage):
    """The session of one request, as the app hands it to the client; `stored` is what the client hands back."""

    def __init__(self) -> None:
        self.stored: list[dict[str, Any]] = []

    def get_item(self, key: str) -> str | None:
        return json.dumps(SESSION) if key == "supabase.auth.token" else None

    def set_item(self, key: str, value: str) -> None:
        self.stored.append(json.loads(value))

    def remove_item(self, key: str) -> None:
        pass


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def client(recorder: Recorder) -> Client:
    """A client for a visitor without a session."""
    return _client(recorder)


@pytest.fixture
def client_of_alice(recorder: Recorder) -> Client:
    """A client for data: Alice's token is in the headers, no session is known."""
    return _client(recorder, headers={"Authorization": "Bearer alices.access.token"})


def _client(recorder: Recorder, **options: Any) -> Client:
    settings = {"persist_session": False, "auto_refresh_token": False, "flow_type": "implicit"} | options
    http = httpx.Client(transport=httpx.MockTransport(recorder))
    return create_client(URL, KEY, ClientOptions(httpx_client=http, **settings))


def body_of(request: httpx.Request) -> Any:
    return json.loads(request.content) if request.content else None


Sends = Callable[[Client], Any]

REPRESENTATION = "return=representation"


@pytest.mark.parametrize(
    ("send", "method", "path", "params", "body", "prefer"),
    [
        (lambda c: c.rpc("f", {"a": 1, "b": None}), "POST", "/rpc/f", {}, {"a": 1, "b": None}, None),
        (lambda c: c.rpc("f"), "POST", "/rpc/f", {}, {}, None),
        (lambda c: c.rpc("f", {"a": 1}, get=True), "GET", "/rpc/f", {"a": "1"}, None, None),
        (lambda c: c.table("t").select("id, name"), "GET", "/t", {"select": "id,name"}, None, None),
        (lambda c: c.table("t").select(), "GET", "/t", {"select": "*"}, None, None),
        (lambda c: c.table("t").select("*", count="exact", head=True), "HEAD", "/t", {"select": "*"}, None,
         "count=exact"),
        (lambda c: c.table("t").select("*").eq("a", "x.y").is_("b", None).in_("c", [1, "y,z", 'q"r']), "GET", "/t",
         {"select": "*", "a": "eq.x.y", "b": "is.null", "c": 'in.(1,"y,z","q\\"r")'}, None, None),
        (lambda c: c.table("t").select("*").order("a").order("b", desc=True, nullsfirst=True).limit(5), "GET", "/t",
         {"select": "*", "order": "a.asc,b.desc.nullsfirst", "limit": "5"}, None, None),
        (lambda c: c.table("t").insert({"a": 1}), "POST", "/t", {}, {"a": 1}, REPRESENTATION),
        (lambda c: c.table("t").insert([{"a": 1}, {"a": 2}]), "POST", "/t", {"columns": '"a"'},
         [{"a": 1}, {"a": 2}], REPRESENTATION),
        (lambda c: c.table("t").insert({"a": 1}, returning="minimal"), "POST", "/t", {}, {"a": 1},
         "return=minimal"),
        (lambda c: c.table("t").upsert({"a": 1}, on_conflict="a"), "POST", "/t", {"on_conflict": "a"}, {"a": 1},
         f"{REPRESENTATION},resolution=merge-duplicates"),
        (lambda c: c.table("t").upsert({"a": 1}, ignore_duplicates=True), "POST", "/t", {}, {"a": 1},
         f"{REPRESENTATION},resolution=ignore-duplicates"),
        (lambda c: c.table("t").update({"a": 1}).eq("id", 7), "PATCH", "/t", {"id": "eq.7"}, {"a": 1},
         REPRESENTATION),
        (lambda c: c.table("t").delete().eq("id", 7), "DELETE", "/t", {"id": "eq.7"}, {}, REPRESENTATION),
    ],
)  # fmt: skip
def test_a_data_call_is_one_request(client_of_alice, recorder, send: Sends, method, path, params, body, prefer):
    send(client_of_alice).execute()
    request = recorder.only
    assert (request.method, request.url.path) == (method, f"/rest/v1{path}")
    assert dict(request.url.params) == params
    assert body_of(request) == body
    assert request.headers.get("Prefer") == prefer
    assert request.headers["apikey"] == KEY
    assert request.headers["Authorization"] == "Bearer alices.access.token"
    assert request.headers["Accept-Profile"] == request.headers["Content-Profile"] == "public"


def test_single_asks_for_one_object_and_maybe_single_counts_rows_itself(client_of_alice, recorder):
    client_of_alice.table("t").select("*").single().execute()
    client_of_alice.table("t").select("*").maybe_single().execute()
    accepted = [request.headers["Accept"] for request in recorder.requests]
    assert accepted == ["application/vnd.pgrst.object+json", "*/*"]


@pytest.mark.parametrize(
    ("send", "path", "params", "body"),
    [
        (lambda a: a.sign_up({"email": "a@b.c", "password": "p"}), "/signup", {},
         {"email": "a@b.c", "password": "p", "data": {}, "gotrue_meta_security": {"captcha_token": None}}),
        (lambda a: a.sign_up({"email": "a@b.c", "password": "p", "options": {"email_redirect_to": "http://x/y"}}),
         "/signup", {"redirect_to": "http://x/y"},
         {"email": "a@b.c", "password": "p", "data": {}, "gotrue_meta_security": {"captcha_token": None}}),
        (lambda a: a.sign_in_with_password({"email": "a@b.c", "password": "p"}), "/token",
         {"grant_type": "password"},
         {"email": "a@b.c", "password": "p", "data": {}, "gotrue_meta_security": {"captcha_token": None}}),
        (lambda a: a.refresh_session("r1"), "/token", {"grant_type": "refresh_token"}, {"refresh_token": "r1"}),
        (lambda a: a.verify_otp({"token_hash": "h", "type": "email"}), "/verify", {},
         {"token_hash": "h", "type": "email", "gotrue_meta_security": {"captcha_token": None}}),
    ],
)  # fmt: skip
def test_a_call_that_begins_a_session_is_one_request_with_the_key(client, recorder, send: Sends, path, params, body):
    send(client.auth)
    request = recorder.only
    assert (request.method, request.url.path) == ("POST", f"/auth/v1{path}")
    assert dict(request.url.params) == params
    assert {k: v for k, v in body_of(request).items() if v is not None} == body
    assert request.headers["apikey"] == KEY
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["X-Supabase-Api-Version"] == "2024-01-01"


@pytest.mark.parametrize(
    ("send", "method", "path", "body"),
    [
        (lambda m: m.enroll({"factor_type": "totp", "friendly_name": "phone"}), "POST", "/factors",
         {"factor_type": "totp", "friendly_name": "phone"}),
        (lambda m: m.challenge({"factor_id": FACTOR}), "POST", f"/factors/{FACTOR}/challenge", {}),
        (lambda m: m.verify({"factor_id": FACTOR, "challenge_id": CHALLENGE, "code": "123456"}), "POST",
         f"/factors/{FACTOR}/verify", {"factor_id": FACTOR, "challenge_id": CHALLENGE, "code": "123456"}),
        (lambda m: m.unenroll({"factor_id": FACTOR}), "DELETE", f"/factors/{FACTOR}", None),
    ],
)  # fmt: skip
def test_a_factor_call_with_a_session_in_storage_is_one_request_with_its_token(
    recorder, send: Sends, method, path, body
):
    client = _client(recorder, storage=Storage(), persist_session=True)
    send(client.auth.mfa)
    request = recorder.only
    assert (request.method, request.url.path) == (method, f"/auth/v1{path}")
    sent = body_of(request)
    assert (sent and {k: v for k, v in sent.items() if v is not None}) == body
    assert request.headers["Authorization"] == f"Bearer {SESSION['access_token']}"


def test_the_tokens_of_a_verified_code_are_handed_to_the_storage(recorder):
    storage = Storage()
    client = _client(recorder, storage=storage, persist_session=True)
    client.auth.mfa.verify({"factor_id": FACTOR, "challenge_id": CHALLENGE, "code": "123456"})
    assert [stored["access_token"] for stored in storage.stored] == ["new.payload.signature"]


def test_signing_out_one_session_needs_its_token_only(client, recorder):
    client.auth.admin.sign_out("alices.access.token", "local")
    request = recorder.only
    assert (request.method, request.url.path) == ("POST", "/auth/v1/logout")
    assert dict(request.url.params) == {"scope": "local"}
    assert request.headers["Authorization"] == "Bearer alices.access.token"
