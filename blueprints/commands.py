"""`flask cleanup` and `flask doctor`: for whoever runs this."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask

from auth import migrations
from auth.doctor import examine
from auth.findings import Setup

if TYPE_CHECKING:  # app.py imports this file
    from app import Settings


def register(app: Flask, settings: "Settings", clock: Callable[[], float]) -> None:
    gateway = app.extensions["stepup"].gateway

    @app.cli.command("cleanup")
    def cleanup() -> None:
        """Delete what has outlived its purpose: see docs/data.md."""
        deleted = gateway.call(
            "cleanup",
            dict,
            p_session_days=settings.session_days,
            p_log_days=settings.log_days,
            p_address_days=settings.address_days,
        )
        for what, count in deleted.items():
            print(f"{count:6}  {what}")

    @app.cli.command("doctor")
    def doctor() -> None:
        """Check the settings and the guards of the connected Supabase, and say what to do."""
        setup = Setup(
            supabase_url=settings.supabase_url.rstrip("/"),
            public_url=settings.public_url,
            publishable_key=settings.supabase_publishable_key,
            secret_key=settings.supabase_secret_key.get_secret_value(),
            app_secret=settings.secret_key.get_secret_value(),
            vault_keys=tuple(key.get_secret_value() for key in settings.vault_keys),
            peppers={name: secret.decode() for name, secret in app.extensions["stepup"].codes.peppers.items()},
        )
        promise = migrations.read(Path(app.root_path) / "supabase" / "migrations")
        report = examine(gateway, setup, promise, clock)
        for finding in report:
            print(f"{finding.level:4}  {finding.about}: {finding.sentence}")
        if any(finding.level == "bad" for finding in report):
            raise SystemExit(1)
