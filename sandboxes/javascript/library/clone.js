// structuredClone as HTML says it, for what there is in an action.
const { Buffer } = require('buffer');
const ERRORS = ['Error', 'EvalError', 'RangeError', 'ReferenceError', 'SyntaxError', 'TypeError', 'URIError'];

function refuse(value) {
  const shown = typeof value === 'symbol' ? value.toString() : typeof value === 'object' ? `#<${value.constructor.name}>` : String(value);
  throw Object.assign(new Error(`${shown} could not be cloned.`), { name: 'DataCloneError', code: 25 });
}

function clone(value, seen) {
  if (typeof value === 'function' || typeof value === 'symbol') refuse(value);
  if (typeof value !== 'object' || value === null) return value;
  if (seen.has(value)) return seen.get(value);
  const made = copied(value, seen);
  seen.set(value, made);
  if (value instanceof Map) for (const [key, item] of [...value]) made.set(clone(key, seen), clone(item, seen));
  else if (value instanceof Set) for (const item of [...value]) made.add(clone(item, seen));
  else if (isPlain(value)) for (const key of Object.keys(value)) made[key] = clone(value[key], seen);
  return made;
}

const isPlain = (value) => Array.isArray(value) || !/^\[object (Map|Set|Date|RegExp|Error|ArrayBuffer|DataView|Boolean|Number|String|BigInt|\w+Array)\]$/.test(tag(value));
const tag = (value) => (value instanceof Error ? '[object Error]' : ArrayBuffer.isView(value) && !(value instanceof DataView) ? '[object XArray]' : Object.prototype.toString.call(value));

function copied(value, seen) {
  if (Array.isArray(value)) return new Array(value.length);
  if (value instanceof Date) return new Date(value.getTime());
  if (value instanceof RegExp) return new RegExp(value.source, value.flags);
  if (value instanceof Map) return new Map();
  if (value instanceof Set) return new Set();
  if (value instanceof Error) return copiedError(value, seen);
  if (value instanceof ArrayBuffer) return value.slice(0);
  if (value instanceof DataView) return new DataView(clone(value.buffer, seen), value.byteOffset, value.byteLength);
  if (ArrayBuffer.isView(value)) {
    const Kind = value instanceof Buffer ? Uint8Array : value.constructor;
    return new Kind(clone(value.buffer, seen), value.byteOffset, value.length);
  }
  for (const Kind of [Boolean, Number, String, BigInt]) if (value instanceof Kind) return Object(value.valueOf());
  for (const Kind of [Promise, WeakMap, WeakSet, WeakRef]) if (value instanceof Kind) refuse(value);
  return {};
}

function copiedError(value, seen) {
  const made = new globalThis[ERRORS.includes(value.name) ? value.name : 'Error'](value.message);
  Object.defineProperty(made, 'stack', { value: value.stack, writable: true, configurable: true });
  if ('cause' in value) Object.defineProperty(made, 'cause', { value: clone(value.cause, seen), writable: true, configurable: true });
  return made;
}

module.exports = {
  structuredClone(value, { transfer = [] } = {}) {
    const made = clone(value, new Map());
    for (const buffer of transfer) if (buffer instanceof ArrayBuffer) buffer.transfer();
    return made;
  },
};
