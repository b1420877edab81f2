const { Buffer } = require('buffer');
const { StringDecoder } = require('string_decoder');

const NAMES = { 'utf-8': 'utf8', utf8: 'utf8', 'utf-16le': 'utf16le', 'utf-16': 'utf16le', latin1: 'latin1', 'iso-8859-1': 'latin1', 'windows-1252': 'latin1', ascii: 'latin1', 'us-ascii': 'latin1' };
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

class TextDecoder {
  constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
    const name = NAMES[String(label).trim().toLowerCase()];
    if (!name) throw new RangeError(`The "${label}" encoding is not supported; there are utf-8, utf-16le and latin1`);
    Object.assign(this, { encoding: name === 'utf8' ? 'utf-8' : name === 'latin1' ? 'windows-1252' : 'utf-16le', fatal, ignoreBOM });
    Object.defineProperty(this, 'decoder', { value: new StringDecoder(name) });
    Object.defineProperty(this, 'started', { value: false, writable: true });
  }
  decode(data, { stream = false } = {}) {
    const given = bytes(data);
    let text = stream ? this.decoder.write(given) : this.decoder.end(given);
    if (this.fatal && text.includes('\ufffd') && !given.includes(Buffer.from('\ufffd'))) {
      throw new TypeError('The encoded data was not valid for encoding utf-8');
    }
    if (!this.started && text.startsWith('\ufeff') && !this.ignoreBOM) text = text.slice(1);
    this.started = stream;
    return text;
  }
}

module.exports = { TextEncoder, TextDecoder };
