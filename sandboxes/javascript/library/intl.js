// Intl and the toLocale methods as Node 20 gives them, for a few locales; what is not here is a RangeError.
const { zone, typeAt } = require('zones');

const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MARKS = ['AM', 'PM'];
// numeric: the order of a date in numbers; pad: whether days and months have two digits; group and point: of numbers.
const LOCALES = {
  'en-US': { numeric: 'M/D/Y', glue: ', ', half: MARKS, names: 'MD', group: ',', point: '.' },
  'en-GB': { numeric: 'D/M/Y', pad: true, glue: ', ', names: 'DM', group: ',', point: '.' },
  'en-CA': { numeric: 'Y-M-D', pad: true, glue: ', ', half: ['a.m.', 'p.m.'], group: ',', point: '.' },
  'de-DE': { numeric: 'D.M.Y', glue: ', ', group: '.', point: ',' },
  'fr-FR': { numeric: 'D/M/Y', pad: true, glue: ' ', group: '\u202f', point: ',' },
  'nl-NL': { numeric: 'D-M-Y', glue: ', ', group: '.', point: ',' },
  'sv-SE': { numeric: 'Y-M-D', pad: true, glue: ' ', group: '\xa0', point: ',' },
};
const SHORT = { en: 'en-US', de: 'de-DE', fr: 'fr-FR', nl: 'nl-NL', sv: 'sv-SE' };
const lacks = (what) => { throw new RangeError(`Intl here has no ${what}; put the text together from numbers, or pack a library that brings its own data`); };

function localeOf(wanted) {
  for (const name of wanted === undefined ? ['en-US'] : [wanted].flat()) {
    if (typeof name !== 'string' && !(name && name.baseName)) throw new TypeError('Incorrect locale information provided');
    const text = String(name.baseName || name), found = SHORT[text] || text;
    if (LOCALES[found]) return found;
    if (!/^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$/.test(text)) throw new RangeError(`Incorrect locale information provided: ${text}`);
  }
  return [wanted].flat().length ? lacks(`locale ${[wanted].flat().join(', ')}; there are ${Object.keys(LOCALES).join(', ')}`) : 'en-US';
}

