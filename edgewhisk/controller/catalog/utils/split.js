function main({ payload, separator = /\r?\n/ }) {
  if (payload === undefined || payload === null) return { error: "Expected an argument 'payload'." };
  return { lines: String(payload).split(separator), payload };
}
