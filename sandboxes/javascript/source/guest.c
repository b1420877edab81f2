/* The JavaScript guest: QuickJS-ng behind EdgeWhisk's guest contract (sandboxes/README.md).
 *
 * ew_boot once, ew_load once for an action, then ew_run for each call on a memory that the host puts
 * back afterwards. Everything that survives a call is in linear memory.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "quickjs.h"

#define EXPORT(name) __attribute__((export_name(#name)))
#define HOST(name) __attribute__((import_module("edgewhisk"), import_name(#name)))
HOST(now) double host_now(void);
HOST(sleep) void host_sleep(double ms);
HOST(random) void host_random(void *where, uint32_t size);
/* Each leaves an answer with the host, tells its size, and host_take copies it to where there is room. */
HOST(ask) uint32_t host_ask(const char *request, uint32_t size);
HOST(library) int32_t host_library(const char *name, uint32_t size);
HOST(take) void host_take(void *where);

enum { SUCCESS, APPLICATION_ERROR, DEVELOPER_ERROR };
enum { STDOUT = 1, STDERR = 2 };
#define JS_STACK (176 * 1024) /* of the 256 KiB shadow stack; beyond: a catchable RangeError */

/* What ew_load and ew_run leave for the host; its address is their result. */
struct reply {
    uint32_t status;
    uint32_t result, result_size; /* JSON text, or the text of a developer error */
    uint32_t log, log_size;       /* entries: f64 time in ms, u32 stream, u32 size, text */
    uint32_t log_cut;             /* 1 if the log limit was reached */
};

static struct reply reply;
static JSContext *ctx;
static JSValue entry, tick, context_text, resolve_module, module_text, explain;
static uint32_t log_room, log_limit;
static uint64_t random_state;

/* -- what the prelude gets ------------------------------------------------------------------ */

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

/* -- code ----------------------------------------------------------------------------------- */

