module.exports = require('../node_modules/events/events.js');
