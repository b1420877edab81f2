const { URL, URLSearchParams } = require('whatwg-url-without-unicode');
module.exports = { URL, URLSearchParams, domainToASCII: (name) => name, domainToUnicode: (name) => name };
// The old functions are large and rarely used.
for (const name of ['parse', 'format', 'resolve', 'resolveObject', 'Url']) {
  Object.defineProperty(module.exports, name, { enumerable: true, get: () => require('url_legacy')[name] });
}
