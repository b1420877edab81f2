/* EdgeWhisk's ABI for WebAssembly actions in C. The contract is in sandboxes/README.md.
 *
 * A reactor gives the lowest latency: it exports ew_alloc and ew_call, and trades JSON through its memory.
 *
 *     zig cc -target wasm32-wasi -mexec-model=reactor -O2 -o action.wasm action.c
 */
#ifndef EDGEWHISK_H
#define EDGEWHISK_H

#include <stdint.h>

#define EW_EXPORT(name) __attribute__((export_name(#name)))
#define EW_IMPORT(name) __attribute__((import_module("edgewhisk"), import_name(#name)))

enum { EW_STDOUT = 1, EW_STDERR = 2 };

/* What the host lends. */
EW_IMPORT(now) double ew_now(void);              /* milliseconds since the epoch */
EW_IMPORT(sleep) void ew_sleep(double ms);       /* ends early when the action's time is over */
EW_IMPORT(random) void ew_random(void *where, uint32_t size);
EW_IMPORT(log) void ew_log(uint32_t stream, const char *text, uint32_t size);

/* Each leaves an answer with the host and returns its size; ew_take then copies it to where there is room. */
EW_IMPORT(context) uint32_t ew_context(void);    /* {"__OW_ACTIVATION_ID": ...} */
EW_IMPORT(ask) uint32_t ew_ask(const char *request, uint32_t size); /* {"op": "state.get", "key": "k"} */
EW_IMPORT(take) void ew_take(void *where);

/* What the action exports: room for the parameters, and the function itself. The result of ew_call is the
 * address of a JSON object or array in the upper 32 bits and its size in the lower ones. A result with
 * the key "error" is an application error. Each call finds the memory as the module defines it. */
EW_EXPORT(ew_alloc) void *ew_alloc(uint32_t size);
EW_EXPORT(ew_call) uint64_t ew_call(const char *arguments, uint32_t size);

static inline uint64_t ew_result(const char *text, uint32_t size) {
    return (uint64_t)(uintptr_t)text << 32 | size;
}

#endif