static JSValue compile(JSContext *c, JSValueConst source, JSValueConst name, int flags) {
    size_t size;
    const char *text = JS_ToCStringLen(c, &size, source), *file = JS_ToCString(c, name);
    JSValue value = text && file ? JS_Eval(c, text, size, file, flags) : JS_EXCEPTION;
    JS_FreeCString(c, text);
    JS_FreeCString(c, file);
    return value;
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

/* Names and texts of modules come from the prelude. */
static char *normalize(JSContext *c, const char *base, const char *name, void *opaque) {
    JSValue arguments[] = {JS_NewString(c, base), JS_NewString(c, name)};
    JSValue found = JS_Call(c, resolve_module, JS_UNDEFINED, 2, arguments);
    const char *text = JS_IsException(found) ? NULL : JS_ToCString(c, found);
    return text ? js_strdup(c, text) : NULL;
}

static JSModuleDef *load_module(JSContext *c, const char *name, void *opaque) {
    JSValue file = JS_NewString(c, name);
    JSValue text = JS_Call(c, module_text, JS_UNDEFINED, 1, &file);
    if (JS_IsException(text)) return NULL;
    JSValue module = compile(c, text, file, JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
    return JS_IsException(module) ? NULL : JS_VALUE_GET_PTR(module);
}

/* -- replies -------------------------------------------------------------------------------- */

static uint32_t answer(uint32_t status, const char *text, size_t size) {
    reply.status = status;
    reply.result = (uint32_t)text;
    reply.result_size = (uint32_t)size;
    return (uint32_t)&reply;
}

static uint32_t refuse(const char *text) { return answer(DEVELOPER_ERROR, text, strlen(text)); }

/* An error with what the prelude can tell beyond the engine. */
static JSValue explained(JSValue error) {
    if (JS_IsError(error) && JS_IsException(JS_Call(ctx, explain, JS_UNDEFINED, 1, &error))) JS_GetException(ctx);
    return error;
}

static uint32_t refuse_with(const char *prefix, JSValue error, int with_stack) {
    const char *text = NULL;
    JSValue stack = JS_UNDEFINED;
    if (with_stack && JS_IsError(error)) {
        stack = JS_GetPropertyStr(ctx, error, "stack");
        const char *head = JS_ToCString(ctx, error), *tail = JS_ToCString(ctx, stack);
        size_t a = strlen(prefix), b = head ? strlen(head) : 0, d = tail ? strlen(tail) : 0;
        char *all = malloc(a + b + d + 2);
        if (!all) return refuse("The action exhausted its memory and was aborted.");
        memcpy(all, prefix, a);
        memcpy(all + a, head, b);
        all[a + b] = '\n';
        memcpy(all + a + b + 1, tail, d);
        while (d && all[a + b + d] == '\n') d--;
        return answer(DEVELOPER_ERROR, all, a + b + 1 + d);
    }
    text = JS_ToCString(ctx, error);
    if (!text) text = "[object that can not be shown]";
    size_t a = strlen(prefix), b = strlen(text);
    char *all = malloc(a + b);
    if (!all) return refuse("The action exhausted its memory and was aborted.");
    memcpy(all, prefix, a);
    memcpy(all + a, text, b);
    return answer(DEVELOPER_ERROR, all, a + b);
}

/* Shows where an error came from in the action's log, as Node does. */
static void log_error(JSValue error) {
    if (!JS_IsError(error)) return;
    size_t head_size, size;
    const char *head = JS_ToCStringLen(ctx, &head_size, error);
    JSValue stack = JS_GetPropertyStr(ctx, error, "stack");
    const char *text = JS_ToCStringLen(ctx, &size, stack);
    if (!head || !text) return;
    while (size && text[size - 1] == '\n') size--;
    char *all = malloc(head_size + 1 + size);
    if (!all) return;
    memcpy(all, head, head_size);
    all[head_size] = '\n';
    memcpy(all + head_size + 1, text, size);
    append_log(STDERR, all, (uint32_t)(head_size + 1 + size));
}

static uint32_t out_of_memory(void) { return refuse("The action exhausted its memory and was aborted."); }

/* {"error": value}: OpenWhisk keeps nothing else of an application error. */
static uint32_t answer_error(JSValue value) {
    JSValue object = JS_NewObject(ctx);
    if (JS_IsError(value)) {
        static const char *const shown[] = {"name", "message", "stack"};
        JSValue plain = JS_NewObject(ctx);
        for (int i = 0; i < 3; i++) JS_SetPropertyStr(ctx, plain, shown[i], JS_GetPropertyStr(ctx, value, shown[i]));
        value = plain;
    } else if (JS_IsUndefined(value)) {
        value = JS_NewObject(ctx);
    }
    JS_SetPropertyStr(ctx, object, "error", JS_DupValue(ctx, value));
    JSValue text = JS_JSONStringify(ctx, object, JS_UNDEFINED, JS_UNDEFINED);
    size_t size;
    const char *json = JS_IsException(text) ? NULL : JS_ToCStringLen(ctx, &size, text);
    if (!json) return refuse_with("The action's error can not be written as JSON: ", JS_GetException(ctx), 0);
    return answer(APPLICATION_ERROR, json, size);
}

static uint32_t answer_value(JSValue value) {
    if (JS_IsUndefined(value)) return answer(SUCCESS, "{}", 2);
    if (JS_IsNull(value)) return refuse("The action did not produce a valid JSON or JSON Array response: null");
    if (!JS_IsObject(value) || JS_IsFunction(ctx, value)) return refuse("The action did not return a dictionary.");
    if (!JS_IsArray(value)) {
        JSAtom name = JS_NewAtom(ctx, "error");
        int failed = JS_HasProperty(ctx, value, name);
        if (failed > 0) return answer_error(JS_GetProperty(ctx, value, name));
        JS_FreeAtom(ctx, name);
    }
    JSValue text = JS_JSONStringify(ctx, value, JS_UNDEFINED, JS_UNDEFINED);
    if (JS_IsException(text))
        return refuse_with("The action's result can not be written as JSON: ", JS_GetException(ctx), 0);
    size_t size;
    const char *json = JS_ToCStringLen(ctx, &size, text);
    if (!json) return out_of_memory();
    if (json[0] != '{' && json[0] != '[') return refuse("The action did not return a dictionary.");
    return answer(SUCCESS, json, size);
}

/* -- the event loop ------------------------------------------------------------------------- */

static const char unexpected_exit[] = "The action did not produce a valid response and exited unexpectedly.";

static int drain_jobs(void) {
    JSContext *at;
    int left;
    while ((left = JS_ExecutePendingJob(JS_GetRuntime(ctx), &at)) > 0) {}
    return left;
}

/* Runs jobs and timers until the promise is settled; 0 if it never will be. */
static int settle(JSValue promise) {
    for (;;) {
        if (drain_jobs() < 0) log_error(JS_GetException(ctx));
        if (JS_PromiseState(ctx, promise) != JS_PROMISE_PENDING) return 1;
        JSValue more = JS_Call(ctx, tick, JS_UNDEFINED, 0, NULL);
        if (JS_IsException(more)) {
            log_error(JS_GetException(ctx));
            return 0;
        }
        if (!JS_ToBool(ctx, more)) return 0;
    }
}

static uint32_t answer_promise(JSValue promise) {
    if (!settle(promise)) return refuse(unexpected_exit);
    JSValue value = JS_PromiseResult(ctx, promise);
    if (JS_PromiseState(ctx, promise) == JS_PROMISE_FULFILLED) return answer_value(value);
    log_error(explained(value));
    return answer_error(value);
}

static int is_promise(JSValue value) { return JS_PromiseState(ctx, value) != JS_PROMISE_NOT_A_PROMISE; }

/* -- exports -------------------------------------------------------------------------------- */

static const char prelude[] = {
#embed "prelude.js"
    , 0};
static const char modules[] = {
#embed "modules.js"
    , 0};

static JSValue start; /* modules.js: (bundle) -> entry function, the text of what is wrong, or a promise */

static JSValue native(const char *name, JSCFunction *function, int count) {
    return JS_NewCFunction(ctx, function, name, count);
}

static JSValue part(JSValue parts, const char *name) { return JS_GetPropertyStr(ctx, parts, name); }

EXPORT(ew_boot) uint32_t ew_boot(uint32_t reserve) {
    extern uint32_t ew_reserve(uint32_t);
    if (!ew_reserve(reserve)) return 0;
    JSRuntime *runtime = JS_NewRuntime();
    if (!runtime) return 0;
    JS_SetMaxStackSize(runtime, JS_STACK);
    JS_SetModuleLoaderFunc(runtime, normalize, load_module, NULL);
    ctx = JS_NewContext(runtime);
    if (!ctx) return 0;
    entry = context_text = JS_UNDEFINED;
    log_limit = 1 << 20;
    JSValue function = JS_Eval(ctx, prelude, sizeof prelude - 1, "prelude.js", JS_EVAL_TYPE_GLOBAL);
    JSValue natives[] = {native("log", js_log, 2), native("sleep", js_sleep, 1), native("random", js_random, 0),
                         native("context", js_context, 0)};
    JSValue parts = JS_Call(ctx, function, JS_UNDEFINED, 4, natives);
    if (JS_IsException(parts)) return 0;
    tick = part(parts, "tick");
    function = JS_Eval(ctx, modules, sizeof modules - 1, "modules.js", JS_EVAL_TYPE_GLOBAL);
    JSValue others[] = {native("compile", js_compile, 2), native("evaluate", js_evaluate, 2),
                        native("library", js_library, 1), native("ask", js_ask, 1), native("entropy", js_entropy, 1),
                        part(parts, "env"), part(parts, "promises")};
    parts = JS_Call(ctx, function, JS_UNDEFINED, 7, others);
    if (JS_IsException(parts)) return 0;
    start = part(parts, "start");
    resolve_module = part(parts, "resolve");
    explain = part(parts, "explain");
    module_text = part(parts, "text");
    return 1;
}

EXPORT(ew_load) uint32_t ew_load(char *bundle, uint32_t size) {
    static const char failed[] = "Initialization has failed due to: ";
    memset(&reply, 0, sizeof reply);
    log_room = 0;
    random_state = 0x5eed;
    bundle[size] = 0; /* the parser wants an end */
    JSValue files = JS_ParseJSON(ctx, bundle, size, "bundle");
    free(bundle);
    if (JS_IsException(files)) return refuse_with(failed, JS_GetException(ctx), 0);
    JSValue found = JS_Call(ctx, start, JS_UNDEFINED, 1, &files);
    if (JS_IsException(found)) return refuse_with(failed, explained(JS_GetException(ctx)), 1);
    if (is_promise(found)) {
        if (!settle(found)) return refuse_with(failed, JS_NewString(ctx, "a top-level await never ended"), 0);
        JSValue promise = found;
        found = JS_PromiseResult(ctx, promise);
        if (JS_PromiseState(ctx, promise) != JS_PROMISE_FULFILLED) return refuse_with(failed, explained(found), 1);
    }
    drain_jobs();
    if (!JS_IsFunction(ctx, found)) return refuse_with(failed, found, 0);
    entry = found;
    JS_RunGC(JS_GetRuntime(ctx));
    return answer(SUCCESS, "", 0);
}

EXPORT(ew_run)
uint32_t ew_run(char *arguments, uint32_t size, char *context, uint32_t context_size, uint64_t seed, uint32_t logs) {
    memset(&reply, 0, sizeof reply);
    log_room = 0;
    log_limit = logs;
    random_state = seed;
    context_text = JS_NewStringLen(ctx, context, context_size);
    arguments[size] = 0; /* the parser wants an end */
    JSValue parameters = JS_ParseJSON(ctx, arguments, size, "parameters");
    if (JS_IsException(parameters)) return refuse_with("The parameters are no valid JSON: ", JS_GetException(ctx), 0);
    JSValue value = JS_Call(ctx, entry, JS_UNDEFINED, 1, &parameters);
    if (JS_IsException(value)) {
        JSValue error = explained(JS_GetException(ctx));
        log_error(error);
        return refuse_with("An error has occurred: ", error, 0);
    }
    return is_promise(value) ? answer_promise(value) : answer_value(value);
}
