// Node's Buffer; atob and btoa are the engine's own.
const { Buffer, SlowBuffer, kMaxLength, INSPECT_MAX_BYTES } = require('../node_modules/buffer/index.js');
module.exports = { Buffer, SlowBuffer, kMaxLength, INSPECT_MAX_BYTES, atob, btoa };
