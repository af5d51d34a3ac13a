"""How often one address may ask, and whose address counts.

Each test asks from addresses of its own, under settings that have the limits and believe Sb-Forwarded-For.
"""

import secrets

import pytest

from local_supabase.auth_api import limits
from local_supabase.auth_api.errors import Refused
from local_supabase.platform import Config, RateLimits

BURST = 30
NOBODY = {"email": "nobody@example.com", "password": "x"}
REFUSED = (429, "over_request_rate_limit")


@pytest.fixture
def limited(people_with):
    # None fills up again: on a busy machine a burst takes so long that it would.
    never = RateLimits(token_refresh=0, token_verifications=0, sign_in_sign_ups=0, mfa_per_minute=0)
    return people_with(rate_limits=never, sb_forwarded_for=True)


@pytest.fixture
def from_address(limited):
    """Ask as an app with the secret key does for one of its visitors."""

    def ask(address, method, path, body=None, **options):
        headers = {"apikey": limited.wire.server.secret_key, "Sb-Forwarded-For": address}
        return limited.wire(method, path, body or {}, headers=headers, **options)

    return ask


def _address():
    return f"fd00::{secrets.randbits(16):x}:{secrets.randbits(16):x}"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/token?grant_type=password"),
        ("POST", "/verify"),
        ("GET", "/verify"),
        ("POST", "/signup"),
        ("POST", "/otp"),
        ("POST", "/magiclink"),
        ("POST", "/recover"),
        ("POST", "/resend"),
    ],
)
def test_after_thirty_requests_an_address_waits_and_another_does_not(from_address, method, path):
    """49: bad requests count like good ones; no Retry-After."""
    mine, other = _address(), _address()
    body = {"email": "no address"} if path in ("/signup", "/magiclink") else {}
    answers = [from_address(mine, method, path, body) for _ in range(BURST + 2)]
    assert 429 not in {answer.status for answer in answers[:BURST]}
    assert answers[-1].refusal == REFUSED
    assert "Retry-After" not in answers[-1].headers
    assert from_address(other, method, path, body).status != 429


