"""Debian's Chromium without a driver between: tabs that are really hidden when another one is looked at.

A driver keeps each of its pages visible; here the browser's own protocol goes through two pipes.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from types import TracebackType
from typing import Any

from typing_extensions import Self

from tests.brokers import wait_for

CHROMIUM = "/usr/bin/chromium"


class Tabs:
    """A browser of its own with one tab, the `first`."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="tabs-", ignore_cleanup_errors=True)
        heard, self._say = os.pipe()
        self._hear, said = os.pipe()
        program = (
            f"exec {CHROMIUM} --headless=new --no-sandbox --no-first-run --remote-debugging-pipe "
            f"--user-data-dir={self._folder.name} about:blank 3<&{heard} 4>&{said}"
        )
        self._process = subprocess.Popen(["bash", "-c", program], pass_fds=(heard, said), stderr=subprocess.DEVNULL)
        os.close(heard)
        os.close(said)
        self._count, self._rest = 0, b""
        wait_for(self._pages)
        self.first = str(self._pages()[0]["targetId"])
        self._session = self._ask("Target.attachToTarget", targetId=self.first, flatten=True)["sessionId"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(120)
        os.close(self._say)
        os.close(self._hear)
        self._folder.cleanup()

    def _pages(self) -> list[dict[str, Any]]:
        return [each for each in self._ask("Target.getTargets")["targetInfos"] if each["type"] == "page"]

    def _ask(self, method: str, session: str | None = None, **values: Any) -> dict[str, Any]:
        self._count += 1
        told = {"id": self._count, "method": method, "params": values, **({"sessionId": session} if session else {})}
        os.write(self._say, json.dumps(told).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                more = os.read(self._hear, 65_536)
                assert more, "the browser ended"
                self._rest += more
            one, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(one)
            if answer.get("id") == self._count:
                assert "result" in answer, answer
                found: dict[str, Any] = answer["result"]
                return found

    def open(self, url: str) -> None:
        """Open an address in the first tab."""
        self._ask("Page.navigate", self._session, url=url)

    def of_first(self, expression: str) -> Any:
        """Return what an expression comes to in the first tab."""
        told = self._ask("Runtime.evaluate", self._session, expression=expression, returnByValue=True)
        return told["result"].get("value")

    def look_elsewhere(self) -> None:
        """Open another tab over the first, which is hidden from then on."""
        self._ask("Target.createTarget", url="about:blank")

    def look_at_first(self) -> None:
        """Bring the first tab back."""
        self._ask("Target.activateTarget", targetId=self.first)
