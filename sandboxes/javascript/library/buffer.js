// Node's Buffer; atob and btoa are the engine's own, and so is what turns text into bytes and back.
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
readingUrl(Buffer, ['isEncoding']);

// Numbers are those of source/bytes.c; the package itself does the other encodings.
const CODES = { utf8: 0, 'utf-8': 0, base64: 1, base64url: 2, hex: 3, latin1: 4, binary: 4, ascii: 5 };
const codeOf = (encoding) => (typeof encoding === 'string' && encoding ? CODES[encoding.toLowerCase()] : 0);

const { from, alloc, byteLength } = Buffer;
Buffer.from = (value, encoding, length) => {
  const code = typeof value === 'string' ? codeOf(encoding) : undefined;
  return code === undefined ? from(value, plain(encoding), length) : from(host.bytes(value, code));
};
Buffer.byteLength = (value, encoding) => {
  const code = typeof value === 'string' ? codeOf(encoding) : undefined;
  return code === 0 ? host.bytes(value, code).byteLength : byteLength(value, plain(encoding));
};
Buffer.alloc = (size, fill, encoding) => alloc(size, fill, plain(encoding));

// The first part is text, and may be "base64url" itself.
for (const name of ['write', 'fill', 'indexOf', 'lastIndexOf', 'includes']) {
  const known = Buffer.prototype[name];
  Buffer.prototype[name] = function (value, ...parts) { return known.call(this, value, ...parts.map(plain)); };
}

const { write, toString } = Buffer.prototype;
Buffer.prototype.write = function (text, ...parts) {
  if (typeof text !== 'string' || parts.length) return write.call(this, text, ...parts);
  const given = new Uint8Array(host.bytes(text, 0));
  if (given.length > this.length) return write.call(this, text); // which leaves out a character that has no room
  this.set(given);
  return given.length;
};

// A place in a buffer, as Node takes it.
const place = (given, usual, most) => (given === undefined ? usual : Math.min(Math.max(Math.trunc(given) || 0, 0), most));
Buffer.prototype.toString = function (encoding, start, end) {
  const code = encoding === undefined || typeof encoding === 'string' ? codeOf(encoding) : undefined;
  if (code === undefined) return toString.call(this, encoding, start, end);
  const first = place(start, 0, this.length), last = place(end, this.length, this.length);
  if (last <= first) return '';
  const part = first === 0 && last === this.length ? this : new Uint8Array(this.buffer, this.byteOffset + first, last - first);
  return host.text(part, code);
};

Buffer.prototype[Symbol.for('nodejs.util.inspect.custom')] = function (_depth, options, inspect) {
  const most = module.exports.INSPECT_MAX_BYTES, left = this.length - most;
  const bytes = this.toString('hex', 0, most).replace(/(..)(?=.)/g, '$1 ');
  const extras = Object.keys(this).filter((key) => !/^\d+$/.test(key)).map((key) => `${key}: ${inspect(this[key], options)}`);
  return `<Buffer ${bytes}${left > 0 ? ` ... ${left} more byte${left > 1 ? 's' : ''}` : ''}${extras.length ? `${this.length ? ', ' : ''}${extras.join(', ')}` : ''}>`;
};

const isAscii = (data) => new Uint8Array(data.buffer || data, data.byteOffset || 0, data.byteLength).every((byte) => byte < 128);
const isUtf8 = (data) => { const given = Buffer.from(data); return Buffer.from(given.toString()).equals(given); };

module.exports = { Buffer, SlowBuffer, kMaxLength, constants: { MAX_LENGTH: kMaxLength }, INSPECT_MAX_BYTES, atob, btoa, isAscii, isUtf8 };
