const { default: clone } = require('@ungap/structured-clone');
module.exports = { structuredClone: (value, options) => clone(value, options) };
