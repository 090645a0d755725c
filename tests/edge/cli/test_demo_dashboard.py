"""The pages beside the demo: what it says of them, at 80 columns too, and that its summary stays what it was."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from edge.cli.demo import demo_settings
from edge.cli.demo_dashboard import DemoPages, demo_pages, with_evidence
from edge.publishers.embedded_broker import EmbeddedBroker
from tests.conftest import ROOT


def test_what_is_said_of_the_pages_fits_into_80_columns() -> None:
    """The link too, which cannot be broken into two lines."""
    pages = DemoPages("http://127.0.0.1:65535/", f"http://127.0.0.1:65535/enter/{'x' * 32}")
    assert [line for line in pages.lines if len(line) > 80] == []
    assert any(line.strip() == pages.link for line in pages.lines)


def test_two_demos_have_pages_of_their_own(tmp_path: Path) -> None:
    """The second takes another port; each page is that of its own station, and its link opens once."""
    with EmbeddedBroker() as broker:
        settings = with_evidence(demo_settings(broker.host, broker.port), tmp_path)
        assert settings.evidence.folder == tmp_path / "evidence"
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
        with demo_pages(settings, tmp_path / "a") as one, demo_pages(settings, tmp_path / "b") as other:
            assert one.url != other.url
            for pages in (one, other):
                assert pages.link.startswith(f"{pages.url}enter/")
                with urllib.request.urlopen(pages.url, timeout=120) as answer:  # noqa: S310 - an address of ours
                    assert "demo/site/area/line/cell" in answer.read().decode()


@pytest.mark.soak
def test_a_headless_demo_with_pages_has_the_same_summary(tmp_path: Path) -> None:
    """Every key of the README's table, and no other; the pages are told of."""
    path = tmp_path / "summary.json"
    command = ["demo", "--headless", "--dashboard", "--frames", "240", "--summary", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", "edge", *command], capture_output=True, text=True, timeout=280, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"http://127\.0\.0\.1:\d+/enter/\S{32}", done.stdout)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", readme.split("key of the summary")[1], re.MULTILINE)
    assert set(json.loads(path.read_text())) == {name for row in rows for name in re.findall(r"`(\w+)`", row)}