// -- dates ------------------------------------------------------------------------------------
const DATE = ['weekday', 'year', 'month', 'day'], TIME = ['hour', 'minute', 'second', 'fractionalSecondDigits'];
const STYLES = {
  full: { weekday: 'long', year: 'numeric', month: 'long', day: 'numeric' }, long: { year: 'numeric', month: 'long', day: 'numeric' },
  medium: { year: 'numeric', month: 'short', day: 'numeric' }, short: { year: '2-digit', month: 'numeric', day: 'numeric' },
};
const NUMBERS = { year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' };
const VALUES = {
  weekday: /^(long|short)$/, month: /^(numeric|2-digit|long|short)$/, fractionalSecondDigits: /^[123]$/, hourCycle: /^(h11|h12|h23|h24)$/,
  timeZoneName: /^(short|shortOffset|longOffset)$/, dateStyle: /^(full|long|medium|short)$/, timeStyle: /^(medium|short)$/, calendar: /^(gregory|iso8601)$/,
  numberingSystem: /^latn$/, hour12: /^(true|false)$/, timeZone: /./, localeMatcher: /./, formatMatcher: /./,
};

function settled(locale, given, needed, usual) {
  const options = {};
  for (const [key, value] of Object.entries(given === undefined ? {} : Object(given))) {
    if (value === undefined) continue;
    const allowed = VALUES[key] || (NUMBERS[key] ? /^(numeric|2-digit)$/ : null);
    if (!allowed || !allowed.test(String(value))) lacks(`${key}: ${String(value)}`);
    options[key] = value;
  }
  const asked = { date: DATE, time: TIME, any: [...DATE, ...TIME] }[needed].some((key) => options[key] !== undefined);
  if (options.dateStyle || options.timeStyle) {
    if ((needed === 'date' && options.timeStyle) || (needed === 'time' && options.dateStyle)) throw new TypeError(`Invalid option : ${needed === 'date' ? 'timeStyle' : 'dateStyle'}`);
    if (asked || [...DATE, ...TIME, 'timeZoneName'].some((key) => options[key] !== undefined)) throw new TypeError("Can't set a field when dateStyle or timeStyle is used");
    styled(locale, options);
  }
  else if (!asked) for (const key of usual === 'all' ? Object.keys(NUMBERS) : usual === 'date' ? DATE.slice(1) : TIME.slice(0, 3)) options[key] = NUMBERS[key];
  return checked(locale, options);
}

// Combinations for which each language has texts of its own are refused rather than guessed.
const SHAPES = /^(|w|[wymd]|ym|md|ymd|wmd|wymd)?(\|(h|hm|hms|hmsf|m|ms|s|msf)?)?$/;

function checked(locale, options) {
  const { pad, half, names } = LOCALES[locale], { month, day, year, hour, minute, weekday } = options;
  const initials = (keys, letters) => keys.map((key, at) => (options[key] === undefined ? '' : letters[at])).join('');
  const date = initials(DATE, 'wymd'), time = initials(TIME, 'hmsf'), isText = month === 'long' || month === 'short';
  const isMixed = pad && !isText && month && day && (month !== day || (year === '2-digit' && !options.dateStyle));
  const isHalf = options.hour12 || /h1[12]/.test(options.hour12 === undefined ? options.hourCycle : '');
  if (!SHAPES.test(`${date}|${time}`) || isMixed || (date && time && !hour) || (date === 'w' && time)) lacks('such a mixture of fields');
  if (!names && (weekday || isText || (date && date !== 'ymd'))) lacks(`such a date for ${locale} (it has year, month and day in numbers)`);
  if ((!half && (names !== 'DM' || options.timeStyle) && isHalf) || (!half && !names && hour && !minute)) lacks(`such a time for ${locale}`);
  if (options.timeZoneName && (locale !== 'en-US' || !hour || !minute)) lacks('timeZoneName but with hours and minutes, for en-US');
  return options;
}

function styled(locale, options) {
  if (!LOCALES[locale].names) lacks(`dateStyle and timeStyle for ${locale}`);
  Object.assign(options, STYLES[options.dateStyle]);
  if (locale === 'en-GB' && options.dateStyle === 'short') options.year = 'numeric';
  if (options.timeStyle) Object.assign(options, { hour: 'numeric', minute: 'numeric' }, options.timeStyle === 'medium' && { second: 'numeric' });
}

class DateTimeFormat {
  constructor(locales, options, needed = 'any', usual = 'date') {
    const locale = localeOf(locales), kept = settled(locale, options, needed, usual);
    const { half } = LOCALES[locale], { hour12, hourCycle } = kept;
    const cycle = hour12 === undefined ? hourCycle || (half ? 'h12' : 'h23') : hour12 ? (half ? 'h12' : 'h11') : half ? 'h24' : 'h23';
    const parts = { locale, options: kept, cycle, zone: zone(kept.timeZone === undefined ? 'UTC' : kept.timeZone) };
    Object.defineProperty(this, 'parts', { value: parts });
    this.format = (date) => this.formatToParts(date).map(({ value }) => value).join('');
  }
  formatToParts(date) {
    const ms = date === undefined ? Date.now() : Number(date);
    if (!Number.isFinite(new Date(ms).getTime())) throw new RangeError('Invalid time value');
    const { locale, options, cycle, zone: place } = this.parts, type = typeAt(place, ms);
    const at = new Date(Math.floor(ms) + type.offset * 1000), found = dateParts(at, locale, options), time = timeParts(at, locale, options, cycle);
    const long = options.month === 'long' && LOCALES[locale].names;
    if (found.length && time.length) found.push({ type: 'literal', value: long ? ' at ' : LOCALES[locale].glue });
    if (options.timeZoneName) time.push({ type: 'literal', value: time.length ? ' ' : ', ' }, { type: 'timeZoneName', value: nameOf(options.timeZoneName, type, place) });
    return [...found, ...time];
  }
  formatRange(from, to) { return lacks(`formatRange (${from}, ${to})`); }
  resolvedOptions() {
    const { locale, options, cycle, zone: place } = this.parts;
    return { locale, calendar: 'gregory', numberingSystem: 'latn', timeZone: place.name, ...(options.hour && { hourCycle: cycle, hour12: cycle === 'h12' || cycle === 'h11' }), ...options };
  }
  static supportedLocalesOf(locales) { return [locales === undefined ? [] : locales].flat().filter((name) => LOCALES[SHORT[name] || name]); }
}

const two = (number) => String(number).padStart(2, '0');

function dateParts(at, locale, options) {
  const { numeric, pad, names } = LOCALES[locale], { weekday, year, month, day } = options;
  const isText = month === 'long' || month === 'short';
  const number = (value, form) => (form === '2-digit' || (pad && !isText && month && (day || year)) ? two(value) : String(value));
  const parts = {
    Y: year && { type: 'year', value: year === '2-digit' ? two(at.getUTCFullYear() % 100) : String(at.getUTCFullYear()) },
    M: month && { type: 'month', value: isText ? shown(MONTHS[at.getUTCMonth()], month, locale) : number(at.getUTCMonth() + 1, month) },
    D: day && { type: 'day', value: number(at.getUTCDate(), day) },
  };
  const found = isText ? textual(parts, names) : joined([...numeric].filter((one) => /[MDY]/.test(one)).map((one) => parts[one]), numeric.replace(/[MDY]/g, '')[0]);
  if (!weekday) return found;
  const first = { type: 'weekday', value: shown(DAYS[at.getUTCDay()], weekday) };
  return found.length ? [first, { type: 'literal', value: names === 'DM' && !year ? ' ' : ', ' }, ...found] : [first];
}

// Sept is the one month that British English shortens to four letters.
const shown = (name, form, locale) => (form === 'long' ? name : locale === 'en-GB' && name === 'September' ? 'Sept' : name.slice(0, 3));

function joined(parts, glue) {
  return parts.filter(Boolean).flatMap((part, at) => (at ? [{ type: 'literal', value: glue }, part] : [part]));
}

function textual({ Y, M, D }, names) {
  if (names === 'DM') return joined([D, M, Y], ' ');
  const first = joined([M, D], ' ');
  return Y ? [...first, { type: 'literal', value: D ? ', ' : ' ' }, Y] : first;
}

function timeParts(at, locale, options, cycle) {
  const { hour, minute, second, fractionalSecondDigits: digits } = options, found = [];
  const loose = !LOCALES[locale].half && (minute || second) && [minute, second].every((form) => !form || form === '2-digit'); // 9:05
  const half = cycle === 'h12' || cycle === 'h11', value = at.getUTCHours();
  const shownHour = { h11: value % 12, h12: value % 12 || 12, h23: value, h24: value || 24 }[cycle];
  if (hour) found.push({ type: 'hour', value: hour === '2-digit' || (!half && !loose) ? two(shownHour) : String(shownHour) });
  if (minute) found.push({ type: 'minute', value: hour || second ? two(at.getUTCMinutes()) : String(at.getUTCMinutes()) });
  if (second) found.push({ type: 'second', value: minute || hour ? two(at.getUTCSeconds()) : String(at.getUTCSeconds()) });
  const parts = joined(found, ':');
  if (digits) parts.push({ type: 'literal', value: LOCALES[locale].point }, { type: 'fractionalSecond', value: String(at.getUTCMilliseconds()).padStart(3, '0').slice(0, digits) });
  if (hour && half) parts.push({ type: 'literal', value: ' ' }, { type: 'dayPeriod', value: (LOCALES[locale].half || ['am', 'pm'])[value < 12 ? 0 : 1] });
  return parts;
}

const AMERICAN = /^([ECMP][SD]T|AK[SD]T|H[SD]T)$/;
function nameOf(form, { offset, abbreviation }, place) {
  if (form === 'short' && place.name === 'UTC') return 'UTC';
  if (form === 'short' && AMERICAN.test(abbreviation) && /^(America|US|Pacific)\//.test(place.name)) return abbreviation;
  if (!offset && form === 'short' && abbreviation === 'GMT') return 'GMT';
  const minutes = Math.abs(Math.trunc(offset / 60)), rest = minutes % 60, hours = Math.floor(minutes / 60);
  return `GMT${offset < 0 ? '-' : '+'}${form === 'longOffset' ? `${two(hours)}:${two(rest)}` : `${hours}${rest ? `:${two(rest)}` : ''}`}`;
}

// -- numbers ----------------------------------------------------------------------------------
const DIGITS = ['minimumFractionDigits', 'maximumFractionDigits', 'minimumIntegerDigits'];

class NumberFormat {
  constructor(locales, given = {}) {
    const locale = localeOf(locales), options = { style: 'decimal', useGrouping: true, minimumIntegerDigits: 1 };
    for (const [key, value] of Object.entries(given)) {
      if (value === undefined) continue;
      const isKnown = (key === 'style' && /^(decimal|percent)$/.test(value)) || (key === 'useGrouping' && typeof value === 'boolean') || DIGITS.includes(key) || key === 'localeMatcher';
      if (!isKnown) lacks(`${key}: ${String(value)}`);
      if (DIGITS.includes(key) && !(value >= 0 && value <= 20)) throw new RangeError(`${key} value is out of range.`);
      options[key] = value;
    }
    const usual = options.style === 'percent' ? 0 : 3, { minimumFractionDigits: least, maximumFractionDigits: most } = options;
    options.minimumFractionDigits = least === undefined ? Math.min(0, most === undefined ? 0 : most) : Math.floor(least);
    options.maximumFractionDigits = most === undefined ? Math.max(usual, options.minimumFractionDigits) : Math.floor(most);
    if (options.maximumFractionDigits < options.minimumFractionDigits) throw new RangeError('maximumFractionDigits value is out of range.');
    Object.defineProperty(this, 'parts', { value: { locale, options } });
    this.format = (number) => formatNumber(number, locale, options);
  }
  resolvedOptions() { return { locale: this.parts.locale, numberingSystem: 'latn', ...this.parts.options }; }
}

function formatNumber(given, locale, { style, useGrouping, minimumFractionDigits: least, maximumFractionDigits: most, minimumIntegerDigits }) {
  const { group, point } = LOCALES[locale], isPercent = style === 'percent';
  const end = isPercent ? `${/^(de|fr|sv)/.test(locale) ? '\xa0' : ''}%` : '';
  if (typeof given !== 'bigint' && !Number.isFinite(Number(given))) return Number.isNaN(Number(given)) ? 'NaN' + end : `${given < 0 ? '-' : ''}\u221e${end}`;
  const [whole, rest = ''] = decimal(given, isPercent ? 2 : 0, most).split('.');
  const digits = rest.replace(/0+$/, '').padEnd(least, '0'), padded = whole.padStart(minimumIntegerDigits, '0');
  const grouped = useGrouping ? padded.replace(/\B(?=(\d{3})+$)/g, group) : padded;
  const minus = given < 0 || Object.is(given, -0) ? (locale === 'sv-SE' ? '\u2212' : '-') : '';
  return `${minus}${grouped}${digits ? point + digits : ''}${end}`;
}

// The digits of a number as it is written, its point moved, rounded half up: as ICU does it.
function decimal(given, moved, most) {
  const [mantissa, exponent = '0'] = String(given).replace(/^-/, '').split('e'), [whole, rest = ''] = mantissa.split('.');
  const digits = `${'0'.repeat(400)}${whole}${rest}${'0'.repeat(400)}`, place = 400 + whole.length + Number(exponent) + moved;
  const kept = BigInt(digits.slice(0, place + most)) + (digits[place + most] >= '5' ? 1n : 0n);
  const text = String(kept).padStart(most + 1, '0');
  return most ? `${text.slice(0, -most)}.${text.slice(-most)}` : text;
}

// -- order ------------------------------------------------------------------------------------
// By letters first, then by accents, then small before large: the order of most languages written in Latin.
const bare = (text) => text.normalize('NFD').replace(/[\u0300-\u036f]/g, '');
const MARKS_ORDER = '_-,;:!?.\'"()[]{}@*/\\&#%`^+<=>|~$'; // as CLDR's root collation has them
const rank = (one) => (/\s/.test(one) ? 0 : /\p{L}/u.test(one) ? 1000 : /\p{N}/u.test(one) ? 500 : 1 + (MARKS_ORDER.indexOf(one) + 400) % 400);

function comparePoints(a, b) {
  const left = [...a], right = [...b];
  for (let at = 0; at < Math.min(left.length, right.length); at++) {
    if (left[at] === right[at]) continue;
    return rank(left[at]) - rank(right[at]) || (left[at] < right[at] ? -1 : 1);
  }
  return left.length - right.length;
}

function compare(a, b, { numeric = false, sensitivity = 'variant' } = {}) {
  const plain = (text) => bare(text).toLowerCase().replace(/\u00df/g, 'ss');
  const parts = (text) => (numeric ? plain(text).split(/(\d+)/) : [plain(text)]), left = parts(a), right = parts(b);
  for (let at = 0; at < Math.max(left.length, right.length); at++) {
    const [one = '', other = ''] = [left[at], right[at]];
    const order = at % 2 && one && other ? Math.sign(Number(BigInt(one) - BigInt(other))) : comparePoints(one, other);
    if (order) return Math.sign(order);
  }
  const accents = sensitivity === 'base' || sensitivity === 'case' ? 0 : comparePoints(a.normalize('NFD').toLowerCase(), b.normalize('NFD').toLowerCase());
  if (accents || sensitivity === 'base' || sensitivity === 'accent') return Math.sign(accents);
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return a[at] === a[at].toLowerCase() ? -1 : 1;
  return 0;
}

class Collator {
  constructor(locales, options) {
    if (locales !== undefined) localeOf(locales);
    this.compare = (a, b) => compare(String(a), String(b), options);
  }
}

// -- what replaces the engine's own -----------------------------------------------------------
const local = (needed, usual) => (date, locales, options) => (Number.isNaN(date.getTime()) ? 'Invalid Date' : new DateTimeFormat(locales, options, needed, usual).format(date));
const number = (value, locales, options) => new NumberFormat(locales, options).format(value.valueOf());

module.exports = {
  Intl: { DateTimeFormat, NumberFormat, Collator, getCanonicalLocales: (names) => [names === undefined ? [] : names].flat() },
  methods: {
    Date: { toLocaleString: local('any', 'all'), toLocaleDateString: local('date', 'date'), toLocaleTimeString: local('time', 'time') },
    Number: { toLocaleString: number }, BigInt: { toLocaleString: number },
    String: { localeCompare: (text, other, locales, options) => new Collator(locales, options).compare(text, other) },
  },
};
// DateTimeFormat and the others are called without new, too.
for (const name of ['DateTimeFormat', 'NumberFormat', 'Collator']) {
  const Kind = module.exports.Intl[name];
  module.exports.Intl[name] = Object.assign(function (locales, options) { return new Kind(locales, options); }, { prototype: Kind.prototype, supportedLocalesOf: DateTimeFormat.supportedLocalesOf });
}
