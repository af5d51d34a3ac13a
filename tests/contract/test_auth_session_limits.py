"""How long a session may live, under settings that limit it: found out when it is refreshed (3.4)."""

import pytest

EXPIRED = (400, "session_expired")


@pytest.fixture
def age(database):
    """Move a column of the device's session into the past."""

    def age(device, column, interval):
        database.execute(
            f"update auth.sessions set {column} = {column} - %s::interval where id = %s",
            [interval, device.claims["session_id"]],
        )

    return age


def test_a_time_box_ends_with_the_session_however_busy(people_with, age):
    """3.4: and not before a refresh."""
    phone = people_with(session_timebox_seconds=3600).add().sign_in()
    age(phone, "created_at", "59 minutes")
    assert phone.refresh().status == 200
    age(phone, "created_at", "2 minutes")
    assert phone.call("GET", "/user").status == 200
    assert phone.refresh().refusal == EXPIRED


def test_an_idle_session_ends(people_with, age, database):
    """3.4: counted from the last refresh, or from the login before there is one."""
    people = people_with(session_inactivity_seconds=3600)
    phone, fresh = people.add().sign_in(), people.add().sign_in()
    phone.refresh()
    age(phone, "refreshed_at", "59 minutes")
    assert phone.refresh().status == 200
    age(phone, "refreshed_at", "61 minutes")
    assert phone.refresh().refusal == EXPIRED
    age(fresh, "created_at", "61 minutes")
    database.execute(
        "update auth.refresh_tokens set updated_at = updated_at - interval '61 minutes' where session_id = %s",
        [fresh.claims["session_id"]],
    )
    assert fresh.refresh().refusal == EXPIRED


def test_somebody_with_a_factor_may_stay_at_aal1_for_a_while(people_with, age):
    """3.4, 2.1: and the token of that while does not outlive it."""
    people = people_with(session_low_aal_seconds=900)
    person = people.add()
    phone = person.sign_in()
    age(phone, "created_at", "1 hour")
    assert phone.refresh().status == 200, "without a factor there is nothing to prove"
    factor = phone.enroll()
    phone.step_up(factor)
    laptop = person.sign_in()
    assert laptop.claims["exp"] - laptop.claims["iat"] <= 900
    assert laptop.tokens["expires_in"] <= 900
    assert phone.claims["exp"] - phone.claims["iat"] == 3600
    age(laptop, "created_at", "16 minutes")
    assert laptop.refresh().refusal == EXPIRED
    assert phone.refresh().status == 200, "at aal2 it does not count"


def test_only_the_session_used_last_goes_on_where_one_is_wanted(people_with):
    """3.4."""
    person = people_with(single_session=True).add()
    phone, laptop = person.sign_in(), person.sign_in()
    assert phone.refresh().refusal == EXPIRED
    assert laptop.refresh().status == 200
    assert phone.call("GET", "/user").status == 200


def test_without_limits_an_old_session_goes_on(alices_phone, age):
    """3.4."""
    age(alices_phone, "created_at", "300 days")
    assert alices_phone.refresh().status == 200
