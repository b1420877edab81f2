const { URL, URLSearchParams } = require('whatwg-url-without-unicode');
const punycode = require('punycode');

// The package leaves names of other alphabets as they are; Node and DNS have them in ASCII.
const domainToASCII = (name) => punycode.toASCII(String(name).normalize('NFC').toLowerCase());
const domainToUnicode = (name) => punycode.toUnicode(String(name));
const isAscii = (text) => /^[\x00-\x7f]*$/.test(text);

class NodeURL extends URL {
  constructor(...parts) {
    super(...parts);
    if (!isAscii(this.hostname)) super.hostname = domainToASCII(this.hostname);
  }
  static canParse(...parts) {
    try { return Boolean(new NodeURL(...parts)); } catch { return false; }
  }
}
Object.defineProperty(NodeURL, 'name', { value: 'URL' });
if (!('size' in URLSearchParams.prototype)) {
  Object.defineProperty(URLSearchParams.prototype, 'size', { configurable: true, get() { return [...this].length; } });
}

module.exports = { URL: NodeURL, URLSearchParams, domainToASCII, domainToUnicode };
// The old functions are large and rarely used.
for (const name of ['parse', 'format', 'resolve', 'resolveObject', 'Url']) {
  Object.defineProperty(module.exports, name, { enumerable: true, get: () => require('url_legacy')[name] });
}
