const openwhisk = require('openwhisk');

async function main({ $actionName, $params = {}, ...others }) {
  if (typeof $actionName !== 'string') return { error: "Expected an argument '$actionName' of type 'string'." };
  try {
    return await openwhisk().actions.invoke({ name: $actionName, params: { ...others, ...$params }, blocking: true, result: true });
  } catch (error) {
    return error.error?.response?.result ?? { error: `There was a problem invoking ${$actionName}: ${error.message}` };
  }
}
