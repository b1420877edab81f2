// Finds, compiles and links the user's files and our library. Runs once, before the image is taken.
(function (natives, prelude) {
  'use strict';
  const { compile, evaluate, library: librarySource, ask, entropy, bytes, text: textOf, promise } = natives;
  const { env, promises, connect } = prelude;
  const NO_SOCKETS = 'an action has no sockets: use fetch, with the http capability';
  const NO_PROCESSES = 'an action has no processes or threads: invoke another action, with the invoke capability';
  const ABSENT = {
    zlib: 'there is no compression here: send data as it is',
    http: NO_SOCKETS, https: NO_SOCKETS, http2: NO_SOCKETS, net: NO_SOCKETS, tls: NO_SOCKETS, dns: NO_SOCKETS, dgram: NO_SOCKETS,
    child_process: NO_PROCESSES, worker_threads: NO_PROCESSES, cluster: NO_PROCESSES,
    os: 'an action does not see the machine: bind what it needs as parameters',
    stream: 'there are no streams here: work on whole values', readline: 'an action has no terminal', repl: 'an action has no terminal',
    vm: 'use eval or new Function', v8: 'the engine is not V8', inspector: 'the engine is not V8', module: 'use require',
    async_hooks: 'there are no async hooks here', tty: 'an action has no terminal',
  };
  // Modules of the library; all are text at the host until somebody asks.
  const LIBRARY = ['assert', 'buffer', 'crypto', 'edgewhisk', 'events', 'fs', 'openwhisk', 'path', 'punycode', 'querystring', 'string_decoder', 'url', 'util'];
  const PROVIDED = {
    process: () => globalThis.process, console: () => globalThis.console, perf_hooks: () => ({ performance }),
    timers: () => ({ setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate, promises }),
    'timers/promises': () => promises, 'fs/promises': () => builtin('fs').promises,
    'path/posix': () => builtin('path'), 'util/types': () => builtin('util').types, 'assert/strict': () => builtin('assert').strict,
  };
  // Globals that cost nothing until they are used: name -> [library, export].
  const LAZY = {
    Buffer: ['buffer', 'Buffer'], URL: ['url', 'URL'], URLSearchParams: ['url', 'URLSearchParams'],
    TextEncoder: ['text', 'TextEncoder'], TextDecoder: ['text', 'TextDecoder'], crypto: ['crypto', 'webcrypto'],
    structuredClone: ['clone', 'structuredClone'], fetch: ['fetch', 'fetch'], Headers: ['fetch', 'Headers'], Response: ['fetch', 'Response'],
    Intl: ['intl', 'Intl'],
    AbortController: ['abort', 'AbortController'], AbortSignal: ['abort', 'AbortSignal'], Event: ['abort', 'Event'], EventTarget: ['abort', 'EventTarget'],
  };
  const OURS = ['edgewhisk', 'openwhisk']; // what speaks to the gateway: a packed copy would want sockets
  const host = { ask, entropy, bytes, text: textOf, promise, files: () => files, zone: (name) => librarySource(`zone/${name}`) };
  const loaded = new Map(), heads = new Set(); // paths of files whose first line begins with HEAD
  let files = {};

  // -- the library ------------------------------------------------------------------------------
  function builtin(name) {
    if (loaded.has(`node:${name}`)) return loaded.get(`node:${name}`).exports;
    const module = { exports: {} };
    loaded.set(`node:${name}`, module);
    if (PROVIDED[name]) module.exports = PROVIDED[name]();
    else {
      const wrapped = compile(`(function (exports, module, require, host) {${librarySource(name)}\n})`, `node:${name}`);
      wrapped.call(module.exports, module.exports, module, (other) => builtin(other.replace(/\/$/, '')), host);
    }
    return module.exports;
  }

  connect(builtin);

  for (const [name, [library, key]] of Object.entries(LAZY)) {
    const settle = (value) => Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
    Object.defineProperty(globalThis, name, {
      configurable: true, enumerable: false, set: settle,
      get: () => { const value = builtin(library)[key]; settle(value); return value; },
    });
  }

  // The engine's own ignore locale and time zone in silence.
  const LOCAL = { Date: ['toLocaleString', 'toLocaleDateString', 'toLocaleTimeString'], Number: ['toLocaleString'], BigInt: ['toLocaleString'], String: ['localeCompare'] };
  for (const [name, methods] of Object.entries(LOCAL)) {
    for (const method of methods) {
      const value = { [method](...parts) { return builtin('intl').methods[name][method](this, ...parts); } }[method];
      Object.defineProperty(globalThis[name].prototype, method, { value, writable: true, configurable: true, enumerable: false });
    }
  }

  // What the sources mention is loaded now, into the image, and not again in each call.
  function preload(sources) {
    if (sources.some((text) => /\bconsole\b/.test(text))) builtin('inspect');
    if (sources.some((text) => /toLocale|localeCompare/.test(text))) builtin('intl');
    for (const name of Object.keys(LAZY)) {
      const mentioned = new RegExp(`\\b${name}\\b`);
      if (sources.some((text) => mentioned.test(text))) void globalThis[name];
    }
  }

  // -- names ------------------------------------------------------------------------------------
  const isText = (path) => typeof files[path] === 'string';
  const json = (path) => JSON.parse(files[path].replace(/^\ufeff/, '')); // Node would refuse the mark of an editor
  const folder = (path) => (path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '');

  function join(base, name) {
    const parts = base ? base.split('/') : [];
    for (const part of name.split('/')) {
      if (part === '..') parts.pop();
      else if (part && part !== '.') parts.push(part);
    }
    return parts.join('/');
  }

  function asFile(path) {
    for (const end of ['', '.js', '.json', '.cjs', '.mjs']) if (isText(path + end)) return path + end;
    return null;
  }

  const manifestOf = (path) => {
    const manifest = path ? `${path}/package.json` : 'package.json';
    return isText(manifest) ? json(manifest) : null;
  };

  function asFolder(path, isImport) {
    const manifest = manifestOf(path);
    if (manifest) {
      const found = exported(path, manifest.exports, '.', isImport) || (manifest.main && (asFile(join(path, manifest.main)) || asFile(join(path, `${manifest.main}/index`))));
      if (found) return found;
    }
    return asFile(path ? `${path}/index` : 'index');
  }

  // What "exports" or "imports" of a package.json gives for a name, by the conditions that hold here
  // (Node's documentation, "Packages"). Undefined where it says nothing of it.
  function exported(path, table, name, isImport) {
    if (table === undefined || table === null) return undefined;
    const isMap = typeof table === 'object' && !Array.isArray(table) && Object.keys(table).some((key) => /^[.#]/.test(key));
    const map = isMap ? table : { '.': table };
    if (name in map) return targeted(path, map[name], '', isImport);
    const patterns = Object.keys(map).filter((key) => key.includes('*')).sort((a, b) => b.indexOf('*') - a.indexOf('*'));
    for (const key of patterns) {
      const [head, tail] = key.split('*');
      if (name.startsWith(head) && name.endsWith(tail) && name.length >= key.length) return targeted(path, map[key], name.slice(head.length, name.length - tail.length), isImport);
    }
    return undefined;
  }

  const holds = (condition, isImport) => condition === 'node' || condition === 'default' || condition === (isImport ? 'import' : 'require');

  function targeted(path, target, star, isImport) {
    if (typeof target === 'string') {
      const name = target.replaceAll('*', star);
      return name.startsWith('.') ? asFile(join(path, name)) || undefined : resolve(path ? `${path}/x` : 'x', name, isImport);
    }
    if (!target || typeof target !== 'object') return undefined;
    const choices = Array.isArray(target) ? target : Object.keys(target).filter((key) => holds(key, isImport)).map((key) => target[key]);
    for (const choice of choices) {
      const found = targeted(path, choice, star, isImport);
      if (found) return found;
    }
    return undefined;
  }

  function bundled(from, name, isImport) {
    const parts = name.split('/'), count = name.startsWith('@') ? 2 : 1;
    const [owner, inner] = [parts.slice(0, count).join('/'), parts.slice(count).join('/')];
    for (let at = folder(from); ; at = folder(at)) {
      const root = join(at, `node_modules/${owner}`), manifest = inner && manifestOf(root);
      const found = (manifest && exported(root, manifest.exports, `./${inner}`, isImport)) || asFile(join(root, inner)) || asFolder(join(root, inner), isImport);
      if (found || !at) return found;
    }
  }

  // "#name": of the "imports" of the package that a file is in.
  function internal(from, name, isImport) {
    for (let at = folder(from); ; at = folder(at)) {
      const manifest = manifestOf(at);
      if (manifest || !at) return manifest && exported(at, manifest.imports, name, isImport);
    }
  }

  // `isImport`: by `import`, and not by `require`.
  function resolve(from, name, isImport = false) {
    const plain = name.replace(/^node:/, '').replace(/\/$/, '');
    if (/^\.{0,2}\//.test(name) || name === '.' || name === '..') {
      const path = join(name.startsWith('/') ? '' : folder(from), name);
      const found = asFile(path) || asFolder(path, isImport);
      if (found) return found;
    } else {
      const found = name.startsWith('#') ? internal(from, name, isImport) : name.startsWith('node:') || OURS.includes(name) ? null : bundled(from, name, isImport);
      if (found) return found;
      if (LIBRARY.includes(plain) || PROVIDED[plain]) return `node:${plain}`;
      if (ABSENT[plain]) throw missing(`Cannot find module '${plain}': ${ABSENT[plain]}`);
    }
    throw missing(`Cannot find module '${name}' from ${from}: it is not in the archive, and not one of ${LIBRARY.join(', ')}`);
  }

  function missing(text) { return Object.assign(new Error(text), { code: 'MODULE_NOT_FOUND' }); }

  // -- CommonJS ---------------------------------------------------------------------------------
  function requireFrom(from) {
    const require = (name) => load(resolve(from, String(name)));
    require.resolve = (name) => resolve(from, String(name));
    return require;
  }

  function load(path) {
    if (path.startsWith('node:')) return builtin(path.slice(5));
    if (loaded.has(path)) return loaded.get(path).exports;
    const module = { exports: {}, id: path, filename: `/${path}`, loaded: false };
    loaded.set(path, module);
    try {
      if (path.endsWith('.json')) module.exports = json(path);
      else if (isModule(path)) module.exports = settledNamespace(path);
      else run(module, path, '');
      module.loaded = true;
    } catch (error) {
      loaded.delete(path);
      throw error;
    }
    return module.exports;
  }

  // The source becomes the body of a function on its own first line, so line numbers hold.
  const HEAD = '(function (exports, require, module, __filename, __dirname) {';

  function run(module, path, tail) {
    const source = files[path].replace(/^#!.*/, '');
    const wrapped = compile(`${HEAD}${source}\n${tail}})`, path);
    heads.add(path);
    return wrapped.call(module.exports, module.exports, requireFrom(path), module, `/${path}`, `/${folder(path)}`);
  }

  // -- ES modules -------------------------------------------------------------------------------
  const SYNTAX = /^\s*(import[\s{*'"]|export[\s{*])/m;

  function isModule(path) {
    if (path.endsWith('.mjs')) return true;
    if (path.endsWith('.cjs') || path.endsWith('.json')) return false;
    for (let at = folder(path); ; at = folder(at)) {
      const manifest = join(at, 'package.json');
      if (isText(manifest)) return json(manifest).type === 'module';
      if (!at) return false;
    }
  }

  const NAME = /^[A-Za-z_$][\w$]*$/;

  // The text of a module for the engine's linker; CommonJS and ours are dressed as one.
  function text(path) {
    if (isText(path) && (isModule(path) || (!path.endsWith('.json') && SYNTAX.test(files[path])))) return files[path];
    const exported = load(path);
    const keys = Object(exported) === exported ? Object.keys(exported).filter((key) => NAME.test(key) && key !== 'default') : [];
    const names = keys.map((key, at) => `const e${at} = m[${JSON.stringify(key)}]; export { e${at} as ${key} };`);
    return `const m = globalThis[Symbol.for('edgewhisk.load')](${JSON.stringify(path)}); export default m; ${names.join(' ')}`;
  }
  Object.defineProperty(globalThis, Symbol.for('edgewhisk.load'), { value: load });

  function settledNamespace(path) {
    const [, namespace] = evaluate(files[path], path);
    return namespace;
  }

  async function startModule(path, main) {
    const [evaluated, namespace] = evaluate(files[path], path);
    await evaluated;
    return chosen(namespace, main) || chosen(namespace.default, main) || unknown(main);
  }

  // -- the entry point --------------------------------------------------------------------------
  const memberOf = (owner, main) => main.split('.').reduce((at, name) => (at === undefined || at === null ? undefined : at[name]), owner);

  function chosen(exported, main) {
    const found = memberOf(exported, main);
    if (typeof found === 'function') return found;
    return main === 'main' && typeof exported === 'function' ? exported : null;
  }

  const unknown = (main) => `Action entrypoint '${main}' is not a function.`;

  function start(bundle) {
    files = bundle.files;
    for (const [name, value] of Object.entries(bundle.env)) env[name] = typeof value === 'object' && value ? JSON.stringify(value) : value || '';
    const { entry, main } = bundle;
    if (!isText(entry)) return `${entry} is not text`;
    preload(Object.entries(files).filter(([path, text]) => typeof text === 'string' && !path.startsWith('node_modules/')).map(([, text]) => text));
    if (isModule(entry)) return startModule(entry, main);
    const module = { exports: {}, id: entry, filename: `/${entry}`, loaded: false };
    loaded.set(entry, module);
    try {
      const declared = run(module, entry, `;try { return ${main} } catch (e) { if (!(e instanceof ReferenceError)) throw e }`);
      return (typeof declared === 'function' && declared) || chosen(module.exports, main) || unknown(main);
    } catch (error) {
      if (!(error instanceof SyntaxError) || !SYNTAX.test(files[entry])) throw error;
      loaded.delete(entry);
      heads.delete(entry);
      return startModule(entry, main);
    }
  }

  // -- errors -----------------------------------------------------------------------------------
  // What the engine words otherwise than V8, which people know and search for.
  const WORDS = [
    [/^cannot read property '(.*)' of (undefined|null)$/s, "Cannot read properties of $2 (reading '$1')"],
    [/^cannot set property '(.*)' of (undefined|null)$/s, "Cannot set properties of $2 (setting '$1')"],
    [/^'(.*)' is not defined$/s, '$1 is not defined'], [/^'(.*)' is read-only$/s, 'Assignment to constant variable.'],
    [/^Maximum call stack size exceeded$|^stack overflow$/, 'Maximum call stack size exceeded'],
  ];

  // The engine says "not a function" and a place at or behind what was called; the source has its name.
  function explain(error) {
    for (const [theirs, ours] of WORDS) {
      if (theirs.test(error.message)) { error.message = error.message.replace(theirs, ours); return; }
    }
    if (!(error instanceof TypeError) || error.message !== 'not a function') return;
    const frames = [...String(error.stack).matchAll(/([^\s()]+):(\d+):(\d+)\)?$/gm)];
    const frame = frames.find(([, file]) => isText(file));
    if (!frame) return;
    const [, file, line, column] = frame, lines = files[file].split('\n').slice(0, line);
    const head = Number(line) === 1 && heads.has(file) ? HEAD.length : 0;
    let at = lines.join('\n').length - lines.at(-1).length + Number(column) - 1 - head;
    while (files[file][at] === '.' || files[file][at] === '?') at += 1; // sometimes it is the dot before the name
    error.message = called(files[file], at) || `not a function, near "${files[file].slice(Math.max(0, at - 40), at + 40).split('\n').join(' ').trim()}"`;
  }

  // The name of what was called at a place, if that is sure: calls within another call's arguments are not.
  function called(source, at) {
    const own = /^[\w$]+(\s*\??\.\s*[\w$]+)*(?=\s*(\?\.)?\()/.exec(source.slice(at, at + 200));
    const outer = opened(source, at);
    if (own) return outer < 0 ? `${chain(source, at)}${own[0].replace(/\s/g, '')} is not a function` : '';
    const name = outer < 0 ? null : /[\w$]+\s*(\?\.)?$/.exec(source.slice(Math.max(0, outer - 200), outer));
    if (!name || opened(source, outer - name[0].length) >= 0) return '';
    return `${chain(source, outer - name[0].length)}${name[0].replace(/[\s.?]/g, '')} is not a function`;
  }

  // What stands before a name: "p.data." of p.data.decode.
  function chain(source, at) {
    const [before] = /[\w$.?]*$/.exec(source.slice(Math.max(0, at - 200), at));
    return /^\??\./.test(before) ? `(intermediate value)${before}` : before;
  }

  // Where the call opens whose arguments a place is in; -1 if it is in none.
  function opened(source, place) {
    let depth = 0;
    for (let at = place - 1; at >= Math.max(0, place - 400); at--) {
      if (source[at] === ')') depth += 1;
      else if (source[at] === '(' && depth) depth -= 1;
      else if (source[at] === '(' && /[\w$\])]\s*(\?\.)?$/.test(source.slice(Math.max(0, at - 20), at)) && !/\b(if|for|while|switch|return|catch|function|await|typeof)\s*$/.test(source.slice(Math.max(0, at - 20), at))) return at;
      else if (!depth && /[;{}]/.test(source[at])) return -1;
    }
    return -1;
  }

  return { start, resolve, text, explain };
})
