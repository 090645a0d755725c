"""Every picture and every mask is read here, and every folder of them is listed here; see docs/labels.md."""

from edge.pictures.decoding import (
    Decoded,
    as_frame,
    as_frame_of,
    decode,
    read_bytes,
    read_decoded,
    read_picture,
    read_to_look_at,
    to_look_at,
    turned,
)
from edge.pictures.depth import UInt16, bits_seen, depth_of, levels_lost, to_eight_bits
from edge.pictures.folders import JPEG, SUFFIXES, LeftOut, Listing, list_files, list_pictures, why_left_out
from edge.pictures.header import Header, read_header
from edge.pictures.names import as_text, is_text, natural_order
from edge.pictures.not_readable import NotReadableError

__all__ = [
    "JPEG",
    "SUFFIXES",
    "Decoded",
    "Header",
    "LeftOut",
    "Listing",
    "NotReadableError",
    "UInt16",
    "as_frame",
    "as_frame_of",
    "as_text",
    "bits_seen",
    "decode",
    "depth_of",
    "is_text",
    "levels_lost",
    "list_files",
    "list_pictures",
    "natural_order",
    "read_bytes",
    "read_decoded",
    "read_header",
    "read_picture",
    "read_to_look_at",
    "to_eight_bits",
    "to_look_at",
    "turned",
    "why_left_out",
]
