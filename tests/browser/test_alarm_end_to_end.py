"""An operator acknowledges an alarm: browser → dashboard → broker → station and back, by mouse and by keyboard."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.brokers import wait_for
from tests.browser.conftest import PASSWORD, PLACE, Plant
from tests.browser.watched_page import watched_page


def alarms(plant: Plant) -> dict[str, dict[str, object]]:
    """Return the alarms as the dashboard heard of them."""
    return {row["alarm"]: row for row in plant.dashboard.site.picture_of(PLACE)["alarms"]}


def test_an_operator_shelves_acknowledges_and_sees_the_answers_by_keyboard_alone(
    browser: Browser, plant: Plant
) -> None:
    """From log-in to the line's answer no mouse is needed; the line's own retained alarm has the name and comment."""
    with watched_page(browser, plant.url) as (page, _):
        page.goto(f"{plant.url}/alarms")
        page.wait_for_url(f"{plant.url}/login?back=/alarms")
        page.locator("#name").focus()
        page.keyboard.type("anna")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{plant.url}/alarms")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == "Acknowledge with a comment":
                break
        page.keyboard.press("Enter")
        page.wait_for_url("**/alarms/act?**")
        page.locator("#comment").focus()
        page.keyboard.type("belt wiped <b>")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/alarms?answer=*")
        expect(page.get_by_role("status").first).to_contain_text("the line answers")
        expect(page.get_by_role("status").first).to_contain_text("done")
        wait_for(lambda: alarms(plant)["scratched"]["state"] == "acknowledged")
        told = alarms(plant)["scratched"]
        assert (told["user"], told["comment"]) == ("anna", "belt wiped <b>")
        expect(page.get_by_role("article", name="scratched")).to_contain_text("anna: belt wiped <b>")
        page.get_by_role("link", name="Shelve: scratched").click()
        page.fill("#comment", "until the break")
        page.click("form.login button")
        page.wait_for_url("**/alarms?answer=*")
        expect(page.get_by_text("Put aside: 1")).to_be_visible()
        expect(page.get_by_text("left · anna: until the break")).to_be_visible()
        page.get_by_role("link", name="Take from the shelf: scratched").click()
        page.click("form.login button")
        page.wait_for_url("**/alarms?answer=*")
        expect(page.get_by_text("To be seen: 1")).to_be_visible()
    plant.dashboard.site.history.flush()
    rows = plant.dashboard.site.history.rows("SELECT kind, user, subject, outcome, detail FROM journal ORDER BY id")
    commands = [tuple(row) for row in rows if row["kind"].startswith("command-")]
    assert [(kind, user, outcome) for kind, user, _, outcome, _ in commands] == [
        ("command-ack", "anna", "ok"),
        ("command-shelve", "anna", "ok"),
        ("command-unshelve", "anna", "ok"),
    ]


def test_a_viewer_is_offered_no_command(browser: Browser, plant: Plant) -> None:
    """A viewer sees the alarm and no button, and a form of theirs is refused."""
    with watched_page(browser, plant.url) as (page, faults):
        plant.log_in(page, "vera")
        page.goto(f"{plant.url}/alarms")
        expect(page.get_by_role("article", name="scratched")).to_be_visible()
        expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)
        faults.allow("403")
        status = page.evaluate(
            "fetch('/alarms/act', {method: 'POST', body: new URLSearchParams({act: 'ack'})}).then(a => a.status)"
        )
        assert status == 403
