const AGENT = { 'User-Agent': 'edgewhisk', Accept: 'application/vnd.github+json', 'Content-Type': 'application/json' };

async function main({ lifecycleEvent, triggerName, username, repository, accessToken, events, callback, baseUrl }) {
  const missing = Object.entries({ triggerName, username, repository, accessToken }).find(([, value]) => typeof value !== 'string' || !value);
  if (missing) return { error: `Expected an argument '${missing[0]}' of type 'string'.` };
  const root = baseUrl || 'https://api.github.com';
  const hooks = `${root}/repos/${repository.includes('/') ? repository : `${username}/${repository}`}/hooks`;
  const headers = { ...AGENT, Authorization: `Basic ${Buffer.from(`${username}:${accessToken}`).toString('base64')}` };

  const ask = async (method, url, body) => {
    const answer = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
    const said = await answer.text();
    if (!answer.ok) throw new Error(`GitHub answered ${answer.status}: ${said.slice(0, 200)}`);
    return said ? JSON.parse(said) : {};
  };

  const target = new URL(callback || process.env.__OW_API_HOST);
  const [, namespace, name] = triggerName.split('/');
  target.pathname = `${target.pathname.replace(/\/$/, '')}/api/v1/namespaces/${encodeURIComponent(namespace)}/triggers/${encodeURIComponent(name)}`;
  const open = target.href; // as GitHub shows it: without the key
  const [user, ...secret] = process.env.__OW_API_KEY.split(':');
  target.username = user;
  target.password = secret.join(':');
  try {
    if (lifecycleEvent === 'CREATE') {
      if (typeof events !== 'string' || !events) return { error: "Expected an argument 'events' of type 'string'." };
      const wanted = events.split(',').map((event) => event.trim());
      const made = await ask('POST', hooks, { name: 'web', active: true, events: wanted, config: { url: target.href, content_type: 'json' } });
      return { id: made.id };
    }
    if (lifecycleEvent === 'DELETE') {
      const shown = (hook) => { const url = new URL(hook.config.url); url.username = url.password = ''; return url.href; };
      const found = (await ask('GET', hooks)).find((hook) => shown(hook) === open);
      if (!found) return { error: `Found no existing webhooks for trigger URL ${open}` };
      await ask('DELETE', `${hooks}/${found.id}`);
      return {};
    }
  } catch (error) {
    return { error: error.message };
  }
  return { error: 'lifecycleEvent must be CREATE or DELETE' };
}
