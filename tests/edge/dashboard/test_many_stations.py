"""An alarm of a site of many stations waits neither behind results nor for a page's next look."""

from __future__ import annotations

import http.client
import time
from datetime import timedelta
from pathlib import Path

from edge.dashboard.counting import counts
from edge.dashboard.serving import dashboard
from edge.dashboard.settings import DashboardSettings, HistorySettings, ListenSettings
from edge.dashboard.site import PICTURES_FOR_S
from edge.publishers.broker_settings import BrokerSettings
from edge.publishers.subscriber import Desk
from edge.records import Connected, Received
from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.edge.dashboard.stations import (
    EPOCH,
    NOW,
    OCCURRENCE,
    PLACE,
    ROOT,
    alarm,
    bench,
    envelope,
    message,
    part,
)
from tests.edge.dashboard.test_collector import hearing, say

JPEG = b"\xff\xd8\xff a picture"


def test_an_open_page_shows_an_alarm_at_once_and_not_at_its_next_look(tmp_path: Path) -> None:
    """Alarms, and the station's own page, are drawn anew when an alarm is told, however seldom they look else."""
    settings = DashboardSettings(
        broker=BrokerSettings(port=1),
        sites=(PLACE,),
        listen=ListenSettings(port=0),
        users=tmp_path / "users.json",
        history=HistorySettings(path=tmp_path / "history.db"),
    )
    with dashboard(settings) as served:
        served.pages.tick_s = 3_600.0
        port = int(served.url.rstrip("/").rpartition(":")[2])
        for number, path in enumerate((f"/live/station/{PLACE}", "/live/alarms")):
            page = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            page.request("GET", path)
            stream = page.getresponse()
            assert stream.status == http.client.OK, path
            while not stream.readline().startswith(b"event: tick"):
                pass
            told = alarm(alarm=f"alarm-{number}", occurrence_id=f"{OCCURRENCE[:-1]}{number}")
            served.site.take(message(f"alarm/alarm-{number}", told))
            while f"alarm-{number}".encode() not in stream.readline():
                pass
            page.close()


