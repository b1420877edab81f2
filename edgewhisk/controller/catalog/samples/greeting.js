function main(params) {
  console.log('params:', params);
  const { name, payload, place } = params;
  return { payload: `Hello, ${name || payload || 'stranger'} from ${place || 'somewhere'}!` };
}
