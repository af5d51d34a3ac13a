"""A phone, a laptop or a security key for Chromium: its virtual authenticator (DevTools protocol, domain WebAuthn)."""

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

THIS_DEVICE = {
    "protocol": "ctap2",
    "ctap2Version": "ctap2_1",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
SECURITY_KEY = THIS_DEVICE | {"transport": "usb"}
SYNCED = THIS_DEVICE | {"defaultBackupEligibility": True, "defaultBackupState": True}

EVENTS = ("credentialAdded", "credentialAsserted", "credentialUpdated", "credentialDeleted")
WITHIN_SECONDS = 5

# So that a test knows when a page has begun to ask for a passkey: nothing can be seen of a request that stays open.
WATCH = """
const get = navigator.credentials.get.bind(navigator.credentials);
navigator.credentials.get = (options) => { window.asked = true; return get(options); };
"""


class PasskeyDevice:
    """Attached to one tab, for all pages it shows; a tab without one waits for ever. It touches itself at once."""

    def __init__(self, page: Page, kind: dict[str, Any] = THIS_DEVICE) -> None:
        self._page = page
        self._seen: list[tuple[str, dict[str, Any]]] = []
        self._chromium = page.context.new_cdp_session(page)
        for event in EVENTS:
            self._chromium.on(f"WebAuthn.{event}", lambda told, event=event: self._seen.append((event, told)))
        self._chromium.send("WebAuthn.enable", {"enableUI": False})
        added = self._chromium.send("WebAuthn.addVirtualAuthenticator", {"options": kind})
        self._id = {"authenticatorId": added["authenticatorId"]}
        page.add_init_script(WATCH)

    @property
    def passkeys(self) -> list[dict[str, Any]]:
        return self._send("getCredentials")["credentials"]

    def refuses(self) -> None:
        """The fingerprint does not match; for a page the same as somebody who cancels."""
        self._send("setUserVerified", isUserVerified=False)

    def agrees(self) -> None:
        self._send("setUserVerified", isUserVerified=True)

    def waits(self) -> None:
        """Nobody is there to touch it, so what is asked from now on stays open, in real life's usual state."""
        self._send("setAutomaticPresenceSimulation", enabled=False)

    def touches(self) -> None:
        """Somebody is there again. What was asked before stays open all the same."""
        self._send("setAutomaticPresenceSimulation", enabled=True)

    def is_asked(self) -> None:
        """Wait until the page that is shown has asked for a passkey."""
        self._wait_for(lambda: self._page.evaluate("window.asked"), "a question")

    def lies(self, **bits: bool) -> None:
        """Change its answers: isBogusSignature, isBadUV, isBadUP. Without any, it tells the truth again."""
        self._send("setResponseOverrideBits", **bits)

    def sets_counter(self, count: int) -> None:
        self._send("setCredentialProperties", credentialId=self.passkeys[0]["credentialId"], signCount=count)

    def notices(self, event: str, **credential: str) -> None:
        """Wait until the device has been told this, of a credential with these properties."""
        self._wait_for(
            lambda: any(
                name == event and credential.items() <= told.get("credential", {}).items() for name, told in self._seen
            ),
            event,
        )

    def _wait_for(self, look: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + WITHIN_SECONDS
        while not (found := look()):
            assert time.monotonic() < deadline, f"no {what}, but {[name for name, _ in self._seen]}"
            self._page.wait_for_timeout(20)  # events come in only while Playwright waits
        return found

    def _send(self, command: str, **parameters: Any) -> dict[str, Any]:
        return self._chromium.send(f"WebAuthn.{command}", self._id | parameters)
