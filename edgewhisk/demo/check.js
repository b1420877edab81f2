// The demo's action: says what it got, and raises an alarm above 40 degrees.
function main(params) {
  const celsius = params.source === 'mqtt' ? params.celsius : params.temperature;
  const alarm = celsius > 40;
  if (alarm) console.log(`too hot: ${celsius}`);
  return { source: params.source || 'serial', seq: params.seq || params.pressure, celsius, fahrenheit: celsius * 1.8 + 32, alarm };
}
