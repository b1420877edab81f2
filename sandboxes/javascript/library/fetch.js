// fetch over the http capability: whole bodies, no streams.
const { ask } = require('edgewhisk');
const { Buffer } = require('buffer');

class Headers {
  constructor(pairs = []) {
    this.map = new Map();
    const entries = pairs instanceof Headers ? [...pairs] : Array.isArray(pairs) ? pairs : Object.entries(pairs);
    for (const [name, value] of entries) this.append(name, value);
  }
  append(name, value) {
    const key = String(name).toLowerCase(), old = this.map.get(key);
    this.map.set(key, old === undefined ? String(value) : `${old}, ${value}`);
  }
  set(name, value) { this.map.set(String(name).toLowerCase(), String(value)); }
  get(name) { const found = this.map.get(String(name).toLowerCase()); return found === undefined ? null : found; }
  has(name) { return this.map.has(String(name).toLowerCase()); }
  delete(name) { this.map.delete(String(name).toLowerCase()); }
  forEach(call) { this.map.forEach((value, name) => call(value, name, this)); }
  entries() { return this.map.entries(); }
  keys() { return this.map.keys(); }
  values() { return this.map.values(); }
  [Symbol.iterator]() { return this.map.entries(); }
}

class Response {
  constructor(body = '', { status = 200, headers = {}, url = '' } = {}) {
    Object.assign(this, { body: Buffer.from(body), status, url, ok: status >= 200 && status < 300, headers: new Headers(headers) });
  }
  async text() { return this.body.toString(); }
  async json() { return JSON.parse(this.body.toString()); }
  async arrayBuffer() { return new Uint8Array(this.body).buffer; }
  async bytes() { return new Uint8Array(this.body); }
}

async function fetch(resource, options = {}) {
  const headers = [...new Headers(options.headers)], { body } = options;
  const payload = body === undefined || body === null ? {} : typeof body === 'string' ? { body } : { body64: Buffer.from(body).toString('base64') };
  const answer = ask('http.fetch', { url: String(resource), method: options.method, headers, ...payload });
  return new Response(Buffer.from(answer.body64, 'base64'), { status: answer.status, headers: answer.headers, url: answer.url });
}

module.exports = { fetch, Headers, Response };
