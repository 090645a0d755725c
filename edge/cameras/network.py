"""A network camera as a source of live pictures: RTSP, MJPEG over HTTP, and what else FFmpeg reads.

One thread takes packets off the network as they come, and notes the time. So no buffer fills up unseen while pictures
are decoded. A decoder that falls behind throws away waiting packets, up to the newest key frame.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from edge.cameras.addresses import parse_address, resolve, why_not
from edge.cameras.capture import Shot
from edge.cameras.decoding import Decoder, Picture, load_av
from edge.cameras.recordings import picture_stream
from edge.cameras.redirects import sent_elsewhere
from edge.cameras.stream_clock import StreamClock, StreamGaps
from edge.errors import SourceError
from edge.redacting import redacted
from edge.stopping import leave_behind
from edge.wording import counted

PATIENCE_S = 5.0
# Packets of these carry no time of the camera's own: FFmpeg counts them, or stamps them when they are there.
_CLOCKLESS = frozenset({"mpjpeg", "mjpeg", "h264", "hevc", "m4v", "mpegvideo", "image2pipe", "rawvideo"})
_WAITING_BYTES = 64 * 2**20
_WAITED_NS = 5_000_000  # a packet for which the reader waited so long was not in a buffer
_CALM_S = 1.0  # for so long at most what was buffered while the stream was opened is awaited
_LATE_AT_MOST_S = 10.0
_KEY_WITHIN_S = 20.0


@dataclass(frozen=True)
class _Waiting:
    """A packet, and when it was taken off the network, on our clock."""

    packet: Any
    arrived_ns: int
    media_ns: int | None


class NetworkStream:
    """One connection to the camera at `source`. `max_age_ms`: an older picture is thrown away, 0 = none is.

    `clock`: whether the stream's own clock is compared with ours. `every`: each picture is decoded; without it, of
    those that wait and stand for themselves only the newest. It is opened once.
    """

    total = 0
    differences: tuple[str, ...] = ()

    def __init__(
        self,
        source: str,
        *,
        max_age_ms: int,
        clock: bool = True,
        depth_bits: int | None = None,
        every: bool = False,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._depth_bits = depth_bits
        self._every = every
        self.shown = redacted(source)
        self._source = source
        self._max_age_ms = max_age_ms
        self._compare = clock
        self._monotonic_ns = monotonic_ns
        self._clock = StreamClock()
        self._container: Any = None
        self._decoder: Decoder | None = None
        self._reader: threading.Thread | None = None
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._calm = threading.Event()
        self._ended = False
        self._stop = False
        self._failure: tuple[Exception, float] | None = None  # and how long was waited before it, in seconds
        self._key_since_s: float | None = None
        self._late_since_s: float | None = None
        self._thrown = 0
        self._gaps = StreamGaps()
        self._missed = 0

    def open(self) -> None:
        """Connect, and begin to read. Raises SourceError, DependencyError."""
        self._address = address = parse_address(self._source)
        self.shown = address.shown
        av = load_av()
        resolve(address)
        began_s = time.monotonic()
        options = {"fflags": "nobuffer", "analyzeduration": "2000000", "protocol_whitelist": _PROTOCOLS}
        if address.scheme in {"rtsp", "rtsps"}:
            options["rtsp_transport"] = "tcp"  # no packet is lost without a word
        try:
            self._container = av.open(address.url, options=options, timeout=(PATIENCE_S, PATIENCE_S))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            waited_s = time.monotonic() - began_s
            told = sent_elsewhere(address) or why_not(error, address, waited_s, PATIENCE_S)
            raise SourceError(told) from None  # the error itself quotes the address
        stream = picture_stream(self._container)
        if stream is None:
            raise SourceError("the stream holds no video: check the path of the address")
        self._compare = self._compare and self._container.format.name not in _CLOCKLESS
        threads = "SLICE" if stream.codec_context.height < 1440 else "AUTO"
        self._decoder = Decoder(stream, threads=threads, depth_bits=self._depth_bits)
        self._key_since_s = time.monotonic()
        self._reader = threading.Thread(target=self._read, args=(stream,), name="camera reads", daemon=True)
        self._reader.start()
        self._calm.wait(_CALM_S)

    def take(self) -> Sequence[Shot] | None:
        """Wait for the next packet and decode it, or throw away what waits; None when the stream ended."""
        waiting = self._next()
        if waiting is None:
            if self._failure is not None:
                elsewhere = sent_elsewhere(self._address)
                raise SourceError(elsewhere or why_not(self._failure[0], self._address, self._failure[1], PATIENCE_S))
            return None
        captured_ns = self._captured_ns(waiting)
        late_ms = (self._monotonic_ns() - captured_ns) / 1e6
        if self._max_age_ms and late_ms > self._max_age_ms and (thrown := self._throw_away()):
            return [Shot(None, captured_ns, self._behind(late_ms, thrown), lost=thrown - 1)]
        if self._decoder is None or self._no_key_yet(waiting.packet):
            return []
        self._watch_lateness(late_ms)
        pictures = self._decoder.decode(waiting.packet, waiting)
        return [shot for picture in pictures for shot in self._shots(picture)]

    def close(self) -> None:
        """End the connection. A reader that hangs is left behind, with what it holds."""
        self._stop = True
        if self._reader is not None:
            self._reader.join(PATIENCE_S + 1)
            if self._reader.is_alive():
                leave_behind(self._reader)
                return
        if self._container is not None:
            with suppress(OSError, ValueError):
                self._container.close()
        self._container = self._decoder = self._reader = None

    def _read(self, stream: Any) -> None:
        before_ns = self._monotonic_ns()
        try:
            for packet in self._container.demux(stream):
                now_ns = self._monotonic_ns()
                if now_ns - before_ns > _WAITED_NS:
                    self._calm.set()
                if self._stop or not packet.size:
                    break
                self._arrived(packet, now_ns)
                before_ns = self._monotonic_ns()
        except Exception as error:  # noqa: BLE001 - whatever it was, whoever takes must hear of it
            self._failure = error, (self._monotonic_ns() - before_ns) / 1e9
        finally:
            self._calm.set()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _arrived(self, packet: Any, now_ns: int) -> None:
        stamp = packet.dts if packet.dts is not None else packet.pts
        media_ns = None
        if self._compare and stamp is not None and packet.time_base:
            media_ns = round(stamp * packet.time_base * 1_000_000_000)
        with self._changed:
            if media_ns is not None:
                self._clock.arrived(media_ns, now_ns)
                self._missed += self._gaps.missed_before(media_ns)
            if self._queued_bytes > _WAITING_BYTES:
                self._thrown += len(self._queue)
                self._queue.clear()
                self._queued_bytes = 0
                self._key_since_s = self._key_since_s or time.monotonic()
            self._queue.append(_Waiting(packet, now_ns, media_ns))
            self._queued_bytes += packet.size
            self._changed.notify_all()

    def _next(self) -> _Waiting | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._ended, PATIENCE_S + 1)
            if not self._queue:
                if not self._ended:
                    raise SourceError(f"nothing came within {PATIENCE_S:g} s: the camera or the network between hangs")
                return None
            newest_only = self._decoder is not None and self._decoder.intra_only and not self._every
            if newest_only and len(self._queue) > 1:
                self._thrown += len(self._queue) - 1
                newest = self._queue[-1]
                self._queue.clear()
                self._queue.append(newest)
                self._queued_bytes = newest.packet.size
            waiting = self._queue.popleft()
            self._queued_bytes -= waiting.packet.size
            return waiting

    def _captured_ns(self, waiting: _Waiting) -> int:
        if waiting.media_ns is None:
            return waiting.arrived_ns
        with self._changed:
            return self._clock.captured_ns(waiting.media_ns, waiting.arrived_ns)

    def _throw_away(self) -> int:
        """Throw away the packet at hand and what waits, but for what follows the newest key frame; return how many."""
        with self._changed:
            if not self._queue:
                return 0  # it waited elsewhere: the packets on their way are needed to decode what follows
            keys = [index for index, each in enumerate(self._queue) if each.packet.is_keyframe]
            thrown = keys[-1] if keys else len(self._queue)
            for _ in range(thrown):
                self._queued_bytes -= self._queue.popleft().packet.size
        if self._decoder is not None:
            self._decoder.forget()
        self._key_since_s = self._key_since_s or time.monotonic()
        return thrown + 1

    def _no_key_yet(self, packet: Any) -> bool:
        """Tell whether a packet must be skipped, for nothing can be decoded before a key frame."""
        if self._key_since_s is None:
            return False
        if packet.is_keyframe:
            self._key_since_s = None
            return False
        if time.monotonic() - self._key_since_s > _KEY_WITHIN_S:
            raise SourceError(
                f"no key frame came within {_KEY_WITHIN_S:g} s: set the camera to one key frame (I-frame) a second"
            )
        self._thrown += 1
        return True

    def _watch_lateness(self, late_ms: float) -> None:
        """Connect anew where every picture has been too old for long, and nothing that could be thrown away waits."""
        if not self._max_age_ms or late_ms <= self._max_age_ms:
            self._late_since_s = None
        elif self._late_since_s is None:
            self._late_since_s = time.monotonic()
        elif time.monotonic() - self._late_since_s > _LATE_AT_MOST_S:
            raise SourceError(f"{self._behind(late_ms, 0)}; the connection is begun anew")

    def _behind(self, late_ms: float, thrown: int) -> str:
        gone = (
            f"; {counted(thrown, 'picture that waited was', 'pictures that waited were')} thrown away" if thrown else ""
        )
        told = f"the picture is {late_ms:.0f} ms old by the stream's own clock, at most {self._max_age_ms} ms allowed"
        return told + gone

    def _shots(self, picture: Picture) -> list[Shot]:
        waiting: _Waiting | None = picture.tag
        captured_ns = self._captured_ns(waiting) if waiting else self._monotonic_ns()
        lost, self._thrown = self._thrown, 0
        with self._changed:
            missed, self._missed = self._missed, 0
        if picture.trouble or self._decoder is None:
            return [Shot(None, captured_ns, picture.trouble, lost, missed)]
        late_ms = (self._monotonic_ns() - captured_ns) / 1e6
        if self._max_age_ms and late_ms > self._max_age_ms:
            return [Shot(None, captured_ns, self._behind(late_ms, 0), lost, missed)]
        if self._max_age_ms and late_ms > self._max_age_ms / 2 and self._queue and not self._every:
            self._thrown = lost + 1  # it would be too old soon: decoded for those that follow, and no more
            with self._changed:
                self._missed += missed
            return []
        try:
            return [Shot(self._decoder.pixels(picture), captured_ns, "", lost, missed)]
        except SourceError as error:
            return [Shot(None, captured_ns, str(error), lost, missed)]


_PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,rtmp,rtmps,srt,crypto,mmsh,mmst"
