"""The rights to look and to command: log-in, roles, sessions that end, guesses, and forms of other sites."""

from __future__ import annotations

import stat
from pathlib import Path
from urllib.parse import quote

import pytest

from edge.dashboard.guard import SESSION_COOKIE
from edge.dashboard.users import ENDS_S, IDLE_S, LINK_S, VIEWER_ENDS_S, Guesses, Role, UserFile, hashed
from edge.errors import SettingsError
from tests.edge.dashboard.stations import PLACE, Bench, alarm, bench, message

PASSWORD = "a long enough one"  # noqa: S105 - of users that a test makes


def with_users(site: Bench, **roles: Role) -> None:
    """Write users into the file."""
    site.users.save({name: hashed(name, role, PASSWORD) for name, role in roles.items()})


def log_in(site: Bench, name: str, password: str = PASSWORD) -> int:
    """Log in by the form; return the status."""
    return site.browser.post("/login", data={"name": name, "password": password, "back": "/alarms"}).status_code


def csrf_of(site: Bench) -> str:
    """Return the token that the forms of the page carry."""
    return site.browser.get("/alarms").text.partition('name="csrf" value="')[2].partition('"')[0]


def test_without_users_everybody_on_the_device_may_look_and_nobody_command(tmp_path: Path) -> None:
    """Pages answer, a form does not, and the page says how to add a user."""
    with bench(tmp_path) as site:
        site.online()
        site.hear(message("alarm/scratches", alarm(), 1))
        page = site.browser.get("/alarms")
        assert page.status_code == 200
        assert "linewatch dashboard-user" in page.text
        assert "<button" not in page.text
        assert site.browser.post("/alarms/act", data={"act": "ack", "place": PLACE}).status_code == 403


def test_with_users_nobody_looks_without_logging_in(tmp_path: Path) -> None:
    """Pages lead to the log-in and back, streams say 401, pictures and data too; the stylesheet answers."""
    with bench(tmp_path) as site:
        with_users(site, anna="operator")
        site.online()
        answer = site.browser.get("/alarms?place=x")
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?back=" + quote("/alarms?place=x"))
        assert site.browser.get("/live/wall").status_code == 401
        assert site.browser.get(f"/picture/{PLACE}").status_code == 303
        assert site.browser.get("/static/page.css").status_code == 200
        assert log_in(site, "anna", "wrong password") == 403
        assert log_in(site, "nobody") == 403
        assert log_in(site, "anna") == 303
        assert site.browser.get("/alarms").status_code == 200
        kinds = site.history
        kinds.flush()
        rows = kinds.rows("SELECT user, outcome FROM journal WHERE kind = 'login' ORDER BY id")
        assert [tuple(row) for row in rows] == [("anna", "refused"), ("nobody", "refused"), ("anna", "ok")]


def test_the_cookie_is_one_that_no_script_and_no_other_site_gets(tmp_path: Path) -> None:
    """HttpOnly, SameSite=Strict, and Secure where the pages are served with TLS."""
    for tls in (None, {"cert_file": "c", "key_file": "k"}):
        folder = tmp_path / str(bool(tls))
        folder.mkdir()
        with bench(folder, tls=tls) as site:
            with_users(site, anna="operator")
            answer = site.browser.post("/login", data={"name": "anna", "password": PASSWORD})
            cookie = answer.headers["set-cookie"].lower()
            assert cookie.startswith(SESSION_COOKIE)
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert ("secure" in cookie) == bool(tls)


@pytest.mark.parametrize(("name", "status"), [("vera", 403), ("anna", 404), ("erik", 404), ("adam", 404)])
def test_a_role_is_enough_or_not(tmp_path: Path, name: str, status: int) -> None:
    """A viewer's form is refused unread; an operator's, and any higher one's, is taken (here: no such act)."""
    with bench(tmp_path) as site:
        with_users(site, vera="viewer", anna="operator", erik="engineer", adam="admin")
        site.online()
        log_in(site, name)
        form = {"csrf": csrf_of(site), "act": "no such act", "place": PLACE}
        assert site.browser.post("/alarms/act", data=form).status_code == status


