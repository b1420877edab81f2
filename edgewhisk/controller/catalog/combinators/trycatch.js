const openwhisk = require('openwhisk');

async function main({ $tryName, $catchName, ...params }) {
  for (const [key, value] of Object.entries({ $tryName, $catchName })) {
    if (typeof value !== 'string') return { error: `Expected an argument '${key}' of type 'string'.` };
  }
  const { actions } = openwhisk();
  let cause;
  try {
    return await actions.invoke({ name: $tryName, params, blocking: true, result: true });
  } catch (error) {
    console.log(`${$tryName} failed, ${$catchName} takes over: ${error}`);
    cause = error.error?.response?.result ?? { error: String(error) };
  }
  try {
    return await actions.invoke({ name: $catchName, params: cause, blocking: true, result: true });
  } catch (error) {
    const failed = error.error?.response?.result ?? { error: String(error) };
    return typeof failed.error === 'object' && failed.error !== null ? { error: { ...failed.error, cause } } : failed;
  }
}
