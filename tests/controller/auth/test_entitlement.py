"""Who may do what, and how often."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.config.schema import GrantsConfig
from edgewhisk.controller.auth.entitlement import (
    MINUTE,
    ConcurrencyThrottle,
    RateThrottle,
    check_granted,
    check_owner,
    check_readable,
    is_granted,
    resolve_namespace,
)
from edgewhisk.entity.identity import AuthKey, Identity
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.package import Package
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.version import SemVer
from edgewhisk.errors import BadRequest, Forbidden, NotGranted, Throttled

ME = Identity("me", "me", AuthKey("0" * 8 + "-0000-0000-0000-" + "0" * 12, "k" * 64))
PACKAGE, OTHERS = FullyQualifiedName("you", None, "pkg"), FullyQualifiedName("you", "pkg", "a")


def package(*, publish: bool, binding: FullyQualifiedName | None = None) -> Package:
    return Package(PACKAGE, binding, Parameters(), Parameters(), SemVer(), 0, publish=publish)


def test_an_underscore_is_the_callers_own_namespace() -> None:
    assert resolve_namespace("_", ME) == "me"
    assert resolve_namespace("you", ME) == "you"
    for odd in ("", "a/b", "a\n", "x" * 300):
        with pytest.raises(BadRequest):
            resolve_namespace(odd, ME)
    check_owner(ME, "me", "me/a")
    with pytest.raises(Forbidden, match="you/a"):
        check_owner(ME, "you", "you/a")


def test_of_somebody_elses_only_what_is_in_a_published_package_is_readable() -> None:
    check_readable("you", OTHERS, None)  # its owner is told what is missing
    check_readable("me", OTHERS, package(publish=True))
    refused: list[Package | None] = [
        None,
        package(publish=False),
        package(publish=True, binding=FullyQualifiedName("me", None, "p")),
    ]
    texts = set()
    for inside in refused:
        with pytest.raises(Forbidden) as caught:
            check_readable("me", OTHERS, inside)
        texts.add(caught.value.message)
    assert len(texts) == 1  # whether it is there, nobody learns


@pytest.mark.parametrize(
    ("kind", "held", "name", "granted"),
    [
        ("mqtt", ("plant/#",), "plant/a/+", True),
        ("mqtt", ("plant/+",), "plant/#", False),
        ("mqtt", (), "plant", False),
        ("serial", ("bus",), "bus", True),
        ("serial", ("bus",), "/dev/bus", False),
        ("http", ("*",), "example.com", False),  # no pattern: a name alone
    ],
)
def test_what_a_section_grants(kind: str, held: tuple[str, ...], name: str, granted: bool) -> None:
    for subject in ("plant", "guest"):
        grants = {subject: GrantsConfig(**{kind: held})}
        assert is_granted(grants, subject, kind, name) is granted
        assert not is_granted(grants, "other", kind, name)  # nothing without a section
    assert is_granted({}, "guest", kind, name)  # the gateway is its own


def test_who_is_refused_is_told_the_line_to_write() -> None:
    with pytest.raises(NotGranted) as caught:
        check_granted({}, "plant", "files", 'a"b')
    assert caught.value.hint == r'[grants.plant]  files = ["a\"b"]'


Calls = list[tuple[str, int]]
CALLS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3 * MINUTE)), max_size=60)


@given(CALLS, st.integers(0, 5))
def test_a_namespace_has_its_calls_in_each_calendar_minute(
    calls: list[tuple[str, int]], allowed: int
) -> None:
    throttle, counts, minute = RateThrottle(allowed), Counter[str](), 0
    for namespace, now in calls:  # also back: a clock is set
        if now // MINUTE != minute:
            minute = now // MINUTE
            counts.clear()
        counts[namespace] += 1
        if counts[namespace] <= allowed:
            throttle.check(namespace, now)
        else:
            told = rf"\(count: {counts[namespace]}, allowed: {allowed}\)"
            with pytest.raises(Throttled, match=told):
                throttle.check(namespace, now)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab")), max_size=60), st.integers(0, 3))
def test_no_more_are_in_flight_than_are_allowed(steps: list[tuple[bool, str]], allowed: int) -> None:
    throttle, flying = ConcurrencyThrottle(allowed), Counter[str]()
    for begins, namespace in steps:
        if begins and flying[namespace] < allowed:
            throttle.start(namespace)
            flying[namespace] += 1
        elif begins:
            with pytest.raises(Throttled):
                throttle.start(namespace)
        elif flying[namespace]:
            throttle.end(namespace)
            flying[namespace] -= 1
