const { md5, sha1 } = require('@noble/hashes/legacy.js');
const { sha224, sha256, sha384, sha512 } = require('@noble/hashes/sha2.js');
const { hmac } = require('@noble/hashes/hmac.js');
const { Buffer } = require('buffer');

const HASHES = { md5, sha1, sha224, sha256, sha384, sha512 };

function hashOf(name) {
  const found = HASHES[String(name).toLowerCase().replace('-', '')];
  if (!found) throw new Error(`Digest method not supported: ${name}; there are ${Object.keys(HASHES).join(', ')}`);
  return found;
}

const bytes = (data, encoding) => (typeof data === 'string' ? Buffer.from(data, encoding) : new Uint8Array(data.buffer || data, data.byteOffset || 0, data.byteLength));

class Digest {
  constructor(state) { this.state = state; }
  update(data, encoding) { this.state.update(bytes(data, encoding)); return this; }
  digest(encoding) {
    const result = Buffer.from(this.state.digest());
    return encoding && encoding !== 'buffer' ? result.toString(encoding) : result;
  }
}

// At most 65536 bytes a time, as the Web Crypto API has it.
function getRandomValues(array) {
  if (!ArrayBuffer.isView(array)) throw new TypeError('getRandomValues wants an integer array');
  if (array.byteLength > 65536) throw new RangeError('getRandomValues gives 65536 bytes at most');
  host.entropy(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  return array;
}

function randomBytes(size, callback) {
  const result = Buffer.alloc(size);
  host.entropy(result);
  if (callback) queueMicrotask(() => callback(null, result));
  return callback ? undefined : result;
}

function randomUUID() {
  const raw = randomBytes(16);
  raw[6] = (raw[6] & 0x0f) | 0x40;
  raw[8] = (raw[8] & 0x3f) | 0x80;
  const hex = raw.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

function randomInt(low, high) {
  const [from, to] = high === undefined ? [0, low] : [low, high];
  const range = to - from, limit = 2 ** 48 - (2 ** 48 % range); // beyond: some numbers would be likelier
  for (;;) {
    const value = randomBytes(6).readUIntBE(0, 6);
    if (value < limit) return from + (value % range);
  }
}

function timingSafeEqual(a, b) {
  const one = bytes(a), two = bytes(b);
  if (one.length !== two.length) throw new RangeError('Input buffers must have the same byte length');
  return one.reduce((different, byte, at) => different | (byte ^ two[at]), 0) === 0;
}

const webcrypto = { getRandomValues, randomUUID };
module.exports = {
  createHash: (name) => new Digest(hashOf(name).create()),
  createHmac: (name, key) => new Digest(hmac.create(hashOf(name), bytes(key))),
  getHashes: () => Object.keys(HASHES),
  randomBytes, randomUUID, randomInt, getRandomValues, timingSafeEqual, webcrypto,
};
