const openwhisk = require('openwhisk');

async function main({ $actionName, $attempts, ...params }) {
  if (typeof $actionName !== 'string') return { error: "Expected an argument '$actionName' of type 'string'." };
  if (!Number.isInteger($attempts) || $attempts < 1) return { error: "Expected an integer argument '$attempts' of 1 or more." };
  const { actions } = openwhisk();
  for (let left = $attempts; left > 0; left -= 1) {
    try {
      return await actions.invoke({ name: $actionName, params, blocking: true, result: true });
    } catch (error) {
      console.log(`${left - 1} attempts left: ${error}`);
    }
  }
  return { error: 'Invocation failed. No retries left.' };
}