def test_password_refresh_and_pkce_share_one_bucket(from_address):
    """49."""
    mine = _address()
    for _ in range(BURST // 3 + 1):
        for grant in ("password", "refresh_token", "pkce"):
            last = from_address(mine, "POST", f"/token?grant_type={grant}")
    assert last.refusal == REFUSED
    assert from_address(mine, "POST", "/recover").status != 429


def test_account_changes_are_limited_after_the_token_was_checked(from_address, limited):
    """49, 1.9: and reading the account is not."""
    token = limited.add().sign_in().access_token
    mine = _address()
    answers = [from_address(mine, "PUT", "/user", token=token) for _ in range(BURST + 2)]
    assert answers[0].status == 200
    assert answers[-1].refusal == REFUSED
    assert from_address(mine, "PUT", "/user", token="not.a.token").refusal == (403, "bad_jwt")
    assert from_address(mine, "GET", "/user", token=token).status == 200


def test_challenges_and_codes_are_limited_apart(from_address, limited):
    """49, 1.9: two buckets, after the factor was found; enrolling and removing have none."""
    phone = limited.add().sign_in()
    factor = phone.enroll()
    mine = _address()
    for verb in ("challenge", "verify"):
        path = f"/factors/{factor['id']}/{verb}"
        answers = [from_address(mine, "POST", path, token=phone.access_token) for _ in range(BURST + 2)]
        assert 429 not in {answer.status for answer in answers[:BURST]}
        assert answers[-1].refusal == REFUSED
    assert from_address(mine, "POST", "/factors/8f9d2c9e-0000-4000-8000-000000000000/verify").status != 429
    assert from_address(mine, "DELETE", f"/factors/{factor['id']}", token=phone.access_token).status == 200


@pytest.mark.parametrize("key", ["publishable_key", "nothing"])
def test_without_the_secret_key_a_forwarded_address_changes_nothing(limited, key):
    """19: a visitor who could choose an address would escape every limit."""
    sent = {} if key == "publishable_key" else {"apikey": ""}
    answers = [
        limited.wire("GET", "/verify", headers={"Sb-Forwarded-For": _address(), **sent}) for _ in range(BURST + 2)
    ]
    assert answers[-1].refusal == REFUSED


def test_switched_off_a_forwarded_address_changes_nothing_even_with_the_secret_key(people_with):
    """19."""
    people = people_with(rate_limits=RateLimits(token_verifications=0))
    key = people.wire.server.secret_key
    answers = [
        people.wire("POST", "/verify", {}, headers={"apikey": key, "Sb-Forwarded-For": _address()})
        for _ in range(BURST + 2)
    ]
    assert answers[-1].refusal == REFUSED


def test_a_challenge_is_bound_to_the_forwarded_address(from_address, limited, database):
    """18, 19; and the session shows it. What is no address is ignored."""
    person = limited.add()
    phone = person.sign_in()
    factor = phone.enroll()
    key = limited.wire.server.secret_key

    def via(address):
        return {"headers": {"apikey": key, "Sb-Forwarded-For": address}}

    mine = _address()
    challenge = phone.challenge(factor, **via(f" {mine.upper()} , 10.0.0.1"))
    assert phone.verify(factor, challenge, **via(_address())).refusal == (422, "mfa_ip_address_mismatch")
    assert phone.verify(factor, challenge).refusal == (422, "mfa_ip_address_mismatch")
    assert phone.verify(factor, challenge, **via(mine)).status == 200
    body = {"email": person.email, "password": person.password}
    for address, shown in ((mine, mine), ("::ffff:10.1.2.3", "::ffff:10.1.2.3"), ("fe80::1%eth0", "127.0.0.1")):
        answer = from_address(address, "POST", "/token?grant_type=password", body)
        assert answer.status == 200
        ip = "select ip = %s::inet from auth.sessions where user_id = %s order by created_at desc limit 1"
        assert database.execute(ip, [shown, person.id]).fetchone() == (True,)


def test_the_mails_of_an_hour_are_limited(people_with, mails):
    """49, 1.9: of the whole server; a refused one is not sent and changes nothing."""
    people = people_with(rate_limits=RateLimits(emails_per_hour=2))
    addresses = [people.free_address() for _ in range(3)]
    answers = [people.sign_up(address) for address in addresses]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].refusal == (429, "over_email_send_rate_limit")
    assert mails(addresses[2]) == []


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def _allowed(limiter, limit, address="10.0.0.1"):
    """How often the address may ask at once."""
    for count in range(1000):
        try:
            limiter.check(limit, address)
        except Refused:
            return count
    return 1000


def test_a_bucket_fills_up_again_drop_by_drop(clock):
    """1.9: 150 in five minutes are one in two seconds, and never more than 30 at once."""
    limiter = limits.Limiter(Config("http://x", rate_limits=RateLimits()), clock)
    assert _allowed(limiter, limits.TOKEN) == BURST
    clock.now += 10
    assert _allowed(limiter, limits.TOKEN) == 5
    clock.now += 3000
    assert _allowed(limiter, limits.TOKEN) == BURST


def test_a_bucket_for_codes_is_new_after_a_minute(clock):
    """1.9: so that 30 and 15 more are what an address has in a minute."""
    limiter = limits.Limiter(Config("http://x", rate_limits=RateLimits()), clock)
    assert _allowed(limiter, limits.FACTOR_VERIFY) == BURST
    clock.now += 59
    assert 14 <= _allowed(limiter, limits.FACTOR_VERIFY) <= 15
    clock.now += 1
    assert _allowed(limiter, limits.FACTOR_VERIFY) == BURST


def test_old_buckets_are_swept_out(clock):
    """Addresses are cheap to come by, memory is not."""
    limiter = limits.Limiter(Config("http://x", rate_limits=RateLimits()), clock)
    for number in range(100):
        limiter.check(limits.TOKEN, f"fd00::{number:x}")
    clock.now += 3601
    limiter.check(limits.TOKEN, "10.0.0.1")
    assert len(limiter._buckets) == 1


def test_the_mails_are_counted_anew_each_hour(clock):
    """1.9: a fixed window."""
    limiter = limits.Limiter(Config("http://x", rate_limits=RateLimits(emails_per_hour=1)), clock)
    limiter.check_mail()
    with pytest.raises(Refused):
        limiter.check_mail()
    clock.now += 3600
    limiter.check_mail()


def test_nothing_is_limited_where_no_limits_are_set(clock):
    limiter = limits.Limiter(Config("http://x"), clock)
    assert _allowed(limiter, limits.TOKEN) == 1000
    limiter.check_mail()
