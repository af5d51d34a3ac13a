"""What create_app has wired together, for the views to reach."""

from collections.abc import Callable
from dataclasses import dataclass

from flask import current_app

from auth.administration import Administration
from auth.assurance import Policy
from auth.gateway import Gateway
from auth.notices import Notices
from auth.passkey_flows import PasskeyFlows
from auth.recovery_flows import RecoveryCodes
from auth.tokens import Issuer
from auth.totp import AuthenticatorApps
from auth.vault import Vault


@dataclass(frozen=True)
class Services:
    gateway: Gateway
    vault: Vault
    issuer: Issuer
    apps: AuthenticatorApps
    passkeys: PasskeyFlows
    codes: RecoveryCodes
    notices: Notices
    administration: Administration
    policy: Policy
    clock: Callable[[], float]  # Unix time
    mailbox_url: str | None


def services() -> Services:
    found: Services = current_app.extensions["stepup"]
    return found
