const util = require('../node_modules/util/util.js');
const custom = Symbol.for('nodejs.util.promisify.custom');

// The package has a symbol of its own, and does not know that timers can be promised.
function promisify(original) {
  if (typeof original !== 'function') throw new TypeError('The "original" argument must be of type function');
  if (original[custom]) return original[custom];
  const promised = function (...parts) {
    return new Promise((resolve, reject) => {
      original.call(this, ...parts, (error, value) => (error ? reject(error) : resolve(value)));
    });
  };
  Object.setPrototypeOf(promised, Object.getPrototypeOf(original));
  return Object.defineProperties(promised, Object.getOwnPropertyDescriptors(original));
}
promisify.custom = custom;

// %i, %o and %O, which the package leaves as they are; it does the others.
function format(first, ...parts) {
  if (typeof first !== 'string') return util.format(first, ...parts);
  let at = 0;
  const text = first.replace(/%([sdjcfioO%])/g, (all, kind) => {
    if (kind === '%') return all;
    const part = at < parts.length ? parts[at] : undefined;
    if (at >= parts.length || !/[ifoOc]/.test(kind)) { at += 1; return all; }
    parts.splice(at, 1);
    const shown = kind === 'c' ? '' : kind === 'i' ? parseInt(part, 10) : kind === 'f' ? parseFloat(part) : util.inspect(part);
    return String(shown).replace(/%/g, '%%');
  });
  return util.format(text, ...parts);
}

function isDeepStrictEqual(a, b) {
  try {
    require('assert').deepStrictEqual(a, b);
    return true;
  } catch {
    return false;
  }
}

const toUSVString = (text) => String(text).toWellFormed();
const stripVTControlCharacters = (text) => String(text).replace(/\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07)/g, '');

module.exports = { ...util, promisify, format, TextEncoder, TextDecoder, isDeepStrictEqual, toUSVString, stripVTControlCharacters };
