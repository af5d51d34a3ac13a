"""A stranger: has the publishable key, perhaps a password, and talks to Supabase directly, past the app."""

import os
import ssl
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
import jwt

from tests.people import Person, Phone

TLS = ssl.create_default_context()  # made once: it takes longer than a request


@dataclass
class Stranger:
    """`token` is sent with every call, once there is one; set it to try another."""

    url: str = field(default_factory=lambda: os.environ["SUPABASE_URL"])
    key: str = field(default_factory=lambda: os.environ["SUPABASE_PUBLISHABLE_KEY"])
    token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)

    def signs_in_as(self, person: Person) -> Self:
        password = {"email": person.email, "password": person.password}
        return self._keeps(self.post("auth/v1/token?grant_type=password", **password))

    def refreshes(self) -> Self:
        return self._keeps(self.post("auth/v1/token?grant_type=refresh_token", refresh_token=self.refresh_token))

    def enrols_app(self) -> dict[str, Any]:
        """Return the answer of Supabase Auth: {"id": …, "totp": {"secret": …}, …}"""
        return self.post("auth/v1/factors", factor_type="totp", friendly_name="stranger").raise_for_status().json()

    def challenges(self, factor_id: str) -> httpx.Response:
        return self.post(f"auth/v1/factors/{factor_id}/challenge")

    def answers(self, factor_id: str, challenge_id: str, code: str) -> httpx.Response:
        answer = self.post(f"auth/v1/factors/{factor_id}/verify", challenge_id=challenge_id, code=code)
        if answer.is_success:
            self._keeps(answer)
        return answer

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.send("POST", path, json=body)

    def send(self, method: str, path: str, *, headers: dict[str, str] | None = None, **request: Any) -> httpx.Response:
        who = {"apikey": self.key} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        return httpx.request(method, f"{self.url}/{path}", headers=who | (headers or {}), verify=TLS, **request)

    @property
    def claims(self) -> dict[str, Any]:
        assert self.token
        return jwt.decode(self.token, options={"verify_signature": False})

    def _keeps(self, answer: httpx.Response) -> Self:
        tokens = answer.raise_for_status().json()
        self.token, self.refresh_token = tokens["access_token"], tokens["refresh_token"]
        return self


def grant_challenge(database: Any, factor_id: str) -> None:
    """Let one challenge of the factor be made, as the app does when it has counted an attempt."""
    database.execute("insert into public.mfa_challenge_grants (factor_id) values (%s)", [factor_id])


def prove_new_app(database: Any, stranger: Stranger) -> str:
    """Set up an app without the app: enrol and prove directly, endorse and grant in the database. Return its id."""
    app = stranger.enrols_app()
    database.execute("insert into public.mfa_endorsed_factors (factor_id) values (%s)", [app["id"]])
    grant_challenge(database, app["id"])
    challenge = stranger.challenges(app["id"]).raise_for_status().json()
    stranger.answers(app["id"], challenge["id"], Phone(app["totp"]["secret"]).code()).raise_for_status()
    return str(app["id"])
