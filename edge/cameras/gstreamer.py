"""GStreamer's own check of a pipeline before OpenCV opens it: missing elements and misspelt words.

OpenCV 4.6 goes on with the rest of a pipeline, and may then wait for ever. GStreamer's own parser is asked, through the
library that such an OpenCV brings with it. Without the library nothing is said.
"""

from __future__ import annotations

import ctypes

from edge.redacting import redacted

_LIBRARY = "libgstreamer-1.0.so.0"
_FATAL_ERRORS = 1  # GST_PARSE_FLAG_FATAL_ERRORS
_NO_SUCH_ELEMENT = 1  # GST_PARSE_ERROR_NO_SUCH_ELEMENT


class _Error(ctypes.Structure):
    _fields_ = (("domain", ctypes.c_uint32), ("code", ctypes.c_int), ("message", ctypes.c_char_p))


def pipeline_trouble(pipeline: str) -> str:
    """Say why a pipeline cannot be made, or nothing. No element of it is started."""
    try:
        gst = ctypes.CDLL(_LIBRARY)
    except OSError:
        return ""
    gst.gst_parse_context_new.restype = ctypes.c_void_p
    gst.gst_parse_launch_full.restype = ctypes.c_void_p
    gst.gst_parse_launch_full.argtypes = (
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.POINTER(ctypes.POINTER(_Error)),
    )
    gst.gst_parse_context_get_missing_elements.argtypes = (ctypes.c_void_p,)
    gst.gst_parse_context_get_missing_elements.restype = ctypes.POINTER(ctypes.c_char_p)
    gst.gst_parse_context_free.argtypes = gst.gst_object_unref.argtypes = (ctypes.c_void_p,)
    gst.gst_init_check(None, None, None)
    context, error = gst.gst_parse_context_new(), ctypes.POINTER(_Error)()
    made = gst.gst_parse_launch_full(pipeline.encode(), context, _FATAL_ERRORS, ctypes.byref(error))
    missing = _names(gst.gst_parse_context_get_missing_elements(context))
    told, code = (error.contents.message.decode(errors="replace"), error.contents.code) if error else ("", 0)
    gst.gst_parse_context_free(context)
    if made:
        gst.gst_object_unref(made)
    if missing and code == _NO_SUCH_ELEMENT:
        return f"GStreamer has no element {' and '.join(missing)}: install the plug-in that brings it"
    return f"GStreamer cannot make the pipeline: {redacted(told)}" if told else ""


def _names(array: ctypes._Pointer[ctypes.c_char_p]) -> list[str]:
    """Read a NULL-terminated array of C strings."""
    names: list[str] = []
    while array and (name := array[len(names)]) is not None:
        names.append(name.decode(errors="replace"))
    return names
