const { AbortController, AbortSignal } = require('abort-controller');
const { EventTarget } = require('event-target-shim');

class Event {
  constructor(type, options = {}) {
    Object.assign(this, { type: String(type), bubbles: false, cancelable: Boolean(options.cancelable) });
  }
}
module.exports = { AbortController, AbortSignal, EventTarget, Event };
