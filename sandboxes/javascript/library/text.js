const { Buffer } = require('buffer');
const { StringDecoder } = require('string_decoder');

// What the labels mean to browsers and Node (WHATWG Encoding): latin1 is windows-1252.
const NAMES = { 'utf-8': 'utf-8', utf8: 'utf-8', 'unicode-1-1-utf-8': 'utf-8', 'utf-16le': 'utf-16le', 'utf-16': 'utf-16le', 'utf-16be': 'utf-16be' };
for (const name of ['latin1', 'iso-8859-1', 'iso8859-1', 'l1', 'windows-1252', 'cp1252', 'ascii', 'us-ascii']) NAMES[name] = 'windows-1252';
const DECODERS = { 'utf-8': 'utf8', 'utf-16le': 'utf16le', 'utf-16be': 'utf16le', 'windows-1252': 'latin1' };
// 0x80 to 0x9f, which are letters there and not controls.
const HIGH = '\u20ac\x81\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\x8d\u017d\x8f\x90\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\x9d\u017e\u0178';
const REPLACEMENT = Buffer.from('\ufffd');
const bytes = (data) => (data === undefined ? Buffer.alloc(0) : Buffer.from(data.buffer || data, data.byteOffset || 0, data.byteLength));

class TextEncoder {
  get encoding() { return 'utf-8'; }
  encode(text = '') { return new Uint8Array(Buffer.from(String(text))); }
  encodeInto(text, target) {
    let read = 0, written = 0;
    for (const point of String(text)) {
      const part = Buffer.from(point);
      if (written + part.length > target.length) break;
      target.set(part, written);
      written += part.length;
      read += point.length;
    }
    return { read, written };
  }
}

function count(data, part) {
  let found = 0;
  for (let at = data.indexOf(part); at >= 0; at = data.indexOf(part, at + part.length)) found += 1;
  return found;
}

class TextDecoder {
  constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
    const encoding = NAMES[String(label).trim().toLowerCase()];
    if (!encoding) throw new RangeError(`The "${label}" encoding is not supported; there are utf-8, utf-16le, utf-16be and windows-1252`);
    Object.assign(this, { encoding, fatal: Boolean(fatal), ignoreBOM: Boolean(ignoreBOM) });
    Object.defineProperty(this, 'decoder', { value: new StringDecoder(DECODERS[encoding]) });
    Object.defineProperty(this, 'held', { value: Buffer.alloc(0), writable: true }); // half a unit of UTF-16BE
    Object.defineProperty(this, 'started', { value: false, writable: true });
  }
  decode(data, { stream = false } = {}) {
    const given = this.encoding === 'utf-16be' ? this.swapped(bytes(data), stream) : bytes(data);
    let text = stream ? this.decoder.write(given) : this.decoder.end(given);
    if (this.encoding === 'windows-1252') text = text.replace(/[\x80-\x9f]/g, (one) => HIGH[one.charCodeAt(0) - 128]);
    // A replacement that was not given stands for what is malformed.
    if (this.fatal && this.encoding === 'utf-8' && count(text, '\ufffd') > count(given, REPLACEMENT)) {
      throw Object.assign(new TypeError('The encoded data was not valid for encoding utf-8'), { code: 'ERR_ENCODING_INVALID_ENCODED_DATA' });
    }
    if (!this.started && text.startsWith('\ufeff') && !this.ignoreBOM) text = text.slice(1);
    this.started = stream && (this.started || text.length > 0);
    return text;
  }
  swapped(given, stream) {
    const all = Buffer.concat([this.held, given]), whole = all.length & ~1;
    this.held = stream ? all.subarray(whole) : Buffer.alloc(0);
    const part = Buffer.from(all.subarray(0, whole));
    part.swap16();
    return part;
  }
}

module.exports = { TextEncoder, TextDecoder };
