const { EventTarget } = require('event-target-shim');

class Event {
  constructor(type, options = {}) {
    Object.assign(this, { type: String(type), bubbles: false, cancelable: Boolean(options.cancelable) });
  }
}

const named = (name, message) => Object.assign(new Error(message), { name, code: name === 'AbortError' ? 20 : 23 });

class AbortSignal extends EventTarget {
  constructor() {
    super();
    Object.assign(this, { aborted: false, reason: undefined, onabort: null });
  }
  throwIfAborted() { if (this.aborted) throw this.reason; }
  static abort(reason) { return abort(new AbortSignal(), reason); }
  static timeout(ms) {
    const signal = new AbortSignal();
    setTimeout(() => abort(signal, named('TimeoutError', 'The operation was aborted due to timeout')), ms);
    return signal;
  }
  static any(signals) {
    const joined = new AbortSignal();
    for (const signal of signals) {
      if (signal.aborted) return abort(joined, signal.reason);
      signal.addEventListener('abort', () => abort(joined, signal.reason));
    }
    return joined;
  }
}

function abort(signal, reason = named('AbortError', 'This operation was aborted')) {
  if (signal.aborted) return signal;
  Object.assign(signal, { aborted: true, reason });
  const event = new Event('abort');
  if (typeof signal.onabort === 'function') signal.onabort(event);
  signal.dispatchEvent(event);
  return signal;
}

class AbortController {
  constructor() { this.signal = new AbortSignal(); }
  abort(reason) { abort(this.signal, reason); }
}

module.exports = { AbortController, AbortSignal, EventTarget, Event };
