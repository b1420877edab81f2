// The capability module: what the annotation `edge-capabilities` grants. See sandboxes/README.md.
function ask(op, fields) {
  const answer = JSON.parse(host.ask(JSON.stringify({ op, ...fields })));
  if (answer.error !== undefined) throw Object.assign(new Error(answer.error), { name: 'CapabilityError' });
  return answer.ok;
}

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
