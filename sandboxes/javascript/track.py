"""Rewrites a module so that every write to its memory is marked: what a call changed can then be undone
alone, about 20 KB, instead of copying the whole image of 400 KB.

A second memory, which nothing else addresses, gets one byte for each granule of 1 KiB: before each
store, `marks[(address + offset) >> 10] = 1`; memory.copy and memory.fill go through functions that mark
their range. A store that crosses into the next granule marks the first only: who restores adds 16 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from recipe import BuildError, sections, uleb

GRANULE = 10  # log2 of its bytes
MARKS = 64  # pages of the second memory: marks for all of 4 GiB, so that marking never traps
I32, I64, F32, F64 = 0x7F, 0x7E, 0x7D, 0x7C
STORES = {0x36: I32, 0x37: I64, 0x38: F32, 0x39: F64, 0x3A: I32, 0x3B: I32, 0x3C: I64, 0x3D: I64, 0x3E: I64}
TYPES, IMPORTS, FUNCTIONS, MEMORIES, EXPORTS, CODE = 1, 2, 3, 5, 7, 10
COPY, FILL = 10, 11  # behind the prefix 0xfc
# Behind 0xfc: memory.init, data.drop, table.init, elem.drop, table.copy, table.grow, table.fill. None of
# these may be in a guest: tables and segments are not put back after a call. 16 is table.size.
UNDOABLE = {*range(8), COPY, FILL, 16}


def track(wasm: bytes) -> bytes:
    """The module with marks; its second memory is exported as `marks`."""
    parts = dict(sections(wasm))
    signatures = list(read_types(parts[TYPES]))
    imported = imported_functions(parts.get(IMPORTS, b"\0"))
    declared = list(indices(parts[FUNCTIONS]))
    three = len(signatures)  # the type (i32 i32 i32) -> () of the two functions that are added
    first = imported + len(declared)
    parts[TYPES] = grown(parts[TYPES], [b"\x60\x03\x7f\x7f\x7f\x00"])
    parts[FUNCTIONS] = grown(parts[FUNCTIONS], [leb(three), leb(three)])
    parts[MEMORIES] = grown(parts[MEMORIES], [b"\x01" + leb(MARKS) + leb(MARKS)])
    parts[EXPORTS] = grown(parts[EXPORTS], [b"\x05marks\x02\x01"])
    bodies = [
        rewritten(body, signatures[kind], first)
        for body, kind in zip(read_bodies(parts[CODE]), declared, strict=True)
    ]
    bodies += [
        ranged(b"\x20\x00\x20\x01\x20\x02\xfc\x0a\x00\x00"),
        ranged(b"\x20\x00\x20\x01\x20\x02\xfc\x0b\x00"),
    ]
    parts[CODE] = leb(len(bodies)) + b"".join(leb(len(body)) + body for body in bodies)
    order = [kind for kind, _ in sections(wasm) if kind]
    return wasm[:8] + b"".join(bytes([kind]) + leb(len(parts[kind])) + parts[kind] for kind in order)


def ranged(operation: bytes) -> bytes:
    """A function (to, _, size) that marks [to, to + size) and then does `operation`."""
    shift = b"\x41" + sleb(GRANULE) + b"\x76"  # i32.shr_u by the granule
    mark = (
        b"\x20\x02\x04\x40"  # if size
        b"\x20\x00" + shift + b"\x41\x01"  # from, one
        b"\x20\x00\x20\x02\x6a\x41\x01\x6b" + shift  # (to + size - 1) >> granule
        + b"\x20\x00" + shift + b"\x6b\x41\x01\x6a"  # - first + 1
        + b"\xfc\x0b\x01\x0b"  # memory.fill of the marks, end
    )  # fmt: skip
    return b"\x00" + mark + operation + b"\x0b"


def rewritten(body: bytes, parameters: int, first: int) -> bytes:
    """A function's body with its writes marked; `first`: index of the function for memory.copy."""
    groups, at = uleb(body, 0)
    used = parameters
    declarations = body[at:at]
    start = at
    for _ in range(groups):
        count, at = uleb(body, at)
        used += count
        at += 1
    declarations = body[start:at]
    scratch = {kind: used + number for number, kind in enumerate((I32, I64, F32, F64))}
    address = used + 4
    code = b"".join(marked(part, scratch, address, first) for part in instructions(body, at))
    if len(code) == len(body) - at:
        return body
    added = b"".join(b"\x01" + bytes([kind]) for kind in (I32, I64, F32, F64, I32))
    return leb(groups + 5) + declarations + added + code


