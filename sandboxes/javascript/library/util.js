const util = require('../node_modules/util/util.js');
const { inspect, format, formatWithOptions } = require('inspect');
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

module.exports = { ...util, promisify, inspect, format, formatWithOptions, TextEncoder, TextDecoder, isDeepStrictEqual, toUSVString, stripVTControlCharacters };
