"""Topics that a broker closes the connection for: asked of a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewhisk.base.mqtt_topics import check_filter, closes
from edgewhisk.errors import FeedError
from tests.bench.mqtt import PUBACK, Client, encoded
from tests.path.gateway import MOSQUITTO, mosquitto

CHARACTERS = (
    "a", " ", "$", "%", "é", "日", "\U0001f600", "\u00a0", "\u2028", "\ufeff", "\ufffd", "\ufdcf", "\ufdf0",
    "\U0010fffd",
    "\x01", "\x1e", "\x1f", "\n", "\x7f", "\x80", "\x85", "\x9f", "\ufdd0", "\ufdef", "\ufffe",
    "\uffff", "\U0001fffe", "\U0010ffff",
)  # fmt: skip


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto")
def test_what_a_broker_closes_the_connection_for_is_known(tmp_path: Path) -> None:
    """A topic that one action publishes to must not end the feeds of all."""
    with mosquitto(tmp_path) as port:
        closed = []
        for character in CHARACTERS:
            client = Client(port, "asks")
            try:
                client.send(encoded(f"t/{character}", b"{}", 1, 1))
                client._wait(PUBACK)
            except ConnectionError:
                closed.append(character)
            finally:
                client.close()
    assert closed == [character for character in CHARACTERS if closes(f"t/{character}")]


@pytest.mark.parametrize("character", [*(one for one in CHARACTERS if closes(one)), "\ud800", chr(0xDFFF)])
def test_a_filter_has_none_of_them(character: str) -> None:
    with pytest.raises(FeedError, match="control characters"):
        check_filter(f"t/{character}/#")
