// Values as text: what `console`, `util.inspect` and `util.format` of Node print.
const DEFAULTS = { depth: 2, showHidden: false, customInspect: true, breakLength: 80, compact: 3, maxArrayLength: 100, maxStringLength: 10000, sorted: false, getters: false, colors: false };
const CUSTOM = Symbol.for('nodejs.util.inspect.custom');
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const TypedArray = Object.getPrototypeOf(Uint8Array);
const tagOf = (value) => Object.prototype.toString.call(value).slice(8, -1);
const isBoxed = (value) => [Number, String, Boolean, BigInt, Symbol].find((Kind) => value instanceof Kind);
const isIndex = (key) => /^(0|[1-9]\d{0,9})$/.test(key) && Number(key) < 2 ** 32 - 1;
const more = (count, what) => `... ${count} more ${what}${count > 1 ? 's' : ''}`;

// -- primitives ---------------------------------------------------------------------------------
const ESCAPES = { '\b': '\\b', '\t': '\\t', '\n': '\\n', '\f': '\\f', '\r': '\\r', '\\': '\\\\' };

function quoted(text) {
  const quote = !text.includes("'") ? "'" : !text.includes('"') ? '"' : !text.includes('`') && !text.includes('${') ? '`' : "'";
  const escaped = text.replace(/[\x00-\x1f\\\x7f-\x9f]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, (one) => {
    const code = one.charCodeAt(0);
    return ESCAPES[one] || (code < 256 ? `\\x${code.toString(16).toUpperCase().padStart(2, '0')}` : `\\u${code.toString(16)}`);
  });
  return quote + (quote === "'" ? escaped.replace(/'/g, "\\'") : escaped) + quote;
}

function primitive(value, at) {
  if (typeof value === 'string') {
    const cut = value.length > at.maxStringLength ? more(value.length - at.maxStringLength, 'character') : '';
    const text = cut ? value.slice(0, at.maxStringLength) : value;
    const long = at.compact !== true && text.length > 16 && text.length > at.breakLength - at.indentation - 4;
    const shown = long ? text.split(/(?<=\n)/).map(quoted).join(` +\n${' '.repeat(at.indentation + 2)}`) : quoted(text);
    return shown + cut;
  }
  if (typeof value === 'bigint') return `${value}n`;
  return Object.is(value, -0) ? '-0' : String(value);
}

// -- names --------------------------------------------------------------------------------------
function constructorOf(value) {
  for (let one = value, first = true; one; one = Object.getPrototypeOf(one), first = false) {
    const own = Object.getOwnPropertyDescriptor(one, 'constructor');
    if (own && typeof own.value === 'function' && own.value.name !== '' && value instanceof own.value) return own.value.name;
  }
  return null;
}

// "Foo(2) [tag] ", as far as it tells more than the form does.
function prefix(name, tag, fallback, size = '') {
  const known = name === null ? `[${fallback}${size}: null prototype]` : `${name}${size}`;
  return tag && tag !== name ? `${known} [${tag}] ` : `${known} `;
}

function functionName(value, name, tag) {
  const source = Function.prototype.toString.call(value);
  if (/^class\b/.test(source)) {
    const parent = Object.getPrototypeOf(value);
    const own = Object.hasOwn(value, 'name') && value.name ? value.name : '(anonymous)';
    return `[class ${own}${parent && parent.name ? ` extends ${parent.name}` : ''}]`;
  }
  const kind = tagOf(value).endsWith('Function') ? tagOf(value) : 'Function';
  return `[${name === null ? `${kind} (null prototype)` : kind}${value.name ? `: ${value.name}` : ' (anonymous)'}]${tag && tag !== kind ? ` [${tag}]` : ''}`;
}

function errorText(error, at) {
  const head = String(Error.prototype.toString.call(error)), { stack } = error;
  const trace = typeof stack === 'string' ? stack.trimEnd() : '';
  const text = !trace ? head : /^\s+at /.test(trace) ? `${head}\n${trace}` : trace;
  const shown = trace ? text : `[${text}]`;
  return at.indentation ? shown.replace(/\n/g, `\n${' '.repeat(at.indentation)}`) : shown;
}

// -- objects ------------------------------------------------------------------------------------
function inspectAny(value, at, depth, typed) {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return primitive(value, at);
  const custom = at.customInspect && value[CUSTOM];
  if (typeof custom === 'function' && custom !== inspect) {
    const { seen, circles, indentation, ...options } = at;
    const found = custom.call(value, at.depth === null ? null : at.depth - depth, { ...options, stylize: (text) => String(text) }, inspect);
    if (found !== value) return typeof found === 'object' && found !== null ? inspectAny(found, at, depth) : String(found).replace(/\n/g, `\n${' '.repeat(at.indentation)}`);
  }
  if (at.seen.includes(value)) {
    if (!at.circles.has(value)) at.circles.set(value, at.circles.size + 1);
    return `[Circular *${at.circles.get(value)}]`;
  }
  return inspectObject(value, at, depth, typed);
}

function keysOf(value, at, isList) {
  let keys = at.showHidden ? Object.getOwnPropertyNames(value) : Object.keys(value);
  if (isList) keys = keys.filter((key) => !isIndex(key));
  if (at.sorted) keys.sort(typeof at.sorted === 'function' ? at.sorted : undefined);
  const symbols = Object.getOwnPropertySymbols(value).filter((key) => at.showHidden || Object.prototype.propertyIsEnumerable.call(value, key));
  return [...keys, ...symbols];
}

// {braces, base, parts, isArray}: how a kind of object is shown; parts are made when the depth allows.
function formOf(value, name, tag, at) {
  const size = (count) => (name === null || count === undefined ? '' : `(${count})`);
  const list = (start, parts) => ({ braces: [`${start}[`, ']'], parts, isArray: true, isList: true });
  if (Array.isArray(value)) return list(name === 'Array' && !tag ? '' : prefix(name, tag, 'Array', `(${value.length})`), (show) => arrayParts(value, at, show));
  if (value instanceof Set) return { braces: [`${prefix(name, tag === 'Set' ? '' : tag, 'Set', `(${value.size})`)}{`, '}'], parts: (show) => [...value].map((item) => show(item)), nested: true };
  if (value instanceof Map) return { braces: [`${prefix(name, tag === 'Map' ? '' : tag, 'Map', `(${value.size})`)}{`, '}'], parts: (show) => [...value].map(([key, item]) => `${show(key)} => ${show(item)}`), nested: true };
  if (value instanceof TypedArray) {
    return list(prefix(name, tag === name || tag === tagOf(value) ? '' : tag, tagOf(value), `(${value.length})`), () => limited(value, at, (item) => primitive(item, at)));
  }
  if (/^(Map|Set) Iterator$/.test(tagOf(value))) return { braces: [`[${tagOf(value)}] {`, '}'], parts: () => [] };
  if (tagOf(value) === 'Arguments') return { braces: ['[Arguments] {', '}'] };
  if (typeof value === 'function') return { base: functionName(value, name, tag) };
  if (value instanceof RegExp) return { base: `${name === 'RegExp' ? '' : prefix(name, tag, 'RegExp')}${RegExp.prototype.toString.call(value)}` };
  if (value instanceof Date) return { base: `${name === 'Date' ? '' : prefix(name, tag, 'Date')}${isNaN(value) ? 'Invalid Date' : value.toISOString()}` };
  if (value instanceof Error) return { base: errorText(value, at), hidden: ['stack', 'message'] };
  if (value instanceof ArrayBuffer) return { braces: [`${prefix(name, '', 'ArrayBuffer')}{`, '}'], parts: () => [`[Uint8Contents]: <${hex(new Uint8Array(value))}>`, `byteLength: ${value.byteLength}`] };
  if (value instanceof DataView) return { braces: [`${prefix(name, '', 'DataView')}{`, '}'], parts: (show) => ['byteLength', 'byteOffset', 'buffer'].map((key) => `${key}: ${show(value[key])}`) };
  if (value instanceof Promise) return { braces: [`${prefix(name, tag === 'Promise' ? '' : tag, 'Promise')}{`, '}'], parts: (show) => promiseParts(value, show) };
  if (value instanceof WeakMap || value instanceof WeakSet) return { braces: [`${prefix(name, tag === name ? '' : tag, tagOf(value))}{`, '}'], parts: () => ['<items unknown>'] };
  const Boxed = isBoxed(value);
  if (Boxed) return { base: `[${Boxed.name}${name === Boxed.name ? '' : ` (${name})`}: ${primitive(value.valueOf(), { ...at, compact: true })}]`, isList: Boxed === String };
  if (tagOf(value) === 'Module') return { braces: ['[Module: null prototype] {', '}'] };
  return { braces: [`${name === 'Object' && !tag ? '' : prefix(name, tag, 'Object')}{`, '}'], isPlain: name === 'Object' };
}

const hex = (bytes) => [...bytes.subarray(0, 50)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ') + (bytes.length > 50 ? ` ${more(bytes.length - 50, 'byte')}` : '');

function promiseParts(value, show) {
  const [state, result] = host.promise(value);
  return [state === 0 ? '<pending>' : state === 1 ? show(result) : `<rejected> ${show(result)}`];
}

function limited(value, at, show) {
  const most = Math.min(at.maxArrayLength ?? Infinity, value.length), shown = [];
  for (let index = 0; index < most; index += 1) shown.push(show(value[index]));
  if (value.length > most) shown.push(more(value.length - most, 'item'));
  return shown;
}

function arrayParts(value, at, show) {
  const shown = [], most = at.maxArrayLength ?? Infinity;
  let index = 0;
  for (; index < value.length && shown.length < most; index += 1) {
    if (Object.hasOwn(value, index)) { shown.push(property(value, index, at, show, true)); continue; }
    const start = index;
    while (index + 1 < value.length && !Object.hasOwn(value, index + 1)) index += 1;
    shown.push(`<${index - start + 1} empty item${index > start ? 's' : ''}>`);
  }
  if (index < value.length) shown.push(more(value.length - index, 'item'));
  return shown;
}

function property(value, key, at, show, isItem = false) {
  const own = Object.getOwnPropertyDescriptor(value, key) || { value: value[key], enumerable: true };
  let text;
  if (own.value !== undefined || !(own.get || own.set)) text = show(own.value);
  else if (at.getters && own.get) text = `[Getter: ${show(value[key])}]`;
  else text = own.get ? `[Getter${own.set ? '/Setter' : ''}]` : '[Setter]';
  if (isItem) return text;
  const name = typeof key === 'symbol' ? `[${key.toString()}]` : NAME.test(key) ? key : quoted(key);
  return `${own.enumerable ? name : `[${typeof key === 'symbol' ? key.toString() : key}]`}: ${text}`;
}

function inspectObject(value, at, depth) {
  const name = constructorOf(value);
  let tag = '';
  try { tag = value[Symbol.toStringTag]; } catch { /* a getter that throws has no tag to show */ }
  if (typeof tag !== 'string' || tag === name || Object.hasOwn(value, Symbol.toStringTag)) tag = '';
  const form = formOf(value, name, tag, at);
  const keys = keysOf(value, at, form.isList).filter((key) => !(form.hidden || []).includes(key) && !(typeof value === 'function' && ['length', 'name', 'prototype', 'arguments', 'caller'].includes(key)) && !(value instanceof RegExp && key === 'lastIndex'));
  if (value instanceof Error && Object.hasOwn(value, 'cause') && !keys.includes('cause')) keys.push('cause');
  if (form.base && !keys.length) return form.base;
  if (at.depth !== null && depth > at.depth) return `[${form.base ? `${name || 'Object'}` : Array.isArray(value) && name === 'Array' ? 'Array' : prefix(name, tag, 'Object').trimEnd()}]`.replace(/^\[(\[.*\])\]$/, '$1');
  at.seen.push(value);
  const show = (part, indent = 2) => {
    at.indentation += indent;
    const text = inspectAny(part, at, depth + 1);
    at.indentation -= indent;
    return text;
  };
  const showNested = form.nested ? (part) => show(part, 2) : show;
  const output = [...(form.parts ? form.parts(showNested) : []), ...keys.map((key) => property(value, key, at, show))];
  at.seen.pop();
  const braces = form.braces ? [...form.braces] : ['{', '}'], mark = at.circles.has(value) ? `<ref *${at.circles.get(value)}> ` : '';
  const base = form.base ? mark + form.base : '';
  if (!base) braces[0] = mark + braces[0];
  return output.length ? joined(output, base, braces, at, depth, form.isArray, value) : braces.join('');
}

// -- lines --------------------------------------------------------------------------------------
function joined(output, base, braces, at, depth, isArray, value) {
  let parts = output;
  at.deepest = Math.max(at.deepest, depth);
  if (at.compact !== true && at.compact >= 1) {
    const entries = parts.length;
    if (isArray && entries > 6) parts = grouped(parts, at, value);
    if (at.level(depth) < at.compact && entries === parts.length) {
      const start = parts.length + at.indentation + braces[0].length + base.length + 10;
      const total = parts.reduce((sum, part) => sum + part.length, parts.length + start);
      if (total <= at.breakLength && !parts.some((part) => part.includes('\n')) && !base.includes('\n')) {
        return `${base ? `${base} ` : ''}${braces[0]} ${parts.join(', ')} ${braces[1]}`;
      }
    }
  }
  const indentation = `\n${' '.repeat(at.indentation)}`;
  return `${base ? `${base} ` : ''}${braces[0]}${indentation}  ${parts.join(`,${indentation}  `)}${indentation}${braces[1]}`;
}

// Short items of an array stand in columns.
function grouped(output, at, value) {
  const extra = value !== undefined && output.at(-1).startsWith('... ') && /more items?$/.test(output.at(-1)) ? 1 : 0;
  const count = output.length - extra, widths = output.slice(0, count).map((part) => part.length + 2);
  const total = widths.reduce((sum, width) => sum + width, 0), widest = Math.max(...widths);
  if (widest * 3 + at.indentation >= at.breakLength || !(total / widest > 5 || widest <= 8)) return output;
  const bias = Math.sqrt(widest - total / output.length), biased = Math.max(widest - 3 - bias + 1 - 1, 1);
  const columns = Math.min(Math.round(Math.sqrt(2.5 * biased * count) / biased), Math.floor((at.breakLength - at.indentation) / widest), at.compact * 4, 15);
  if (columns <= 1) return output;
  const room = [];
  for (let column = 0; column < columns; column += 1) {
    let most = 0;
    for (let index = column; index < count; index += columns) most = Math.max(most, widths[index]);
    room.push(most);
  }
  const isNumeric = value !== undefined && [...Array(count).keys()].every((index) => typeof value[index] === 'number' || typeof value[index] === 'bigint');
  const lines = [];
  for (let row = 0; row < count; row += columns) {
    const end = Math.min(row + columns, count);
    const cells = output.slice(row, end).map((part, column) => {
      const last = row + column === end - 1, text = last ? part : `${part}, `;
      const width = room[column] - (last ? 2 : 0);
      return isNumeric ? text.padStart(width) : last ? text : text.padEnd(width);
    });
    lines.push(cells.join(''));
  }
  return extra ? [...lines, output[count]] : lines;
}

// -- the doors ----------------------------------------------------------------------------------
function inspect(value, options, ...old) {
  const given = typeof options === 'boolean' ? { showHidden: options, ...(old[0] !== undefined && { depth: old[0] }) } : options || {};
  const at = { ...DEFAULTS, ...inspect.defaultOptions, ...given, seen: [], circles: new Map(), indentation: 0 };
  for (const key of ['depth', 'maxArrayLength', 'maxStringLength']) if (at[key] === null) at[key] = Infinity;
  if (at.compact === false) at.compact = 0;
  // How many levels lie below what is being joined: an object of more than `compact` levels is not put on one line.
  at.deepest = 0;
  at.level = (depth) => at.deepest - depth;
  return inspectAny(value, at, 0);
}
inspect.custom = CUSTOM;
inspect.defaultOptions = { ...DEFAULTS };

function hasOwnText(value) {
  if (typeof value.toString !== 'function') return false;
  for (let one = value; one && one !== Object.prototype; one = Object.getPrototypeOf(one)) {
    if (Object.hasOwn(one, 'toString')) return ![Array, Date, Error, Function, Map, Promise, RegExp, Set].some((Kind) => one === Kind.prototype);
  }
  return false;
}

function asJson(value) {
  try { return JSON.stringify(value); } catch (error) {
    if (error instanceof TypeError && /circular/i.test(error.message)) return '[Circular]';
    throw error;
  }
}

const FORMS = {
  s: (part) => (typeof part === 'bigint' ? `${part}n` : Object.is(part, -0) ? '-0' : typeof part === 'object' && part !== null && !hasOwnText(part) ? inspect(part, { depth: 0 }) : String(part)),
  d: (part) => (typeof part === 'bigint' ? `${part}n` : typeof part === 'symbol' ? 'NaN' : primitive(Number(part), DEFAULTS)),
  i: (part) => (typeof part === 'bigint' ? `${part}n` : typeof part === 'symbol' ? 'NaN' : primitive(parseInt(part, 10), DEFAULTS)),
  f: (part) => (typeof part === 'symbol' ? 'NaN' : primitive(parseFloat(part), DEFAULTS)),
  j: asJson, O: (part, options) => inspect(part, options), o: (part, options) => inspect(part, { ...options, showHidden: true, depth: 4 }), c: () => '',
};

function formatWithOptions(options, ...parts) {
  let at = 0, head = '';
  if (typeof parts[0] === 'string') {
    at = 1;
    head = parts.length === 1 ? parts[0] : parts[0].replace(/%([sdifjoOc%])/g, (all, kind) => {
      if (kind === '%') return '%';
      return at < parts.length ? FORMS[kind](parts[at++], options) : all;
    });
  }
  const rest = parts.slice(at).map((part) => (typeof part === 'string' ? part : inspect(part, options)));
  return [...(at ? [head] : []), ...rest].join(' ');
}
const format = (...parts) => formatWithOptions(undefined, ...parts);

// -- console.table ------------------------------------------------------------------------------
function table(data, columns) {
  if (typeof data !== 'object' || data === null) return format(data);
  const rows = data instanceof Map ? [...data].map(([key, value], index) => [String(index), { Key: key, Values: value }]) : data instanceof Set ? [...data].map((value, index) => [String(index), value]) : Object.keys(data).map((key) => [key, data[key]]);
  const heads = [data instanceof Map || data instanceof Set ? '(iteration index)' : '(index)'], show = (value) => inspect(value, { depth: typeof value === 'object' && value !== null && Object.keys(value).length > 2 ? -1 : 0, maxArrayLength: 3, breakLength: Infinity });
  const isFlat = (value) => (typeof value !== 'object' && typeof value !== 'function') || value === null;
  for (const [, row] of rows) if (!isFlat(row)) for (const key of columns || Object.keys(row)) if (!heads.includes(key)) heads.push(key);
  const hasValues = rows.some(([, row]) => isFlat(row));
  const lines = rows.map(([index, row]) => [index, ...heads.slice(1).map((key) => (!isFlat(row) && Object.hasOwn(row, key) ? show(row[key]) : '')), ...(hasValues ? [isFlat(row) ? show(row) : ''] : [])]);
  if (hasValues) heads.push('Values');
  const widths = heads.map((head, column) => Math.max(head.length, ...lines.map((line) => line[column].length)) + 2);
  const line = (cells) => `│${cells.map((cell, column) => ` ${cell}`.padEnd(widths[column])).join('│')}│`;
  const rule = (left, middle, right) => left + widths.map((width) => '─'.repeat(width)).join(middle) + right;
  return [rule('┌', '┬', '┐'), line(heads), rule('├', '┼', '┤'), ...lines.map(line), rule('└', '┴', '┘')].join('\n');
}

module.exports = { inspect, format, formatWithOptions, table };
