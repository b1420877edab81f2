// The `openwhisk` client for JavaScript, with the calls, names and errors of the npm package of that name.
// It speaks to the gateway's own REST API through the gateway itself: what the action may do is checked there.
const { Buffer } = require('buffer');

const REASONS = { 400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found', 408: 'Request Timeout', 409: 'Conflict', 413: 'Payload Too Large', 415: 'Unsupported Media Type', 429: 'Too Many Requests', 500: 'Internal Server Error', 502: 'Bad Gateway', 503: 'Service Unavailable' };

class OpenWhiskError extends Error {
  constructor(message, error, statusCode) {
    super(message);
    Object.assign(this, { name: 'OpenWhiskError', error, statusCode });
  }
}

// What a body says went wrong: the platform, or an action.
function said(body) {
  if (body && typeof body.error === 'string') return body.error;
  const found = body && body.response && body.response.result && body.response.result.error;
  if (typeof found === 'string') return found;
  if (found && typeof found.error === 'string') return found.error;
  return found && found.statusCode ? `application error, status code: ${found.statusCode}` : 'Response Missing Error Message.';
}

function ask(method, path, query, body) {
  const given = Object.entries(query || {}).filter(([, value]) => value !== undefined && value !== null);
  const text = given.map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`).join('&');
  let request;
  try { request = JSON.stringify({ op: 'api', method, path, query: text, ...(body === undefined ? {} : { body }) }); } catch (error) {
    throw new OpenWhiskError(`${method} ${path}: the parameters cannot be written as JSON: ${error && error.message}`, error);
  }
  const answer = JSON.parse(host.ask(request));
  if (answer.error !== undefined) throw new OpenWhiskError(answer.error, { error: answer.error }, / is not granted/.test(answer.error) ? 403 : undefined);
  const { status, body: found } = answer.ok;
  if (status >= 200 && status < 300) return found === null ? '' : found;
  throw new OpenWhiskError(`${method} ${path} Returned HTTP ${status} (${REASONS[status] || 'unknown'}) --> "${said(found)}"`, found, status);
}

const pick = (options, keys) => Object.fromEntries(keys.filter((key) => options[key] !== undefined).map((key) => [key, options[key]]));
const pairs = (values) => (Array.isArray(values) ? values : Object.entries(values).map(([key, value]) => ({ key, value })));
const escaped = (id) => id.split('/').map(encodeURIComponent).join('/');

// "/ns/pkg/name", "pkg/name" or "name": [namespace or undefined, id].
function parsed(id) {
  if (!id.startsWith('/')) return [undefined, id];
  const [namespace, ...rest] = id.slice(1).split('/');
  if (!namespace || !rest.length || !rest.every(Boolean)) throw new OpenWhiskError(`Invalid resource identifier: ${id}`);
  return [namespace, rest.join('/')];
}

class Resources {
  constructor(client, kind, keys) { Object.assign(this, { client, kind, keys }); }

  // The path of an entity, or of the collection.
  at(options, id) {
    const [namespace, name] = id === undefined ? [undefined, undefined] : parsed(id);
    const own = namespace || options.namespace || this.client.namespace || '_';
    return `/namespaces/${encodeURIComponent(own)}/${this.kind}${name === undefined ? '' : `/${escaped(name)}`}`;
  }

  id(options) {
    const found = this.keys.map((key) => options[key]).find(Boolean);
    if (!found) throw new OpenWhiskError(`Missing resource identifier from parameters, supported parameter names: ${this.keys.join(', ')}`);
    if (typeof found !== 'string') throw new OpenWhiskError(`Invalid resource identifier: ${JSON.stringify(found)}`);
    return found;
  }

  // One call for each of several: a name, options, or an array of them.
  async each(options, call) {
    if (Array.isArray(options)) return Promise.all(options.map((one) => this.each(one, call)));
    const given = typeof options === 'string' ? { [this.keys[0]]: options } : options || {};
    return call(given);
  }

  async list(options = {}) { return ask('GET', this.at(options), pick(options, ['skip', 'limit', 'count'])); }
  get(options) { return this.each(options, (one) => ask('GET', this.at(one, this.id(one)), pick(one, ['code']))); }
  delete(options) { return this.each(options, (one) => ask('DELETE', this.at(one, this.id(one)))); }
  create(options) { return this.each(options, (one) => ask('PUT', this.at(one, this.id(one)), pick(one, ['overwrite']), this.body(one))); }
  update(options) { return this.each(options, (one) => this.create({ ...one, overwrite: true })); }
  invoke(options) { return this.each(options, (one) => ask('POST', this.at(one, this.id(one)), this.how(one), one.params || {})); }
  how() { return {}; }

  common(options, body) {
    if (options.params) body.parameters = pairs(options.params);
    if (options.annotations) body.annotations = pairs(options.annotations);
    if (options.version) body.version = options.version;
    return body;
  }
}

class Actions extends Resources {
  how(options) { return pick(options, ['blocking']); }

  invoke(options) {
    return this.each(options, async (one) => {
      const found = await super.invoke(one);
      return one.blocking && one.result && found.response ? found.response.result : found;
    });
  }

  body(options) {
    const { action, sequence } = options, body = {};
    if (sequence) body.exec = { kind: 'sequence', components: sequence.map((name) => (name.startsWith('/') ? name : `/_/${name}`)) };
    else if (action === undefined) throw new OpenWhiskError('Missing mandatory action parameter: action');
    else if (typeof action === 'string') body.exec = { kind: options.kind || 'nodejs:default', code: action };
    else if (Buffer.isBuffer(action)) body.exec = { kind: options.kind || 'nodejs:default', code: action.toString('base64') };
    else Object.assign(body, action);
    if (options.main && body.exec) body.exec = { ...body.exec, main: options.main };
    if (options.limits) body.limits = options.limits;
    return this.common(options, body);
  }

  async list(options = {}) {
    const inside = options.package ? `/${escaped(options.package)}/` : '';
    return ask('GET', this.at(options) + inside, pick(options, ['skip', 'limit', 'count']));
  }
}

class Triggers extends Resources {
  body(options) { return this.common(options, { ...options.trigger }); }
}

class Rules extends Resources {
  body(options) {
    const full = (name) => (name.startsWith('/') ? name : `/${options.namespace || this.client.namespace || '_'}/${name}`);
    for (const key of ['action', 'trigger']) if (!options[key]) throw new OpenWhiskError(`Missing mandatory parameters: ${key}`);
    return this.common(options, { action: full(options.action), trigger: full(options.trigger) });
  }
  enable(options) { return this.each(options, (one) => ask('POST', this.at(one, this.id(one)), {}, { status: 'active' })); }
  disable(options) { return this.each(options, (one) => ask('POST', this.at(one, this.id(one)), {}, { status: 'inactive' })); }
}

class Packages extends Resources {
  body(options) { return this.common(options, { ...options.package }); }
}

class Activations extends Resources {
  async list(options = {}) { return ask('GET', this.at(options), pick(options, ['name', 'skip', 'limit', 'upto', 'docs', 'since', 'count'])); }
  part(options, name) { return this.each(options, (one) => ask('GET', `${this.at(one, this.id(one))}/${name}`)); }
  logs(options) { return this.part(options, 'logs'); }
  result(options) { return this.part(options, 'result'); }
}

class Namespaces {
  async list() { return ask('GET', '/namespaces'); }
  async get(options = {}) {
    const namespace = encodeURIComponent((typeof options === 'string' ? options : options.name || options.namespace) || '_');
    return Object.fromEntries(['actions', 'packages', 'triggers', 'rules'].map((kind) => [kind, ask('GET', `/namespaces/${namespace}/${kind}`, { limit: 200 })]));
  }
}

class Feeds {
  constructor(client) { this.client = client; }
  async change(lifecycleEvent, { name, feedName, trigger, namespace, params }) {
    if (!name && !feedName) throw new OpenWhiskError('Missing resource identifier from parameters, supported parameter names: feedName, name');
    if (!trigger) throw new OpenWhiskError('Missing mandatory trigger parameter: trigger');
    const triggerName = trigger.startsWith('/') ? trigger : `/${namespace || this.client.namespace || '_'}/${trigger}`;
    const own = { authKey: process.env.__OW_API_KEY, lifecycleEvent, triggerName };
    return this.client.actions.invoke({ name: name || feedName, namespace, blocking: true, params: { ...params, ...own } });
  }
  create(options = {}) { return this.change('CREATE', options); }
  get(options = {}) { return this.change('READ', options); }
  update(options = {}) { return this.change('UPDATE', options); }
  delete(options = {}) { return this.change('DELETE', options); }
}

const refuse = async () => { throw new OpenWhiskError('routes are not available to an action: make them with wsk api or a manifest'); };
const KEYS = { actions: ['name', 'actionName'], triggers: ['name', 'triggerName'], rules: ['name', 'ruleName'], packages: ['name', 'packageName'], activations: ['name', 'activation', 'activationId'] };

module.exports = (options = {}) => {
  const client = { namespace: options.namespace };
  for (const [kind, Kind] of Object.entries({ actions: Actions, triggers: Triggers, rules: Rules, packages: Packages, activations: Activations })) {
    client[kind] = new Kind(client, kind, KEYS[kind]);
  }
  return Object.assign(client, { namespaces: new Namespaces(), feeds: new Feeds(client), routes: { list: refuse, get: refuse, create: refuse, delete: refuse } });
};
module.exports.OpenWhiskError = OpenWhiskError;
