const openwhisk = require('openwhisk');

async function main({ name, place }) {
  const greeted = await openwhisk().actions.invoke({
    name: '/whisk.system/samples/greeting', params: { name, place }, blocking: true, result: true,
  });
  return { lines: greeted.payload.split(' ') };
}