def test_an_alarm_has_room_beside_any_number_of_results(tmp_path: Path) -> None:
    """Results have a connection of their own: more than there is room for take nothing from what is urgent."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "nothing") as station:
        desk = Desk(BrokerSettings(port=broker.port), ["site/alarm"], "desk", ["site/result"], waiting=5)
        heard: list[str] = []

        def hear() -> None:
            heard.extend(event.topic for event in desk.events() if isinstance(event, Received))

        with desk:
            wait_for(lambda: hear() or desk.listening)
            for number in range(20):
                station.publish("site/result", b"%d" % number)
            station.publish("site/alarm", b"raised")
            wait_for(lambda: hear() or "site/alarm" in heard)


def test_what_was_retained_and_found_no_room_is_asked_for_again(tmp_path: Path) -> None:
    """A dashboard that comes to a site with more retained topics than its room knows all in the end."""
    topics = {f"site/alarm/{number}" for number in range(40)}
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "nothing") as station:
        for topic in topics:
            station.publish(topic, b"stands", retain=True)
        desk = Desk(BrokerSettings(port=broker.port), ["site/alarm/+"], "desk", waiting=25)
        heard: set[str] = set()

        def hear() -> None:
            heard.update(event.topic for event in desk.events() if isinstance(event, Received))

        with desk:
            wait_for(lambda: hear() or heard >= topics)


def test_pictures_come_of_stations_that_somebody_looks_at_and_of_no_others(tmp_path: Path) -> None:
    """A picture is heard while a page asks for it and no longer, even after the broker was away."""
    ahead_ns, sent = [0], [0]
    with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "nothing") as station,
        hearing(tmp_path, broker.port, monotonic_ns=lambda: time.monotonic_ns() + ahead_ns[0]) as (site, _),
    ):

        def comes() -> bool:
            """Show a picture, and a result behind it; tell whether the picture is there when the result is."""
            sent[0] += 1
            station.publish(f"{ROOT}/image/last", JPEG)
            say(station, "event/result", part(sent[0]), sent[0])
            wait_for(lambda: site.picture_of(PLACE)["complete"].came == sent[0])
            return site.picture_bytes(PLACE) is not None

        assert not comes()
        site.look_at(PLACE)
        wait_for(comes)
        broker.stop()
        wait_for(lambda: site.broker_trouble is not None)
        broker.start()
        wait_for(lambda: site.broker_trouble is None)
        number = site.picture_of(PLACE)["picture_number"]
        site.look_at(PLACE)
        wait_for(lambda: comes() and site.picture_of(PLACE)["picture_number"] > number)
        ahead_ns[0] += round(2e9 * PICTURES_FOR_S)
        wait_for(lambda: not comes())
        assert site.pictures_wanted() == []


def test_an_open_page_of_a_station_is_drawn_at_once_when_its_first_picture_comes(tmp_path: Path) -> None:
    """To open the page is to ask for pictures. The first one changes what an open page waits for, the next does not."""
    with bench(tmp_path) as given:
        given.online()
        assert given.site.pictures_wanted() == []
        assert "/picture/" not in given.browser.get(f"/station/{PLACE}").text
        assert given.site.pictures_wanted() == [PLACE]
        changes = given.site.alarm_changes(PLACE)
        given.site.take(Received(f"{ROOT}/image/last", JPEG))
        assert given.site.alarm_changes(PLACE) == changes + 1
        given.site.take(Received(f"{ROOT}/image/last", JPEG))
        assert given.site.alarm_changes(PLACE) == changes + 1
        assert f"/picture/{PLACE}?2" in given.browser.get(f"/station/{PLACE}").text
        assert given.browser.get(f"/picture/{PLACE}").content == JPEG


def test_missing_events_of_many_stations_are_asked_for_in_turn(tmp_path: Path) -> None:
    """After a gap not all stations send at once; each is asked in its turn, for all that it has."""
    with bench(tmp_path, stale_s=600.0) as given:
        places = [f"acme/ulm/glass/l1/s{number}" for number in range(30)]
        given.site.take(Connected(session_present=False))
        for committed in (1, 2_001, 2_001):
            given.clock.move(11)
            for place in places:
                told = {"status": "online", "reason": "inspecting"}
                given.site.take(Received(f"{place}/inspect/v1/status", envelope(told)))
                given.site.take(Received(f"{place}/inspect/v1/seq", envelope({"committed": committed})))
        given.site.take(
            Received(f"{places[0]}/inspect/v1/status", envelope({"status": "offline", "reason": "stopped"}))
        )
        asked: list[tuple[str, str, int, int]] = []
        most = 0
        for _ in range(600):
            found = given.site.wishes()
            most = max(most, sum(last - first + 1 for _, _, first, last in found))
            asked += [wish for wish in found if wish not in asked]
            given.clock.move(0.1)
        assert most <= 5_000 + 2_001
        assert {place for place, *_ in asked} == set(places[1:])
        assert {(first, last) for _, _, first, last in asked} == {(1, 2_001)}


def test_counts_that_are_kept_are_those_of_the_whole_history(tmp_path: Path) -> None:
    """New rows, late rows, challenges and a second station: what is added comes to what counting anew does."""
    with bench(tmp_path) as given:
        tallies, begins_ms = given.pages.tallies, round(NOW.timestamp() * 1000) - 60_000

        def same() -> bool:
            now = [tallies.counts(PLACE, since) for since in (begins_ms, begins_ms + 30_000)]
            return now == [counts(given.history, PLACE, since, 2**62) for since in (begins_ms, begins_ms + 30_000)]

        given.online()
        assert same()
        seen = []
        for round_of in range(4):
            for number in range(3):
                seq = 3 * round_of + number + 1
                at = NOW - timedelta(seconds=(10, 40, 90)[number])
                verdict = ("OK", "NG", "NO_READ", "OK")[round_of]
                told = part(seq, verdict, at=at, closed_at=at.isoformat(), challenge=seq == 5)
                given.hear(message("event/result", told, seq))
            other = Received(ROOT.replace("c1", "c2") + "/event/result", envelope(part(1, "NG"), 1, epoch=EPOCH))
            given.hear(other)
            given.clock.move(tallies.KEPT_S + 0.1)
            assert same()
            seen.append(tallies.counts(PLACE, begins_ms).all)
        assert seen == [2, 3, 5, 7]
        given.history.write("DELETE FROM result WHERE verdict = 'OK'").result(60)
        given.clock.move(tallies.ANEW_S)
        assert same()
