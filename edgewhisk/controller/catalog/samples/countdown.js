const openwhisk = require('openwhisk');

function main({ n }) {
  const left = Number.parseInt(n, 10);
  console.log(left > 0 ? left : 'Happy New Year!');
  if (left > 0) return openwhisk().actions.invoke({ name: process.env.__OW_ACTION_NAME, params: { n: left - 1 } });
}
