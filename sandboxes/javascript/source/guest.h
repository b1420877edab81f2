/* What the parts of the JavaScript guest share. */
#include <stdint.h>

#include "quickjs.h"

#define HOST(name) __attribute__((import_module("edgewhisk"), import_name(#name)))
HOST(now) double host_now(void);
HOST(sleep) void host_sleep(double ms);
HOST(random) void host_random(void *where, uint32_t size);
/* Each leaves an answer with the host, tells its size, and host_take copies it to where there is room. */
HOST(ask) uint32_t host_ask(const char *request, uint32_t size);
HOST(library) int32_t host_library(const char *name, uint32_t size);
HOST(take) void host_take(void *where);

enum { STDOUT = 1, STDERR = 2 };

/* What ew_load and ew_run leave for the host; its address is their result. */
struct reply {
    uint32_t status;
    uint32_t result, result_size; /* JSON text, or the text of a developer error */
    uint32_t log, log_size;       /* entries: f64 time in ms, u32 stream, u32 size, text */
    uint32_t log_cut;             /* 1 if the log limit was reached */
};

extern struct reply reply;

/* The call that is being run. */
extern JSValue context_text;
extern uint64_t random_state;
void begin_log(uint32_t limit);

/* natives.c: what the prelude and the modules get, as an object. */
JSValue natives(JSContext *c);

/* guest.c */
JSValue compile(JSContext *c, JSValueConst source, JSValueConst name, int flags);

/* bytes.c */
JSValue js_bytes(JSContext *c, JSValueConst self, int argc, JSValueConst *argv);
JSValue js_text(JSContext *c, JSValueConst self, int argc, JSValueConst *argv);
