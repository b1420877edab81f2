"""Stage 4: run actions in WebAssembly, each call on a pristine memory.

In: an action and its calls. Out: one `Outcome` for each. Engines are compiled once for a device and
kept live in a few slots; an action that is loaded is an image of the memory, and after each call what
it wrote is undone. So nothing a call did can be seen by the next one, and no call is ever cold. How
that is done differs with the form of the runtime (`sandboxes/*/manifest.toml`):

- `guest/` (`guests`, `slot`, `image`, driver.wat): a module that marks what it writes, next to a small
  trusted driver that runs batches and puts marked parts back. JavaScript.
- `component/` (`components`, `component`): memory of our own (`memory/linear`), a private mapping of an
  image; the kernel knows what was written. Python.
- `module/` (`modules`, `wasi`, `streams`): the action is a module itself; a new instance for each call.

`pool` finds the one for a kind. Common to all: `engine` (loading, deadlines), `compiler` and `code_cache`,
`wasmtime_ffi` (wasmtime's C API past its wrapper), `memory/` (linear memories and their budget), `host/`
(time, and the door to capabilities), `archive` (code as files), `outcome` (what a reply means), `runtimes`
(manifests).
"""
