// With a token the fields themselves are the body (chat.postMessage), else a webhook gets them as `payload`.
async function main({ url, token, channel, username = 'Simple Message Bot', text, icon_emoji, as_user, attachments }) {
  if (!text && !attachments) return { error: 'No text provided' };
  if (!url) return { error: 'No Webhook URL provided' };
  if (!channel && token) return { error: 'No channel provided' };
  const message = {
    channel, username, text, icon_emoji, as_user: as_user === true ? true : undefined,
    attachments: attachments && (token ? JSON.stringify(attachments) : attachments), token,
  };
  const fields = Object.fromEntries(Object.entries(message).filter(([, value]) => value !== undefined));
  const body = new URLSearchParams(token ? fields : { payload: JSON.stringify(fields) }).toString();
  const headers = { 'Content-Type': 'application/x-www-form-urlencoded' };
  const answer = await fetch(url, { method: 'POST', headers, body });
  const said = await answer.text();
  if (!answer.ok) return { error: `Slack answered ${answer.status}: ${said.slice(0, 200)}` };
  return {};
}