def test_a_form_without_its_token_or_from_elsewhere_is_refused(tmp_path: Path) -> None:
    """No token, another's, an origin or a fetch of another site: 403. A foreign host name: 421."""
    with bench(tmp_path) as site:
        with_users(site, anna="operator")
        site.online()
        log_in(site, "anna")
        form = {"csrf": csrf_of(site), "act": "none", "place": PLACE}
        post = site.browser.post
        assert post("/alarms/act", data=form).status_code == 404
        assert post("/alarms/act", data={**form, "csrf": "x"}).status_code == 403
        assert post("/alarms/act", data={"act": "none"}).status_code == 403
        assert post("/alarms/act", data=form, headers={"Origin": "http://evil.example"}).status_code == 403
        assert post("/alarms/act", data=form, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert post("/alarms/act", data={**form, "comment": "x" * 20_000}).status_code == 413
        assert site.browser.get("/", headers={"Host": "evil.example"}).status_code == 421


def test_sessions_end(tmp_path: Path) -> None:
    """Idle: an operator may only look. After half a day: logged out. A viewer's wall stays for a month."""
    with bench(tmp_path) as site:
        with_users(site, anna="operator", vera="viewer")
        access = site.access
        token, _ = access.log_in("anna", PASSWORD, "here")
        wall, _ = access.log_in("vera", PASSWORD, "here")

        def role(of: str | None, *, acts: bool = False) -> str | None:
            session = access.session(of, acts=acts)
            return session and session.role

        site.clock.move(IDLE_S - 1)
        assert role(token, acts=True) == "operator"
        site.clock.move(IDLE_S - 1)
        assert role(token) == "operator"
        site.clock.move(1)
        assert role(token, acts=True) == "viewer"
        site.clock.move(ENDS_S)
        assert role(token) is None
        assert role(wall) == "viewer"
        site.clock.move(VIEWER_ENDS_S)
        assert role(wall) is None


def test_who_is_removed_or_changed_is_out_at_once(tmp_path: Path) -> None:
    """A session ends with its user, and with the role that it was begun with; logging out ends it too."""
    with bench(tmp_path) as site:
        with_users(site, anna="operator", erik="engineer")
        site.online()
        log_in(site, "anna")
        assert site.browser.get("/alarms").status_code == 200
        with_users(site, anna="viewer", erik="engineer")
        assert site.browser.get("/alarms").status_code == 303
        log_in(site, "erik")
        assert site.browser.post("/logout", data={"csrf": csrf_of(site)}).status_code == 303
        assert site.browser.get("/alarms").status_code == 303
        log_in(site, "erik")
        with_users(site, anna="viewer")
        assert site.browser.get("/alarms").status_code == 303


def test_a_one_time_link_serves_once_and_not_for_long(tmp_path: Path) -> None:
    """The first who opens it is an operator. A second, a late and an invented one are told to log in."""
    with bench(tmp_path) as site:
        link = site.access.one_time_link("demo", "operator")
        assert site.browser.get(f"/enter/{link}").status_code == 303
        assert "demo · operator" in site.browser.get("/wall").text
        assert site.browser.get(f"/enter/{link}").status_code == 403
        assert site.browser.get("/enter/invented").status_code == 403
        late = site.access.one_time_link("demo", "operator")
        site.clock.move(LINK_S)
        assert site.browser.get(f"/enter/{late}").status_code == 403


def test_guessing_is_slowed_down() -> None:
    """Five tries are free; then each waits twice as long as the one before, up to five minutes; success forgets."""
    guesses, now_s, waits = Guesses(), 0.0, []
    for _ in range(16):
        waits.append(guesses.wait_s("anna", now_s))
        now_s += waits[-1]
        guesses.wrong("anna", now_s)
    assert waits == [0, 0, 0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert guesses.wait_s("erik", now_s) == 0
    guesses.right("anna")
    assert guesses.wait_s("anna", now_s) == 0


def test_after_wrong_guesses_even_the_right_password_waits(tmp_path: Path) -> None:
    """Otherwise who guesses would be told by the answer when they are right."""
    with bench(tmp_path) as site:
        with_users(site, anna="operator")
        for _ in range(5):
            assert log_in(site, "anna", "wrong password") in {403, 429}
        assert log_in(site, "anna") == 429
        site.clock.move(10)
        assert log_in(site, "anna") == 303


def test_the_file_has_no_password_and_is_for_its_user_only(tmp_path: Path) -> None:
    """Mode 0600, hashes with a salt each; one that others may read lets nobody in."""
    file = UserFile(tmp_path / "users.json")
    file.save({name: hashed(name, "operator", PASSWORD) for name in ("anna", "berta")})
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert PASSWORD not in file.path.read_text()
    users = file.users()
    assert users["anna"].hash != users["berta"].hash
    file.path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 0600"):
        UserFile(file.path).users()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"users": 3}',
        '{"users": [{"name": "a"}]}',
        '{"users": [{"name": "../a", "role": "admin", "salt": "00", "hash": "00"}]}',
        '{"users": [{"name": "a", "role": "god", "salt": "00", "hash": "00"}]}',
    ],
)
def test_a_broken_file_of_users_lets_nobody_in(tmp_path: Path, text: str) -> None:
    """It is told as one, and counts as users: no page is open to everybody because of it."""
    with bench(tmp_path) as site:
        site.users.path.write_text(text)
        site.users.path.chmod(0o600)
        with pytest.raises(SettingsError, match="no file of users"):
            site.users.users()
        assert site.access.has_users
        assert site.browser.get("/wall").status_code == 303


@pytest.mark.parametrize("password", ["", "short", "x" * 201])
def test_a_poor_password_is_refused(password: str) -> None:
    """Ten characters at least, two hundred at most."""
    with pytest.raises(SettingsError, match="Expected a password of 10 to 200 characters"):
        hashed("anna", "operator", password)


@pytest.mark.parametrize(
    "back", ["//evil.example", "http://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\nb"]
)
def test_nobody_is_led_to_another_site(tmp_path: Path, back: str) -> None:
    """After log-in, and after choosing a language, a page of ours follows."""
    with bench(tmp_path) as site:
        with_users(site, anna="operator")
        answer = site.browser.post("/login", data={"name": "anna", "password": PASSWORD, "back": back})
        assert answer.headers["location"] == "/"
        assert site.browser.get("/language", params={"to": "de", "back": back}).headers["location"] == "/"
