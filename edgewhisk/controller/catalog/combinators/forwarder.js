const openwhisk = require('openwhisk');

const chosen = (keys, from) => Object.fromEntries(keys.map((key) => [key, from[key]]));

async function main(params) {
  const { $actionName, $actionArgs, $forward } = params;
  if (typeof $actionName !== 'string') return { error: "Expected an argument '$actionName' of type 'string'." };
  for (const [key, value] of Object.entries({ $actionArgs, $forward })) {
    if (!Array.isArray(value)) return { error: `Expected an array argument '${key}'.` };
  }
  try {
    const asked = { name: $actionName, params: chosen($actionArgs, params), blocking: true, result: true };
    return { ...chosen($forward, params), ...await openwhisk().actions.invoke(asked) };
  } catch (error) {
    console.log(String(error));
    return { error: `There was a problem invoking ${$actionName}` };
  }
}
