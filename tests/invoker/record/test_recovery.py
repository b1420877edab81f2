"""What becomes of what a crash interrupted."""

from __future__ import annotations

import pytest

from edgewhisk.invoker.record.recovery import MOST_STARTS, Verdict, verdict
from edgewhisk.spi import Starts


@pytest.mark.parametrize(
    ("starts", "once", "expected"),
    [
        (Starts(), False, Verdict.RUN),
        (Starts(), True, Verdict.RUN),  # begun runs of such actions are marked before: it was not begun
        (Starts(1, 0), True, Verdict.NOT_AGAIN),
        (Starts(9, 9), True, Verdict.NOT_AGAIN),
        (Starts(9, 0), False, Verdict.RUN),  # the power was cut nine times
        (Starts(1, 1), False, Verdict.ALONE),
        (Starts(MOST_STARTS - 1, MOST_STARTS - 1), False, Verdict.ALONE),
        (Starts(MOST_STARTS, MOST_STARTS), False, Verdict.POISON),
    ],
)
def test_verdicts(starts: Starts, once: bool, expected: Verdict) -> None:
    assert verdict(starts, once=once) is expected
