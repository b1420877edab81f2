"""Actions that ask for capabilities with odd values: a grammar, in JavaScript, Python and raw WebAssembly.

Each action takes `{seed, count}`, asks `count` times and returns what became of it:
`{"went": number, "refused": number, "wrong": [...]}`. Wrong is an error that does not name its operation.
"""

from __future__ import annotations

import random
from typing import Any, Final

from edgewhisk.sandbox.module.wasi import EXIT, SIGNATURES
from tests.sandbox import wat

GRANTS: Final[dict[str, Any]] = {
    "state": True,
    "http": ["127.0.0.1:9", "xn--.example.org", "*.example.invalid"],
    "mqtt": ["#"],
    "serial": ["meter", "gone"],
    "invoke": ["/_/echo", "/_/absent", "/whisk.system/*"],
    "fire": ["/_/t", "/_/absent"],
}

JAVASCRIPT: Final = r"""
const e = require('edgewhisk');
let seed;
const rnd = (n) => { seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0; return (seed >>> 8) % n; };
const pick = (list) => list[rnd(list.length)];
const nest = (n, open) => { let v = 1; for (let i = 0; i < n; i++) v = open ? [v] : { k: v }; return v; };
const ODD = [
  () => undefined, () => null, () => '', () => 'x', () => 'x'.repeat(70000), () => 'é\u{1F600}'.repeat(20000),
  () => '\ud800', () => 'a\udc00b', () => '\0', () => '\u0001\x7f', () => '#', () => 'a/+/b', () => '$SYS/x',
  () => NaN, () => Infinity, () => -0, () => 1e30, () => 1e308, () => 2 ** 53, () => -1, () => 0.5, () => true,
  () => nest(10), () => nest(253), () => nest(254), () => nest(300), () => nest(1100), () => nest(300, true),
  () => nest(4000, true), () => [], () => ({}), () => [[[]]], () => ({ toJSON() { throw new Error('no') } }),
  () => { const o = {}; o.o = o; return o; }, () => 10n, () => Symbol('s'), () => () => 1, () => new Date(NaN),
  () => new Uint8Array(70000), () => new Map([[1, 2]]), () => 'A', () => '===', () => 'a'.repeat(257), () => '__proto__',
  () => JSON.parse('{"__proto__": 1}'), () => 'http://xn--.example.org/', () => 'http://xn--/', () => 'http://127.0.0.1:9/',
  () => 'http://127.0.0.1:99999/', () => 'http://[::1/', () => 'http://a..b/', () => 'http://\u00ad.example.org/',
  () => 'http://x:-1/', () => 'http://127.0.0.1:9/\ud800', () => `http://${'a'.repeat(70)}.example.invalid/`,
  () => 'http://127.0.0.1:9/' + 'p'.repeat(70000), () => 'http://' + 'u'.repeat(70000) + '@127.0.0.1:9/', () => 'file:///x',
  () => 'meter', () => 'gone', () => '/_/echo', () => '/_/t', () => '/_/absent', () => '/whisk.system/mqtt/publish',
  () => '/a/b/c/d', () => '//', () => '/_/' + 'n'.repeat(70000), () => 'GET', () => 'G\u00c9T', () => 'A B', () => 'POST',
];
const OPS = {
  'state.get': ['key'], 'state.set': ['key', 'value'], 'state.delete': ['key'], 'state.keys': [],
  'state.compare_and_set': ['key', 'expected', 'value'],
  'mqtt.publish': ['topic', 'payload', 'payload64', 'qos', 'retain'], 'serial.write': ['port', 'data', 'data64'],
  'http.fetch': ['url', 'method', 'headers', 'body', 'body64'], invoke: ['name', 'arguments'], fire: ['name', 'arguments'],
};
const USUAL = { key: 'k', value: 1, topic: 't/x', payload: 'p', qos: 0, retain: false, port: 'meter', data: 'd',
  url: 'http://127.0.0.1:9/', method: 'GET', headers: {}, name: '/_/echo', arguments: {} };
exports.main = async (p) => {
  seed = p.seed;
  const found = { went: 0, refused: 0, wrong: [] };
  for (let at = 0; at < p.count; at++) {
    const op = rnd(60) ? pick(Object.keys(OPS)) : pick(ODD)();
    const fields = {};
    for (const key of OPS[op] || ['key']) if (rnd(3)) fields[key] = rnd(2) && key in USUAL ? USUAL[key] : pick(ODD)();
    if (!rnd(20)) fields[pick(['', 'more', '\ud800', '__proto__'])] = pick(ODD)();
    if (op === 'http.fetch' && !rnd(2)) fields.headers = { 'x-odd': pick(ODD)(), [String(pick(['a b', '', 'x\u00e9', 'host']))]: 'v' };
    try { e.ask(op, fields); found.went++; } catch (error) {
      found.refused++;
      const told = error instanceof Error && error.message;
      if (!told || (OPS[op] && !error.message.includes(op.split('.')[0]))) found.wrong.push(`${typeof op === 'string' ? op : typeof op}: ${error}`);
    }
    if (!rnd(10)) console.log(pick(ODD)());
  }
  return found;
};
"""

