"""Takes batches of gateways into SQLite. Copy it; run it behind TLS with any ASGI server:

    EDGEWHISK_SECRET=... EDGEWHISK_DB=activations.db uvicorn sqlite_asgi:app

On the gateway: kind = "https" in `[cloud]`, and a line `hmac SECRET` in its auth_file.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import json
import os
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

SECRET = os.environ["EDGEWHISK_SECRET"].encode()
DB = sqlite3.connect(os.environ.get("EDGEWHISK_DB", "activations.db"), check_same_thread=False)
DB.executescript(
    """PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS marks (device TEXT, epoch TEXT, have INTEGER, PRIMARY KEY (device, epoch));
    CREATE TABLE IF NOT EXISTS activations
      (device TEXT, epoch TEXT, number INTEGER, record TEXT, PRIMARY KEY (device, epoch, number));"""
)
ONE_AT_A_TIME = asyncio.Lock()


def store(batch: dict[str, Any]) -> int:
    """Store what is new of a batch, if nothing is missing before it; returns the highest number there is."""
    own = str(batch["device"]), str(batch["epoch"])
    with DB:
        found = DB.execute("SELECT have FROM marks WHERE device = ? AND epoch = ?", own).fetchone()
        have = found[0] if found else 0
        numbered = list(enumerate(batch["records"], batch["first"]))
        if numbered and have >= batch["after"]:  # else it only asks, or there is a gap
            rows = [(*own, number, json.dumps(record)) for number, record in numbered if number > have]
            DB.executemany("INSERT INTO activations VALUES (?, ?, ?, ?)", rows)
            have = max(have, numbered[-1][0])
            DB.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", (*own, have))
        return int(have)


async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[..., Any]) -> None:
    """Answer one request."""
    headers, body, more = dict(scope["headers"]), b"", scope["type"] == "http"
    while more and len(body) <= 1 << 20:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    wanted = f"sha256={hmac.new(SECRET, body, hashlib.sha256).hexdigest()}".encode()
    status, answer = 401, dict[str, Any](error="the signature is wrong")
    if hmac.compare_digest(headers.get(b"x-edgewhisk-signature", b""), wanted):
        text = gzip.decompress(body) if headers.get(b"content-encoding") == b"gzip" else body
        async with ONE_AT_A_TIME:
            status, answer = 200, {"have": await asyncio.to_thread(store, json.loads(text))}
    kind = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": kind})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
