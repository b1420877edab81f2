// Takes batches of gateways into SQLite. Copy it; run it behind TLS with Node 22.13 or later:
//
//   EDGEWHISK_SECRET=... EDGEWHISK_DB=activations.db PORT=8080 node sqlite.mjs
//
// On the gateway: [cloud] url = "https://HOST/", kind = "https", and a line `hmac SECRET` in its auth_file.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import { DatabaseSync } from 'node:sqlite';
import { gunzipSync } from 'node:zlib';

const secret = process.env.EDGEWHISK_SECRET;
if (!secret) throw new Error('EDGEWHISK_SECRET is not set');
const db = new DatabaseSync(process.env.EDGEWHISK_DB ?? 'activations.db');
db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS marks (device TEXT, epoch TEXT, have INTEGER, PRIMARY KEY (device, epoch));
  CREATE TABLE IF NOT EXISTS activations
    (device TEXT, epoch TEXT, number INTEGER, record TEXT, PRIMARY KEY (device, epoch, number))`);
const marked = db.prepare('SELECT have FROM marks WHERE device = ? AND epoch = ?');
const mark = db.prepare('INSERT OR REPLACE INTO marks VALUES (?, ?, ?)');
const keep = db.prepare('INSERT INTO activations VALUES (?, ?, ?, ?)');

// Stores what is new of a batch, if nothing is missing before it; returns the highest number there is.
function store({ device, epoch, first, after, records }) {
  const have = marked.get(device, epoch)?.have ?? 0;
  if (!records.length || have < after) return have; // it only asks, or there is a gap
  const last = Math.max(have, first + records.length - 1);
  db.exec('BEGIN');
  try {
    records.forEach((record, at) => first + at > have && keep.run(device, epoch, first + at, JSON.stringify(record)));
    mark.run(device, epoch, last);
    db.exec('COMMIT');
  } finally {
    if (db.isTransaction) db.exec('ROLLBACK');
  }
  return last;
}

const signed = (body, told) => {
  const wanted = Buffer.from(`sha256=${createHmac('sha256', secret).update(body).digest('hex')}`);
  return told.length === wanted.length && timingSafeEqual(told, wanted);
};

async function answer(request) {
  const pieces = [];
  let size = 0;
  for await (const piece of request) if ((size += piece.length) <= 1 << 20) pieces.push(piece);
  const body = Buffer.concat(pieces);
  if (!signed(body, Buffer.from(request.headers['x-edgewhisk-signature'] ?? ''))) return [401, { error: 'the signature is wrong' }];
  return [200, { have: store(JSON.parse(request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body)) }];
}

createServer(async (request, response) => {
  const [status, said] = await answer(request).catch((error) => [500, { error: String(error) }]);
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(said));
}).listen(Number(process.env.PORT ?? 8080), process.env.HOST);
