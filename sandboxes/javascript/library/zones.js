// Time zones: files of the time zone database (TZif, RFC 9636) that the host lends as base64.
const zones = new Map();

function zone(name) {
  const wanted = /^(utc|gmt|z|etc\/(utc|gmt|uct|zulu))$/i.test(name) ? 'UTC' : String(name);
  if (!zones.has(wanted)) {
    const found = wanted === 'UTC' ? null : host.zone(wanted);
    if (found === undefined) throw new RangeError(`Invalid time zone specified: ${name}`);
    zones.set(wanted, { name: wanted, ...(found ? read(Uint8Array.from(atob(found), (one) => one.charCodeAt(0))) : UTC) });
  }
  return zones.get(wanted);
}

const UTC = { times: [], kinds: [], types: [{ offset: 0, abbreviation: 'UTC' }], rule: null };

function read(bytes) {
  const view = new DataView(bytes.buffer);
  const counts = (at) => [20, 24, 28, 32, 36, 40].map((place) => view.getUint32(at + place));
  const [ut1, std1, leap1, time1, type1, char1] = counts(0);
  const second = 44 + time1 * 5 + type1 * 6 + char1 + leap1 * 8 + std1 + ut1; // the part with 64-bit times
  const [ut, std, leap, time, type, char] = counts(second);
  const at = second + 44, kindsAt = at + time * 8, typesAt = kindsAt + time, charsAt = typesAt + type * 6;
  const text = (from, end) => String.fromCharCode(...bytes.subarray(from, end));
  const types = Array.from({ length: type }, (_, number) => {
    const place = typesAt + number * 6, name = charsAt + bytes[place + 5];
    return { offset: view.getInt32(place), abbreviation: text(name, bytes.indexOf(0, name)) };
  });
  return {
    times: Array.from({ length: time }, (_, number) => Number(view.getBigInt64(at + number * 8))),
    kinds: bytes.subarray(kindsAt, typesAt),
    types,
    rule: readRule(text(charsAt + char + leap * 12 + std + ut, bytes.length).trim()),
  };
}

// The rule for the time behind the last transition: "CET-1CEST,M3.5.0,M10.5.0/3".
function readRule(text) {
  const found = /^(<[^>]+>|[A-Za-z]+)([-+]?[\d:]+)(?:(<[^>]+>|[A-Za-z]+)([-+]?[\d:]+)?,([^,]+),([^,]+))?$/.exec(text);
  if (!found) return null;
  const [, name, offset, summer, summerOffset, start, end] = found;
  const type = (label, seconds) => ({ offset: seconds, abbreviation: label.replace(/[<>]/g, '') });
  const usual = type(name, -seconds(offset));
  if (!summer) return { usual };
  return { usual, summer: type(summer, summerOffset ? -seconds(summerOffset) : usual.offset + 3600), start: day(start), end: day(end) };
}

function seconds(text) {
  const [hours, minutes = 0, rest = 0] = text.replace(/^[-+]/, '').split(':').map(Number);
  return (text.startsWith('-') ? -1 : 1) * (hours * 3600 + minutes * 60 + rest);
}

// When in a year a part of a rule falls, in seconds of local time.
function day(text) {
  const [date, time = '2'] = text.split('/'), at = seconds(time);
  const inMonth = /^M(\d+)\.(\d+)\.(\d+)$/.exec(date);
  if (!inMonth) {
    const number = Number(date.replace('J', ''));
    return (year) => {
      const skips = date.startsWith('J') && number > 59 && new Date(Date.UTC(year, 1, 29)).getUTCMonth() === 1;
      return Date.UTC(year, 0, date.startsWith('J') ? number + (skips ? 1 : 0) : number + 1) / 1000 + at;
    };
  }
  const [month, week, weekday] = inMonth.slice(1).map(Number);
  return (year) => {
    const first = new Date(Date.UTC(year, month - 1, 1)).getUTCDay(), last = new Date(Date.UTC(year, month, 0)).getUTCDate();
    let date = 1 + ((weekday - first + 7) % 7) + (week - 1) * 7;
    while (date > last) date -= 7;
    return Date.UTC(year, month - 1, date) / 1000 + at;
  };
}

// { offset (seconds east), abbreviation } at a time in ms.
function typeAt({ times, kinds, types, rule }, ms) {
  const at = Math.floor(ms / 1000);
  if (rule && (!times.length || at >= times[times.length - 1])) return byRule(rule, at);
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= at) low = middle + 1; else high = middle;
  }
  return types[low ? kinds[low - 1] : 0];
}

function byRule({ usual, summer, start, end }, at) {
  if (!summer) return usual;
  const year = new Date((at + usual.offset) * 1000).getUTCFullYear();
  const from = start(year) - usual.offset, until = end(year) - summer.offset;
  const isSummer = from < until ? at >= from && at < until : at >= from || at < until;
  return isSummer ? summer : usual;
}

module.exports = { zone, typeAt };
