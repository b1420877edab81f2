function main({ payload = '' }) {
  return new Promise((resolve) => {
    setTimeout(() => resolve({ count: String(payload).split(/\s+/).filter(Boolean).length }), 10);
  });
}