def marked(part: bytes, scratch: dict[int, int], address: int, first: int) -> bytes:
    """One instruction, or what stands for it."""
    kind = STORES.get(part[0])
    if kind is not None:
        _, at = uleb(part, 1)
        offset, _ = uleb(part, at)
        value, where = leb(scratch[kind]), leb(address)
        plus = b"\x41" + sleb(offset if offset < 1 << 31 else offset - (1 << 32)) + b"\x6a" if offset else b""
        mark = plus + b"\x41" + sleb(GRANULE) + b"\x76\x41\x01\x3a\x40\x01\x00"  # i32.store8 to memory 1
        return b"\x21" + value + b"\x22" + where + mark + b"\x20" + where + b"\x20" + value + part
    if part[0] == 0xFC:
        operation, _ = uleb(part, 1)
        if operation in (COPY, FILL):
            return b"\x10" + leb(first + operation - COPY)
    return part


# -- reading a module (WebAssembly core specification 2.0, section 5) ------------------------------


def read_types(section: bytes) -> Iterator[int]:
    """How many parameters each type has."""
    count, at = uleb(section, 0)
    for _ in range(count):
        at += 1
        parameters, at = uleb(section, at)
        results, at = uleb(section, at + parameters)
        at += results
        yield parameters


def imported_functions(section: bytes) -> int:
    """How many functions are imported: a guest imports nothing else."""
    return uleb(section, 0)[0]


def indices(section: bytes) -> Iterator[int]:
    """A vector of indices."""
    count, at = uleb(section, 0)
    for _ in range(count):
        value, at = uleb(section, at)
        yield value


def read_bodies(section: bytes) -> Iterator[bytes]:
    """The functions' bodies."""
    count, at = uleb(section, 0)
    for _ in range(count):
        size, at = uleb(section, at)
        yield section[at : at + size]
        at += size


def instructions(body: bytes, at: int) -> Iterator[bytes]:
    """Each instruction with its immediates."""
    while at < len(body):
        end = IMMEDIATES.get(body[at], nothing)(body, at + 1)
        yield body[at:end]
        at = end


def nothing(_body: bytes, at: int) -> int:
    """No immediate."""
    return at


def one(body: bytes, at: int) -> int:
    """One LEB128 number, of either sign."""
    while body[at] & 0x80:
        at += 1
    return at + 1


def two(body: bytes, at: int) -> int:
    """Two of them."""
    return one(body, one(body, at))


def many(body: bytes, at: int) -> int:
    """A vector of numbers and one more: br_table."""
    count, at = uleb(body, at)
    for _ in range(count + 1):
        at = one(body, at)
    return at


def vector(body: bytes, at: int) -> int:
    """A vector of types: select."""
    count, at = uleb(body, at)
    return at + count


def prefixed(body: bytes, at: int) -> int:
    """0xfc: saturating truncation and bulk operations."""
    operation, at = uleb(body, at)
    if operation not in UNDOABLE:
        raise BuildError(f"edgewhisk: the guest has the operation 0xfc {operation}, which cannot be undone")
    return at + {COPY: 2, FILL: 1, 16: 1}.get(operation, 0)


def refused(body: bytes, at: int) -> int:
    """An instruction that a guest must not have: table.set, SIMD, atomics, or one that is not known."""
    raise BuildError(f"edgewhisk: the guest has the instruction {body[at - 1]:#x}, which cannot be tracked")


IMMEDIATES: dict[int, Callable[[bytes, int], int]] = {
    **dict.fromkeys((0x02, 0x03, 0x04, 0x0C, 0x0D, 0x10, 0x12, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25), one),
    **dict.fromkeys((0x3F, 0x40, 0x41, 0x42, 0xD0, 0xD2), one),
    **dict.fromkeys((0x11, 0x13, *range(0x28, 0x3F)), two),
    0x0E: many,
    0x1C: vector,
    0x43: lambda _body, at: at + 4,
    0x44: lambda _body, at: at + 8,
    0xFC: prefixed,
    **dict.fromkeys((0x26, *range(0x06, 0x0B), 0x14, 0x15, 0x18, 0x19, 0x1F), refused),
    **dict.fromkeys((*range(0xC5, 0xD0), *range(0xD3, 0xFC), *range(0xFD, 0x100)), refused),
}


# -- writing one ----------------------------------------------------------------------------------


def grown(section: bytes, entries: list[bytes]) -> bytes:
    """A section that is a vector, with more entries."""
    count, at = uleb(section, 0)
    return leb(count + len(entries)) + section[at:] + b"".join(entries)


def leb(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def sleb(value: int) -> bytes:
    """Signed LEB128."""
    out = bytearray()
    while not -0x40 <= value < 0x40:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value & 0x7F))
