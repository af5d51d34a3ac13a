"""Notes: written and read with the person's own token."""

import pytest

from tests.people import form


def write(browser, text):
    page = form(browser.get("/account"), "/account")
    page["body"] = text
    return page.submit()


def test_a_note_is_written_read_and_deleted(alice_at_aal2):
    assert write(alice_at_aal2, "Milk\nand <b>bread</b>").location == "/account"
    page = alice_at_aal2.get("/account")
    assert page.html.select_one(".note").get_text() == "Milk\nand <b>bread</b>"
    delete = next(form for form in page.forms.values() if form.action.endswith("/delete"))
    assert "was deleted" in delete.submit().follow()
    assert "Nothing yet" in alice_at_aal2.get("/account")


def test_nobody_reads_or_deletes_anothers_note(new_person):
    alice, bob = new_person("alice"), new_person("bob")
    hers, his = alice.signs_in(), bob.signs_in()
    write(hers, "hers alone")
    delete = next(form for form in hers.get("/account").forms.values() if form.action.endswith("/delete"))
    assert "hers alone" not in his.get("/account")
    token = form(his.get("/account"), "/account")["csrf_token"].value
    his.post(delete.action, {"csrf_token": token})
    assert "hers alone" in hers.get("/account")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "Write something first."), ("  \n ", "Write something first."), ("x" * 2001, "Use at most 2000 characters.")],
)
def test_a_note_that_will_not_do_gets_a_sentence_and_keeps_its_text(alice, text, sentence):
    page = write(alice.signs_in(), text)
    assert page.status_code == 422
    assert sentence in page
    assert form(page, "/account")["body"].value.strip() == text.strip()
