// Node's fs over the files of the archive, which can be read and not written.
const { Buffer } = require('buffer');
const path = require('path');

const WORDS = { ENOENT: [-2, 'no such file or directory'], EISDIR: [-21, 'illegal operation on a directory'], ENOTDIR: [-20, 'not a directory'], EROFS: [-30, 'read-only file system'] };
const constants = { F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1, O_RDONLY: 0 };

function refused(code, syscall, name) {
  const hint = code === 'EROFS' ? ' (an action can keep data with the state capability)' : '';
  return Object.assign(new Error(`${code}: ${WORDS[code][1]}, ${syscall} '${name}'${hint}`), { errno: WORDS[code][0], code, syscall, path: name });
}

const textOf = (name) => (name instanceof URL ? decodeURIComponent(name.pathname) : Buffer.isBuffer(name) ? name.toString() : name);

// The path in the archive; "" is its root.
function placeOf(name) {
  const text = textOf(name);
  if (typeof text !== 'string') throw Object.assign(new TypeError(`The "path" argument must be of type string or an instance of Buffer or URL. Received ${text === null ? 'null' : `type ${typeof text}`}`), { code: 'ERR_INVALID_ARG_TYPE' });
  return path.resolve('/', text).slice(1);
}

// The names in a folder: name -> whether it is a folder. Null for what is none.
function folder(place) {
  const head = place ? `${place}/` : '', found = new Map();
  for (const one of Object.keys(host.files())) {
    if (!one.startsWith(head)) continue;
    const [name, ...rest] = one.slice(head.length).split('/');
    found.set(name, rest.length > 0);
  }
  return found.size || !place ? found : null;
}

function bytesOf(place) {
  const content = Object.hasOwn(host.files(), place) ? host.files()[place] : undefined;
  return content === undefined ? null : typeof content === 'string' ? Buffer.from(content) : Buffer.from(content.base64, 'base64');
}

class Dirent {
  constructor(name, parent, isFolder) {
    Object.assign(this, { name, parentPath: parent, path: parent });
    Object.defineProperty(this, 'isFolder', { value: isFolder });
  }
  isFile() { return !this.isFolder; }
  isDirectory() { return this.isFolder; }
  isSymbolicLink() { return false; }
}

class Stats {
  constructor(size, isFolder) {
    const date = new Date(0);
    Object.assign(this, { mode: isFolder ? 0o40555 : 0o100444, nlink: 1, uid: 0, gid: 0, size, atimeMs: 0, mtimeMs: 0, ctimeMs: 0, birthtimeMs: 0, atime: date, mtime: date, ctime: date, birthtime: date });
  }
  isFile() { return (this.mode & 0o170000) === 0o100000; }
  isDirectory() { return !this.isFile(); }
  isSymbolicLink() { return false; }
}

function listed(name, { withFileTypes = false, recursive = false }) {
  const place = placeOf(name), found = folder(place);
  if (!found) throw refused(bytesOf(place) ? 'ENOTDIR' : 'ENOENT', 'scandir', textOf(name));
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([one, isFolder]) => {
    const below = recursive && isFolder ? listed(path.join('/', place, one), { withFileTypes, recursive }) : [];
    return [withFileTypes ? new Dirent(one, textOf(name), isFolder) : one, ...below.map((inner) => (withFileTypes ? inner : path.join(one, inner)))];
  });
}

const options = (given) => (typeof given === 'string' ? { encoding: given } : given || {});
const reading = {
  readFile(name, given) {
    const data = bytesOf(placeOf(name));
    if (!data) throw refused(folder(placeOf(name)) ? 'EISDIR' : 'ENOENT', 'open', textOf(name));
    const { encoding } = options(given);
    return encoding && encoding !== 'buffer' ? data.toString(encoding) : data;
  },
  stat(name, { throwIfNoEntry = true } = {}) {
    const place = placeOf(name), data = bytesOf(place);
    if (data || folder(place)) return new Stats(data ? data.length : 0, !data);
    if (!throwIfNoEntry) return undefined;
    throw refused('ENOENT', 'stat', textOf(name));
  },
  access(name, mode = constants.F_OK) {
    reading.stat(name);
    if (mode & constants.W_OK) throw refused('EROFS', 'access', textOf(name));
  },
  readdir: (name, given) => listed(name, options(given)),
  realpath: (name) => { reading.stat(name); return `/${placeOf(name)}`; },
};
reading.lstat = reading.stat;

for (const name of ['writeFile', 'appendFile', 'mkdir', 'mkdtemp', 'rmdir', 'rm', 'unlink', 'rename', 'copyFile', 'chmod', 'utimes', 'truncate', 'symlink', 'link']) {
  reading[name] = (where) => { throw refused('EROFS', name === 'writeFile' || name === 'appendFile' ? 'open' : name.toLowerCase(), textOf(where)); };
}

module.exports = { constants, Dirent, Stats, promises: { constants }, existsSync: (name) => { try { return Boolean(reading.stat(name)); } catch { return false; } } };
for (const [name, call] of Object.entries(reading)) {
  module.exports[`${name}Sync`] = call;
  module.exports.promises[name] = async (...parts) => call(...parts);
  module.exports[name] = (...parts) => {
    const done = parts.pop();
    module.exports.promises[name](...parts).then((value) => done(null, value), done);
  };
}
for (const name of ['createReadStream', 'createWriteStream', 'openSync', 'open', 'watch']) {
  module.exports[name] = () => { throw new Error(`fs.${name} is not available in an action: read whole files, with readFile or readFileSync`); };
}
