"""A real RTSP server (GStreamer's) whose pictures show the time at which they were drawn, as H.264 at /line.

Sixteen bits of the time of day in units of 10 ms stand along the top. They are blocks of 20 px, white for one. The rest
is grey with grain. Prints its port once it listens. Not a test. `auth` as its second word asks for eye:p@ss/w:rd#1;
with `uhd` the pictures are 3840 x 2160 px, 3 a second.
"""

import itertools
import sys
import time

import gi
import numpy as np

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - the versions come first

BLOCK = 20
UHD = "uhd" in sys.argv
TIMES = 12 if UHD else 1  # as wide as 320 px; as high as 180 or 240
FPS, KBIT_PER_S = (3, 10_000) if UHD else (25, 800)
Gst.init(None)
small = np.random.default_rng(0).normal(90, 8, (8, 180 if UHD else 240, 320, 3)).clip(0, 255).astype(np.uint8)
grain = [np.tile(each, (TIMES, TIMES, 1)) for each in small]
HEIGHT, WIDTH = grain[0].shape[:2]
grains = itertools.cycle(grain)


def drawn_now() -> bytes:
    """Draw the next picture."""
    pixels = next(grains).copy()
    units = int(time.time() * 100) % 65536
    for bit in range(16):
        pixels[:BLOCK, BLOCK * bit : BLOCK * (bit + 1)] = 255 if units >> bit & 1 else 0
    return pixels.tobytes()


def configured(_factory: object, media: object) -> None:
    """Feed a new stream."""
    source = media.get_element().get_by_name("source")
    source.set_property("format", Gst.Format.TIME)
    source.set_property("do-timestamp", True)
    source.set_property("is-live", True)

    def push() -> bool:
        return source.emit("push-buffer", Gst.Buffer.new_wrapped(drawn_now())) == Gst.FlowReturn.OK

    GLib.timeout_add(1000 // FPS, push)


server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1] if len(sys.argv) > 1 else "0")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f"( appsrc name=source caps=video/x-raw,format=BGR,width={WIDTH},height={HEIGHT},framerate={FPS}/1 ! "
    f"videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={FPS} bitrate={KBIT_PER_S} ! "
    "rtph264pay name=pay0 pt=96 )"
)
factory.connect("media-configure", configured)
if "auth" in sys.argv:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic("eye", "p@ss/w:rd#1"), token)
    server.set_auth(auth)
    rights = GstRtspServer.RTSPPermissions()
    rights.add_permission_for_role("viewer", "media.factory.access", True)
    rights.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(rights)
server.get_mount_points().add_factory("/line", factory)
server.attach(None)
sys.stdout.write(f"{server.get_bound_port()}\n")
sys.stdout.flush()
GLib.MainLoop().run()
