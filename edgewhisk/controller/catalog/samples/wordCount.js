function main({ payload = '' }) {
  const count = String(payload).split(/\s+/).filter(Boolean).length;
  console.log(`The message '${payload}' has ${count} words`);
  return { count };
}
