// AssemblyScript: asc reactor.ts --runtime stub -O -o reactor.wasm
@external("edgewhisk", "log")
declare function log(stream: i32, text: usize, size: i32): void;

export function ew_alloc(size: i32): usize {
  return heap.alloc(size);
}

export function ew_call(args: usize, size: i32): u64 {
  const text = String.UTF8.decodeUnsafe(args, size);
  const at = text.indexOf('"name":"');
  const name = at < 0 ? "world" : text.substring(at + 8, text.indexOf('"', at + 8));
  const line = String.UTF8.encode("called");
  log(2, changetype<usize>(line), line.byteLength);
  const result = String.UTF8.encode('{"greeting":"Hello ' + name + '"}');
  return ((changetype<usize>(result) as u64) << 32) | (result.byteLength as u64);
}
