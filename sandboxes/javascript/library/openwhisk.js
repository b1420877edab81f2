// The `openwhisk` client, as far as actions of this gateway use it: invoke actions, fire triggers.
const { invoke, fire } = require('edgewhisk');

module.exports = () => ({
  actions: {
    invoke: async ({ name, actionName, params = {}, result = false }) => {
      const value = await invoke(name || actionName, params);
      return result ? value : { response: { result: value, success: true, status: 'success' } };
    },
  },
  triggers: { invoke: async ({ name, triggerName, params = {} }) => ({ activationId: await fire(name || triggerName, params) }) },
});
