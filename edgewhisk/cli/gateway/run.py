"""Run the gateway in the foreground until SIGTERM or Ctrl-C.

Starts without any configuration. Prints one line when it is ready.

  edgewhisk run
  edgewhisk run --config /etc/edgewhisk/edgewhisk.toml
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from edgewhisk.base.process import frugal_heaps, many_files, return_memory, return_pages
from edgewhisk.config.loader import load


def options(_parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run until told to stop."""
    config = load(given.config, environment)
    logging.basicConfig(
        level=config.log_level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    frugal_heaps()
    many_files()
    from edgewhisk.gateway import app  # heavy: only now, so that a bad configuration is told at once
    from edgewhisk.store.log.log import storage_error

    for name in ("gmqtt", "apscheduler", "httpx", "httpcore", "uvicorn"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what matters of theirs is told by ours

    serving: list[str] = []

    def ready(gateway: app.Gateway) -> None:
        serving.append(gateway.url)
        gc.collect()
        gc.freeze()  # what lives for ever need not be looked through again
        return_memory()
        return_pages()
        print(f"edgewhisk ready at {gateway.url} (state in {config.state_dir})", flush=True)

    def progress(text: str) -> None:
        print(f"edgewhisk: {text}", file=sys.stderr, flush=True)

    import uvloop

    try:
        uvloop.run(app.run(config, ready, progress))
    except OSError as error:
        if serving:
            raise
        raise storage_error(Path(error.filename or config.state_dir), error) from error
    return 0
