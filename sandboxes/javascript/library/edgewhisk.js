// The capability module: what the annotation `edge-capabilities` grants. See sandboxes/README.md.
function ask(op, fields) {
  let request;
  try { request = JSON.stringify({ op, ...fields }); } catch (error) { // a BigInt, a circle, a broken toJSON
    throw refused(`${typeof op === 'string' ? op : 'ask'}: the request cannot be written as JSON: ${error && error.message}`, error);
  }
  const answer = JSON.parse(host.ask(request));
  if (answer.error !== undefined) throw refused(answer.error);
  return answer.ok;
}

const refused = (text, cause) => Object.assign(new Error(text, cause && { cause }), { name: 'CapabilityError' });
const later = async (op, fields) => ask(op, fields);
const base64 = (data) => require('buffer').Buffer.from(data).toString('base64');

module.exports = {
  ask,
  state: {
    get: (key) => ask('state.get', { key }),
    set: (key, value) => ask('state.set', { key, value }),
    delete: (key) => ask('state.delete', { key }),
    compareAndSet: (key, expected, value) => ask('state.compare_and_set', { key, expected, value }),
    keys: () => ask('state.keys', {}),
  },
  mqtt: {
    publish: (topic, payload, { qos = 0, retain = false } = {}) => {
      const isBytes = typeof payload !== 'string' && (ArrayBuffer.isView(payload) || payload instanceof ArrayBuffer);
      const data = isBytes ? { payload64: base64(payload) } : { payload: typeof payload === 'string' ? payload : JSON.stringify(payload) };
      return later('mqtt.publish', { topic, qos, retain, ...data });
    },
  },
  serial: { write: (port, data) => later('serial.write', { port, ...(typeof data === 'string' ? { data } : { data64: base64(data) }) }) },
  invoke: (name, params) => later('invoke', { name, arguments: params }),
  fire: (name, params) => later('fire', { name, arguments: params }),
  fetch: (...parts) => globalThis.fetch(...parts),
};
