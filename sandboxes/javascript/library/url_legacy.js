module.exports = require('../node_modules/url/url.js');
