// Node's Buffer; atob and btoa are the engine's own.
const { Buffer, SlowBuffer, kMaxLength, INSPECT_MAX_BYTES } = require('../node_modules/buffer/index.js');

// The package does not know base64url: it reads it as base64, and writes it with other letters.
const isUrl = (encoding) => typeof encoding === 'string' && encoding.toLowerCase() === 'base64url';
const plain = (encoding) => (isUrl(encoding) ? 'base64' : encoding);

function readingUrl(owner, names) {
  for (const name of names) {
    const known = owner[name];
    owner[name] = function (...parts) { return known.apply(this, parts.map(plain)); };
  }
}
readingUrl(Buffer, ['byteLength', 'isEncoding']);
const { from, alloc } = Buffer;
Buffer.from = (value, encoding, length) => from(value, plain(encoding), length);
Buffer.alloc = (size, fill, encoding) => alloc(size, fill, plain(encoding));

// The first part is text, and may be "base64url" itself.
for (const name of ['write', 'fill', 'indexOf', 'lastIndexOf', 'includes']) {
  const known = Buffer.prototype[name];
  Buffer.prototype[name] = function (value, ...parts) { return known.call(this, value, ...parts.map(plain)); };
}
const { toString } = Buffer.prototype;
Buffer.prototype.toString = function (encoding, ...parts) {
  const text = toString.call(this, plain(encoding), ...parts);
  return isUrl(encoding) ? text.replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '') : text;
};

const isAscii = (data) => new Uint8Array(data.buffer || data, data.byteOffset || 0, data.byteLength).every((byte) => byte < 128);
const isUtf8 = (data) => { const given = Buffer.from(data); return Buffer.from(given.toString()).equals(given); };

module.exports = { Buffer, SlowBuffer, kMaxLength, constants: { MAX_LENGTH: kMaxLength }, INSPECT_MAX_BYTES, atob, btoa, isAscii, isUtf8 };
