// A server that speaks CouchDB's protocol: node couchdb.mjs FOLDER LOG PORT [USER:PASSWORD], where FOLDER has the packages.
import { createRequire } from 'module'
const require = createRequire(process.argv[2] + '/')
const PouchDB = require('pouchdb').plugin(require('pouchdb-adapter-memory'))
const app = require('express')()
const wanted = process.argv[5] && 'Basic ' + Buffer.from(process.argv[5]).toString('base64')
app.use((asked, answer, next) => !wanted || asked.headers.authorization === wanted ? next() : answer.status(401).json({ error: 'unauthorized' }))
app.use('/', require('express-pouchdb')(PouchDB.defaults({ adapter: 'memory' }), { inMemoryConfig: true, mode: 'minimumForPouchDB', logPath: process.argv[3] }))
const server = app.listen(Number(process.argv[4]), '127.0.0.1', () => console.log(server.address().port))
