function main(params) {
  const sorted = Object.fromEntries(Object.keys(params).sort().map((key) => [key, params[key]]));
  for (const [key, value] of Object.entries(sorted)) console.log(`${key}:`, value);
  return { params: sorted };
}
