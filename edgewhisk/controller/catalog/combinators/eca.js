const openwhisk = require('openwhisk');

async function main({ $conditionName, $actionName, ...params }) {
  for (const [key, value] of Object.entries({ $conditionName, $actionName })) {
    if (typeof value !== 'string') return { error: `Expected an argument '${key}' of type 'string'.` };
  }
  const { actions } = openwhisk();
  try {
    await actions.invoke({ name: $conditionName, params, blocking: true });
  } catch {
    return { $eca: 'Condition was false.' };
  }
  try {
    return await actions.invoke({ name: $actionName, params, blocking: true, result: true });
  } catch (error) {
    console.log(String(error));
    return { error: `There was a problem invoking ${$actionName}` };
  }
}
