const EXTENSIONS = ['.html', '.http', '.json', '.svg', '.text'];

function main({ web, ext, trigger, path }) {
  const packaged = typeof path === 'string' && path.includes('/');
  if (web === true && trigger) return { error: 'triggers are not allowed for web actions.' };
  if (web === true && ext && !EXTENSIONS.includes(ext)) {
    return { error: `extension for web action must be one of ${JSON.stringify(EXTENSIONS)}.` };
  }
  if (trigger && packaged) return { error: 'triggers are not allowed in packages.' };
  const { __OW_API_HOST: host, __OW_NAMESPACE: own } = process.env;
  if (web === true) {
    const rest = path ? `/${packaged ? path : `default/${path}`}${ext ?? ''}` : '';
    return { url: `${host}/api/v1/web/${own}${rest}` };
  }
  return { url: `${host}/api/v1/namespaces/${own}/${trigger === true ? 'triggers' : 'actions'}${path ? `/${path}` : ''}` };
}
