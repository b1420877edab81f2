"""Stage 4: run actions in WebAssembly, each call on a pristine memory.

In: an action and its calls. Out: one `Outcome` for each. A guest (QuickJS and others, in
`sandboxes/`) is compiled once and instantiated in a few live slots. Deploying an action is loading
it into a slot once and keeping a copy of the memory, its image; a slot runs any action by having
that image in place. After each call the image is put back, by a small trusted driver module next to
the guest, so nothing a call did can be seen by the next one, and no call is ever cold.

Pure: `abi` (bytes of calls and replies), `outcome` (what a reply means). Shells: `runtimes`
(manifests), `native` (wasmtime's C API), `engine` (compiling, cache, deadlines), `slot`, `pool`.
"""
