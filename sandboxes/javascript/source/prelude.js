// What Node users expect of a function without files or sockets. Runs once, before the image is taken.
(function (log, sleep, random, context) {
  'use strict';
  const STDOUT = 1, STDERR = 2;
  Math.random = { random: () => random() }.random;

  // -- console --------------------------------------------------------------------------------
  const MOST_DEPTH = 4, MOST_ITEMS = 100;

  function inspect(value, depth, seen) {
    if (typeof value === 'string') return depth ? JSON.stringify(value) : value;
    if (typeof value === 'bigint') return `${value}n`;
    if (typeof value === 'symbol') return value.toString();
    if (typeof value === 'function') return `[Function: ${value.name || '(anonymous)'}]`;
    if (value === null || typeof value !== 'object') return Object.is(value, -0) ? '-0' : String(value);
    if (value instanceof Error) return value.stack ? `${value}\n${value.stack}`.trimEnd() : String(value);
    if (value instanceof Date) return isNaN(value) ? 'Invalid Date' : value.toISOString();
    if (value instanceof RegExp) return String(value);
    if (seen.includes(value)) return '[Circular]';
    if (depth > MOST_DEPTH) return Array.isArray(value) ? '[Array]' : '[Object]';
    return inspectParts(value, depth + 1, [...seen, value]);
  }

  function inspectParts(value, depth, seen) {
    const show = (part) => inspect(part, depth, seen);
    const listed = (items) => {
      const shown = items.slice(0, MOST_ITEMS);
      if (items.length > MOST_ITEMS) shown.push(`... ${items.length - MOST_ITEMS} more`);
      return shown.join(', ');
    };
    if (Array.isArray(value)) return `[ ${listed(value.map(show))} ]`.replace('[  ]', '[]');
    if (value instanceof Map) return `Map(${value.size}) { ${listed([...value].map(([k, v]) => `${show(k)} => ${show(v)}`))} }`;
    if (value instanceof Set) return `Set(${value.size}) { ${listed([...value].map(show))} }`;
    if (ArrayBuffer.isView(value)) return `${value.constructor.name} [ ${listed(Array.from(value).map(show))} ]`;
    const name = value.constructor && value.constructor !== Object ? `${value.constructor.name} ` : '';
    const keys = Object.keys(value).map((key) => `${/^[\w$]+$/.test(key) ? key : JSON.stringify(key)}: ${show(value[key])}`);
    return `${name}{ ${listed(keys)} }`.replace('{  }', '{}');
  }

  function format(parts) {
    if (typeof parts[0] !== 'string' || !parts[0].includes('%')) return parts.map((p) => inspect(p, 0, [])).join(' ');
    let at = 1;
    const head = parts[0].replace(/%([sdifjoOc%])/g, (all, kind) => {
      if (kind === '%') return '%';
      if (at >= parts.length) return all;
      const part = parts[at++];
      if (kind === 'c') return '';
      if (kind === 'd' || kind === 'f') return String(Number(part));
      if (kind === 'i') return String(parseInt(part, 10));
      if (kind === 'j') return JSON.stringify(part);
      return inspect(part, kind === 's' ? 0 : 1, []);
    });
    return [head, ...parts.slice(at).map((p) => inspect(p, 0, []))].join(' ');
  }

  const print = (stream) => (...parts) => log(stream, format(parts));
  const counts = new Map(), timersByLabel = new Map();
  globalThis.console = {
    log: print(STDOUT), info: print(STDOUT), debug: print(STDOUT), dir: (value) => log(STDOUT, inspect(value, 0, [])),
    warn: print(STDERR), error: print(STDERR),
    trace: (...parts) => log(STDERR, `Trace: ${format(parts)}\n${new Error().stack}`.trimEnd()),
    assert: (ok, ...parts) => { if (!ok) log(STDERR, `Assertion failed${parts.length ? `: ${format(parts)}` : ''}`); },
    count: (label = 'default') => { counts.set(label, (counts.get(label) || 0) + 1); log(STDOUT, `${label}: ${counts.get(label)}`); },
    time: (label = 'default') => { timersByLabel.set(label, Date.now()); },
    timeEnd: (label = 'default') => { if (timersByLabel.has(label)) log(STDOUT, `${label}: ${Date.now() - timersByLabel.get(label)}ms`); },
    group() {}, groupEnd() {}, table: print(STDOUT),
  };

  // -- timers ---------------------------------------------------------------------------------
  const timers = new Map(), LONGEST_DELAY = 2 ** 31 - 1;
  let lastTimer = 0;

  function schedule(callback, delay, parts, repeat) {
    if (typeof callback !== 'function') throw new TypeError('The "callback" argument must be of type function');
    const wait = delay >= 1 && delay <= LONGEST_DELAY ? Number(delay) : 1; // as Node does
    const id = ++lastTimer;
    timers.set(id, { due: Date.now() + wait, id, callback, parts, wait, repeat });
    return new Timeout(id);
  }

  class Timeout {
    constructor(id) { Object.defineProperty(this, 'id', { value: id }); }
    ref() { return this; }
    unref() { return this; } // an action ends with its result, whatever timers there are
    hasRef() { return true; }
    refresh() { const timer = timers.get(this.id); if (timer) timer.due = Date.now() + timer.wait; return this; }
    close() { timers.delete(this.id); return this; }
    [Symbol.toPrimitive]() { return this.id; }
  }
  const cancel = (timer) => { timers.delete(timer instanceof Timeout ? timer.id : Number(timer)); };

  // Waits for the next timer and runs it; false when there is none.
  function tick() {
    let next = null;
    for (const timer of timers.values()) if (!next || timer.due < next.due || (timer.due === next.due && timer.id < next.id)) next = timer;
    if (!next) return false;
    const wait = next.due - Date.now();
    if (wait > 0) sleep(wait);
    if (next.repeat) next.due = Date.now() + next.wait; else timers.delete(next.id);
    next.callback(...next.parts);
    return true;
  }

  Object.assign(globalThis, {
    setTimeout: (callback, delay, ...parts) => schedule(callback, delay, parts, false),
    setInterval: (callback, delay, ...parts) => schedule(callback, delay, parts, true),
    setImmediate: (callback, ...parts) => schedule(callback, 0, parts, false),
    clearTimeout: cancel, clearInterval: cancel, clearImmediate: cancel,
  });

  // util.promisify(setTimeout), and what is in timers/promises.
  function promised(begin, value, { signal } = {}) {
    return new Promise((resolve, reject) => {
      const stopped = () => reject(Object.assign(new Error('The operation was aborted', { cause: signal.reason }), { name: 'AbortError', code: 'ABORT_ERR' }));
      if (signal && signal.aborted) { stopped(); return; }
      const timer = begin(() => resolve(value));
      if (signal) signal.addEventListener('abort', () => { cancel(timer); stopped(); });
    });
  }
  const promises = {
    setTimeout: (ms, value, options) => promised((done) => setTimeout(done, ms), value, options),
    setImmediate: (value, options) => promised(setImmediate, value, options),
    setInterval: async function* (ms, value, options) { for (;;) yield await promises.setTimeout(ms, value, options); },
    scheduler: { wait: (ms, options) => promises.setTimeout(ms, undefined, options), yield: () => promises.setImmediate() },
  };
  for (const name of ['setTimeout', 'setImmediate']) {
    Object.defineProperty(globalThis[name], Symbol.for('nodejs.util.promisify.custom'), { value: promises[name] });
  }
  if (!globalThis.queueMicrotask) {
    globalThis.queueMicrotask = (callback) => { Promise.resolve().then(callback); };
  }

  // -- process --------------------------------------------------------------------------------
  const OW = ['activation_id', 'action_name', 'action_version', 'namespace', 'deadline', 'transaction_id', 'api_host', 'api_key'];
  const env = {};
  for (const key of OW) {
    Object.defineProperty(env, `__OW_${key.toUpperCase()}`, {
      enumerable: true, configurable: true,
      get: () => { const text = context(); return text ? JSON.parse(text)[key] : undefined; },
    });
  }
  globalThis.process = {
    env, argv: ['node', 'main.js'], platform: 'linux', version: 'v20.0.0', versions: { node: '20.0.0' }, pid: 1,
    cwd: () => '/', uptime: () => 0, nextTick: (callback, ...parts) => queueMicrotask(() => callback(...parts)),
    stdout: { write: (text) => { log(STDOUT, String(text).replace(/\n$/, '')); return true; } },
    stderr: { write: (text) => { log(STDERR, String(text).replace(/\n$/, '')); return true; } },
    hrtime: Object.assign(() => { const ms = Date.now(); return [Math.floor(ms / 1000), (ms % 1000) * 1e6]; },
      { bigint: () => BigInt(Date.now()) * 1000000n }),
    exit: () => { throw new Error('process.exit() is not available in an action: return a result or throw an error'); },
    on() { return globalThis.process; },
  };
  globalThis.global = globalThis;

  return { tick, env, promises };
})