PYTHON: Final = r"""
import random, time
import edgewhisk
def nest(n, make):
    v = 1
    for _ in range(n): v = make(v)
    return v
class Broken:
    def __str__(self): raise ValueError('no')
ODD = [
    lambda: None, lambda: '', lambda: 'x', lambda: 'x' * 70000, lambda: '\u00e9\U0001f600' * 20000, lambda: '\ud800',
    lambda: 'a\udc00b', lambda: '\0', lambda: '#', lambda: 'a/+/b', lambda: float('nan'), lambda: float('inf'),
    lambda: -0.0, lambda: 1e30, lambda: 10**30, lambda: 10**5000, lambda: 2**63, lambda: 2**64, lambda: -1, lambda: 0.5, lambda: True,
    lambda: nest(10, lambda v: [v]), lambda: nest(253, lambda v: {'k': v}), lambda: nest(254, lambda v: {'k': v}),
    lambda: nest(300, lambda v: {'k': v}), lambda: nest(900, lambda v: [v]),
    lambda: [], lambda: {}, lambda: b'x', lambda: bytearray(70000), lambda: {1: 2}, lambda: {(1, 2): 3}, lambda: {'\ud800': 1},
    lambda: {1, 2}, lambda: object(), lambda: Broken(), lambda: lambda: 1, lambda: 'a' * 257, lambda: '===', lambda: 'A',
    lambda: 'http://xn--.example.org/', lambda: 'http://127.0.0.1:9/', lambda: 'http://127.0.0.1:99999/', lambda: 'http://[::1/',
    lambda: 'http://127.0.0.1:9/\ud800', lambda: 'meter', lambda: 'gone', lambda: '/_/echo', lambda: '/_/t', lambda: '/_/absent',
    lambda: '/a/b/c/d', lambda: '/_/' + 'n' * 70000, lambda: 'GET', lambda: 'A B',
]
OPS = {
    'state.get': ['key'], 'state.set': ['key', 'value'], 'state.delete': ['key'], 'state.keys': [],
    'state.compare_and_set': ['key', 'expected', 'value'],
    'mqtt.publish': ['topic', 'payload', 'payload64', 'qos', 'retain'], 'serial.write': ['port', 'data', 'data64'],
    'http.fetch': ['url', 'method', 'headers', 'body', 'body64'], 'invoke': ['name', 'arguments'], 'fire': ['name', 'arguments'],
}
USUAL = {'key': 'k', 'value': 1, 'topic': 't/x', 'payload': 'p', 'qos': 0, 'retain': False, 'port': 'meter', 'data': 'd',
         'url': 'http://127.0.0.1:9/', 'method': 'GET', 'headers': {}, 'name': '/_/echo', 'arguments': {}}
def main(p):
    chance = random.Random(p['seed'])
    found = {'went': 0, 'refused': 0, 'wrong': []}
    for _ in range(p['count']):
        op = chance.choice(list(OPS))
        fields = {}
        for key in OPS[op]:
            if chance.random() < .7:
                fields[key] = USUAL[key] if key in USUAL and chance.random() < .5 else chance.choice(ODD)()
        try:
            edgewhisk.ask(op, **fields)
            found['went'] += 1
        except edgewhisk.CapabilityError as error:
            found['refused'] += 1
            if op.split('.')[0] not in str(error):
                found['wrong'].append(f'{op}: {error!r}'[:300])
        except Exception as error:
            found['wrong'].append(f'{op}: {error!r}'[:300])
        if chance.random() < .1:
            try: print(chance.choice(ODD)())
            except ValueError: pass
        if chance.random() < .05:
            try: time.sleep(chance.choice([-1, 0, 1e-9, float('nan'), 0.001]))
            except (ValueError, OverflowError, edgewhisk.CapabilityError): pass
    return found
"""

