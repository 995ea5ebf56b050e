"""The committed C header is the one that the dataclasses give."""

from edge_ad.compile.integer.records import header
from edge_ad.firmware_bridge.host_library import ENGINE


def test_the_committed_header_is_current() -> None:
    """If not: python -c "from edge_ad.compile.integer.records.base import write_header; write_header()"."""
    assert (ENGINE / "records.h").read_text() == header()
