/* What the host gives and the engine can do, as functions for the prelude and the modules. */
#include <stdlib.h>
#include <string.h>

#include "guest.h"

JSValue context_text;
uint64_t random_state;
static uint32_t log_room, log_limit;

void begin_log(uint32_t limit) {
    log_room = 0;
    log_limit = limit;
}

static void append_log(uint32_t stream, const char *text, uint32_t size) {
    if (reply.log_size + size > log_limit) {
        reply.log_cut = 1;
        size = log_limit > reply.log_size ? log_limit - reply.log_size : 0;
        if (!size) return;
    }
    uint32_t need = reply.log_size + 16 + size;
    if (need > log_room) {
        uint32_t room = need * 2;
        void *moved = realloc((void *)reply.log, room);
        if (!moved) {
            reply.log_cut = 1;
            return;
        }
        reply.log = (uint32_t)moved;
        log_room = room;
    }
    char *at = (char *)reply.log + reply.log_size;
    double now = host_now();
    memcpy(at, &now, 8);
    memcpy(at + 8, &stream, 4);
    memcpy(at + 12, &size, 4);
    memcpy(at + 16, text, size);
    reply.log_size = need;
}

static JSValue js_log(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    int32_t stream = STDOUT;
    size_t size;
    if (JS_ToInt32(c, &stream, argv[0])) return JS_EXCEPTION;
    const char *text = JS_ToCStringLen(c, &size, argv[1]);
    if (!text) return JS_EXCEPTION;
    append_log((uint32_t)stream, text, (uint32_t)size);
    JS_FreeCString(c, text);
    return JS_UNDEFINED;
}

static JSValue js_sleep(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    double ms;
    if (JS_ToFloat64(c, &ms, argv[0])) return JS_EXCEPTION;
    host_sleep(ms);
    return JS_UNDEFINED;
}

/* splitmix64: the engine's own state would be the same after every restore. */
static uint64_t next_random(void) {
    uint64_t z = (random_state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static JSValue js_random(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    return JS_NewFloat64(c, (double)(next_random() >> 11) * 0x1p-53);
}

static JSValue js_context(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    return JS_DupValue(c, context_text);
}

/* The host's last answer, `size` bytes of it, as a string. */
static JSValue take_text(JSContext *c, uint32_t size) {
    char *text = malloc(size + 1);
    if (!text) return JS_ThrowOutOfMemory(c);
    host_take(text);
    JSValue value = JS_NewStringLen(c, text, size);
    free(text);
    return value;
}

static JSValue js_ask(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    size_t size;
    const char *text = JS_ToCStringLen(c, &size, argv[0]);
    if (!text) return JS_EXCEPTION;
    uint32_t answer = host_ask(text, (uint32_t)size);
    JS_FreeCString(c, text);
    return take_text(c, answer);
}

/* The source of a module of our library; undefined if there is none of this name. */
static JSValue js_library(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    size_t size;
    const char *name = JS_ToCStringLen(c, &size, argv[0]);
    if (!name) return JS_EXCEPTION;
    int32_t found = host_library(name, (uint32_t)size);
    JS_FreeCString(c, name);
    return found < 0 ? JS_UNDEFINED : take_text(c, (uint32_t)found);
}

/* Fills a Uint8Array with real random bytes: for keys, not for Math.random. */
static JSValue js_entropy(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    size_t size;
    uint8_t *bytes = JS_GetUint8Array(c, &size, argv[0]);
    if (!bytes) return JS_EXCEPTION;
    host_random(bytes, (uint32_t)size);
    return JS_UNDEFINED;
}

/* Ends the run, or the loading, where no script can catch it: the slot is lost, what was logged is not. */
static JSValue js_exit(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) { __builtin_trap(); }

static JSValue js_gc(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    JS_RunGC(JS_GetRuntime(c));
    return JS_UNDEFINED;
}

static JSValue js_used(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    extern uint32_t ew_top(void);
    return JS_NewFloat64(c, ew_top());
}

/* [0 pending, 1 fulfilled or 2 rejected, with what], for who shows a promise. */
static JSValue js_promise(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    JSPromiseStateEnum state = JS_PromiseState(c, argv[0]);
    JSValue pair = JS_NewArray(c);
    JS_SetPropertyUint32(c, pair, 0, JS_NewInt32(c, state == JS_PROMISE_FULFILLED ? 1 : state == JS_PROMISE_REJECTED ? 2 : 0));
    JS_SetPropertyUint32(c, pair, 1, JS_PromiseResult(c, argv[0]));
    return pair;
}

static JSValue js_compile(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    return compile(c, argv[0], argv[1], JS_EVAL_TYPE_GLOBAL);
}

/* Evaluates an ES module: [promise of its evaluation, its namespace]. */
static JSValue js_evaluate(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    JSValue module = compile(c, argv[0], argv[1], JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
    if (JS_IsException(module)) return module;
    JSModuleDef *definition = JS_VALUE_GET_PTR(module);
    if (JS_ResolveModule(c, module) < 0) return JS_EXCEPTION;
    JSValue promise = JS_EvalFunction(c, module);
    if (JS_IsException(promise)) return promise;
    JSValue pair = JS_NewArray(c);
    JS_SetPropertyUint32(c, pair, 0, promise);
    JS_SetPropertyUint32(c, pair, 1, JS_GetModuleNamespace(c, definition));
    return pair;
}

static const struct native {
    const char *name;
    JSCFunction *function;
    int count;
} functions[] = {
    {"log", js_log, 2}, {"sleep", js_sleep, 1}, {"random", js_random, 0}, {"context", js_context, 0}, {"exit", js_exit, 1},
    {"gc", js_gc, 0}, {"used", js_used, 0}, {"compile", js_compile, 2}, {"evaluate", js_evaluate, 2},
    {"library", js_library, 1}, {"ask", js_ask, 1}, {"entropy", js_entropy, 1}, {"promise", js_promise, 1},
    {"bytes", js_bytes, 2}, {"text", js_text, 2},
};

JSValue natives(JSContext *c) {
    JSValue object = JS_NewObject(c);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        JS_SetPropertyStr(c, object, functions[i].name, JS_NewCFunction(c, functions[i].function, functions[i].name, functions[i].count));
    return object;
}