_OWN: Final = {
    "now": ("", "f64"),
    "sleep": ("d", ""),
    "random": ("ii", ""),
    "ask": ("ii", "i32"),
    "take": ("i", ""),
    "log": ("iii", ""),
    "context": ("", "i32"),
}
_NUMBERS: Final = (
    0, 1, 2, 3, 7, 8, 16, 255, 1000, 4096, 65_535, 65_536, 131_071, 131_072, 1 << 20, (1 << 20) + 1, 1 << 24,
    (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 32) - 8,
)  # fmt: skip
_DOUBLES: Final = ("nan", "inf", "-inf", "-1", "0", "1e-300", "0.01")
_REQUESTS: Final = (b"", b"{", b"[1]", b'{"op":["state.get"]}', b'{"op":"state.get"}', b"\xff\xfe", b"[" * 3000,
                    b'{"op":"state.set","key":"k","value":' + b"[" * 300 + b"]" * 300 + b"}",
                    b'{"op":"state.set","key":"\\ud800","value":1}', b'{"op":"mqtt.publish","topic":"\\u0000"}',
                    b'{"op":"sleep","ms":"x"}', b'{"op": "sleep"}', b'{"op":"http.fetch","url":"http://xn--/"}')  # fmt: skip
_PLACES: Final = tuple(4096 * (at + 1) for at in range(len(_REQUESTS)))


def module(chance: random.Random) -> str:
    """Returns a module (base64) that calls host functions with odd addresses, sizes and contents."""
    imports = "".join(_import("wasi_snapshot_preview1", name, letters, "i32" if name != EXIT else "")
                      for name, letters in SIGNATURES.items())  # fmt: skip
    imports += "".join(_import("edgewhisk", name, *kinds) for name, kinds in _OWN.items())
    data = "".join(
        f'(data (i32.const {at}) "{"".join(f"{chr(92)}{byte:02x}" for byte in text)}")'
        for at, text in zip(_PLACES, _REQUESTS, strict=True)
    )
    calls = "".join(_call(chance) for _ in range(30))
    pages = chance.choice((1, 2, 3))
    text = f"""(module {imports} (memory (export "memory") {max(pages, 2)}) {data}
      (func (export "_start") (i32.store (i32.const 0) (i32.const {chance.choice(_NUMBERS)}))
        (i32.store (i32.const 4) (i32.const {chance.choice(_NUMBERS)})) {calls}))"""
    return wat.module(text)


def _import(place: str, name: str, letters: str, result: str) -> str:
    kinds = " ".join({"i": "i32", "j": "i64", "d": "f64"}[letter] for letter in letters)
    given = f"(param {kinds})" if kinds else ""
    return (
        f'(import "{place}" "{name}" (func ${place}.{name} {given} {f"(result {result})" if result else ""}))'
    )


def _call(chance: random.Random) -> str:
    own = chance.random() < 0.4
    name = chance.choice(list(_OWN)) if own else chance.choice([one for one in SIGNATURES if one != EXIT])
    letters, result = _OWN[name] if own else (SIGNATURES[name], "i32")
    values = [_value(letter, chance) for letter in letters]
    if name == "ask" and chance.random() < 0.7:
        at = chance.randrange(len(_REQUESTS))
        values = [f"(i32.const {_PLACES[at]})", f"(i32.const {len(_REQUESTS[at])})"]
    call = f"(call ${'edgewhisk' if own else 'wasi_snapshot_preview1'}.{name} {' '.join(values)})"
    return f"(drop {call})" if result else call


def _value(letter: str, chance: random.Random) -> str:
    if letter == "d":
        return f"(f64.const {chance.choice(_DOUBLES)})"
    number = chance.choice(_NUMBERS)
    if letter == "i":
        return f"(i32.const {number})"
    return f"(i64.const {chance.choice((number, (1 << 63) - 1, (1 << 64) - 1, 1 << 62))})"
