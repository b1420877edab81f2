"""What a person sees of the demo: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Numbers:
    """The state of the demo at one moment."""

    seconds: float
    mqtt: int  # readings sent
    serial: int
    ok: int  # activations
    failed: int
    alarms: int
    unsynced: int
    cloud: int | None  # activations there; None while it is away
    uplink: str


class Screen:
    """Shows numbers and tells what happens."""

    def __init__(self) -> None:
        """On standard output."""
        self.console = Console(highlight=False)
        self._live: Live | None = None

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the table inside the block, if there is a terminal to show it on."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, refresh_per_second=4) as self._live:
            yield
        self._live = None

    def tell(self, text: str) -> None:
        """One line of the story."""
        self.console.print(text, soft_wrap=True)

    def show(self, numbers: Numbers) -> None:
        """The numbers now."""
        if self._live is not None:
            self._live.update(_table(numbers))
            return
        cloud = "away" if numbers.cloud is None else str(numbers.cloud)
        self.console.print(
            f"{numbers.seconds:5.1f} s  mqtt {numbers.mqtt}  serial {numbers.serial}  ok {numbers.ok}  "
            f"failed {numbers.failed}  alarms {numbers.alarms}  waiting for the cloud {numbers.unsynced}  "
            f"at the cloud {cloud}",
            soft_wrap=True,
        )


def _table(numbers: Numbers) -> Table:
    table = Table(title=f"EdgeWhisk demo, {numbers.seconds:.0f} s", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    cloud: Any = "[red]away[/red]" if numbers.cloud is None else str(numbers.cloud)
    rows = (
        ("readings over MQTT", numbers.mqtt),
        ("readings over the serial port", numbers.serial),
        ("activations ok", f"[green]{numbers.ok}[/green]"),
        ("activations failed", numbers.failed),
        ("alarms raised by the action", f"[yellow]{numbers.alarms}[/yellow]"),
        ("on disk, not yet at the cloud", numbers.unsynced),
        ("at the cloud", cloud),
        ("uplink", numbers.uplink),
    )
    for name, value in rows:
        table.add_row(name, str(value))
    return table
