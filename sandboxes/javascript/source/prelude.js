// What Node users expect of a function without files or sockets. Runs once, before the image is taken.
(function (natives) {
  'use strict';
  const { log, sleep, random, context, exit, used, gc } = natives;
  const STDOUT = 1, STDERR = 2;
  Math.random = { random: () => random() }.random;
  let library = null; // name -> module of ours, when the modules are there

  // -- console --------------------------------------------------------------------------------
  // What needs no library: most lines. Objects, functions and placeholders do.
  const isFlat = (value) => typeof value === 'string' || typeof value === 'boolean' || value === undefined || value === null || (typeof value === 'number' && !Object.is(value, -0));

  function format(parts) {
    const hasHoles = parts.length > 1 && typeof parts[0] === 'string' && parts[0].includes('%');
    return !hasHoles && parts.every(isFlat) ? parts.map(String).join(' ') : library('inspect').format(...parts);
  }

  function inspect(value, options) {
    if (value instanceof Error && !Object.keys(value).length && value.cause === undefined) return `${value}\n${value.stack}`.trimEnd();
    return library('inspect').inspect(value, options);
  }

  let margin = '';
  const line = (stream, text) => log(stream, margin ? margin + text.replaceAll('\n', `\n${margin}`) : text);
  const print = (stream) => (...parts) => line(stream, format(parts));
  const counts = new Map(), starts = new Map();
  const elapsed = (label) => `${label}: ${Date.now() - starts.get(label)}ms`;
  const group = (...parts) => { if (parts.length) line(STDOUT, format(parts)); margin += '  '; };
  globalThis.console = {
    log: print(STDOUT), info: print(STDOUT), debug: print(STDOUT), dirxml: print(STDOUT), warn: print(STDERR), error: print(STDERR),
    dir: (value, options) => line(STDOUT, inspect(value, { customInspect: false, ...options })),
    trace: (...parts) => line(STDERR, `Trace: ${format(parts)}\n${new Error().stack}`.trimEnd()),
    assert: (ok, ...parts) => { if (!ok) line(STDERR, `Assertion failed${parts.length ? `: ${format(parts)}` : ''}`); },
    count: (label = 'default') => { counts.set(label, (counts.get(label) || 0) + 1); line(STDOUT, `${label}: ${counts.get(label)}`); },
    countReset: (label = 'default') => { counts.delete(label); },
    time: (label = 'default') => { starts.set(label, Date.now()); },
    timeLog: (label = 'default', ...parts) => { if (starts.has(label)) line(STDOUT, format([elapsed(label), ...parts])); },
    timeEnd: (label = 'default') => { if (starts.has(label)) line(STDOUT, elapsed(label)); starts.delete(label); },
    group, groupCollapsed: group, groupEnd: () => { margin = margin.slice(2); },
    table: (data, columns) => line(STDOUT, library('inspect').table(data, columns)),
  };

  // What OpenWhisk's proxy writes to the log of an action that broke.
  const tell = (words, value) => log(STDERR, words + (value instanceof Error ? inspect(value) : format([value])));

  // An error as JSON, as the proxy's serialize-error makes it.
  function plain(error) {
    if (!error) return {};
    if (typeof error === 'function') return `[Function: ${error.name || 'anonymous'}]`;
    return error instanceof Error ? { ...error, name: error.name, message: error.message, stack: `${error}\n${error.stack}`.trimEnd() } : error;
  }

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
  // The call's context is read when somebody asks for it: not by most calls, and never while loading.
  const known = {};
  let isRead = false;
  function all() {
    const text = isRead ? '' : context();
    if (text) {
      isRead = true;
      for (const [key, value] of Object.entries(JSON.parse(text))) known[`__OW_${key.toUpperCase()}`] = value;
    }
    return known;
  }
  const env = new Proxy(known, {
    get: (_, key) => all()[key], has: (_, key) => key in all(), ownKeys: () => Reflect.ownKeys(all()),
    getOwnPropertyDescriptor: (_, key) => Object.getOwnPropertyDescriptor(all(), key),
    set: (_, key, value) => { all()[key] = String(value); return true; },
    deleteProperty: (_, key) => delete all()[key],
  });
  globalThis.process = {
    env, argv: ['node', 'main.js'], platform: 'linux', version: 'v20.0.0', versions: { node: '20.0.0' }, pid: 1,
    cwd: () => '/', uptime: () => 0, nextTick: (callback, ...parts) => queueMicrotask(() => callback(...parts)),
    stdout: { write: (text) => { log(STDOUT, String(text).replace(/\n$/, '')); return true; } },
    stderr: { write: (text) => { log(STDERR, String(text).replace(/\n$/, '')); return true; } },
    hrtime: Object.assign(() => { const ms = Date.now(); return [Math.floor(ms / 1000), (ms % 1000) * 1e6]; },
      { bigint: () => BigInt(Date.now()) * 1000000n }),
    exit, reallyExit: exit, abort: exit, exitCode: undefined,
    memoryUsage: Object.assign(() => ({ rss: used(), heapTotal: used(), heapUsed: used(), external: 0, arrayBuffers: 0 }), { rss: used }),
    emitWarning: (warning) => log(STDERR, `(node:1) ${warning instanceof Error ? warning : `Warning: ${warning}`}`),
    on() { return globalThis.process; },
  };
  for (const name of ['once', 'off', 'addListener', 'removeListener', 'removeAllListeners']) globalThis.process[name] = globalThis.process.on;
  globalThis.global = globalThis;
  globalThis.gc = gc; // the proxy runs node with --expose-gc

  const adopt = (thenable) => Promise.resolve(thenable);
  return { tick, env, promises, tell, plain, adopt, connect: (modules) => { library = modules; } };
})
