/* The JavaScript guest: QuickJS-ng behind EdgeWhisk's guest contract (sandboxes/README.md).
 *
 * ew_boot once, ew_load once for an action, then ew_run for each call on a memory that the host puts
 * back afterwards. Everything that survives a call is in linear memory.
 */
#include <stdlib.h>
#include <string.h>

#include "guest.h"

#define EXPORT(name) __attribute__((export_name(#name)))

enum { SUCCESS, APPLICATION_ERROR, DEVELOPER_ERROR };
#define JS_STACK (176 * 1024) /* of the 256 KiB shadow stack; beyond: a catchable RangeError */

struct reply reply;
static JSContext *ctx;
static JSValue entry, tick, resolve_module, module_text, explain, tell, plain, adopt;
static JSAtom then_name, error_name, json_name;

/* -- code ----------------------------------------------------------------------------------- */

JSValue compile(JSContext *c, JSValueConst source, JSValueConst name, int flags) {
    size_t size;
    const char *text = JS_ToCStringLen(c, &size, source), *file = JS_ToCString(c, name);
    JSValue value = text && file ? JS_Eval(c, text, size, file, flags) : JS_EXCEPTION;
    JS_FreeCString(c, text);
    JS_FreeCString(c, file);
    return value;
}

/* Names and texts of modules come from the prelude. */
static char *normalize(JSContext *c, const char *base, const char *name, void *opaque) {
    JSValue arguments[] = {JS_NewString(c, base), JS_NewString(c, name), JS_TRUE};
    JSValue found = JS_Call(c, resolve_module, JS_UNDEFINED, 3, arguments);
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

/* Shows a value, and where an error came from, in the action's log, as the proxy does. */
static void log_value(const char *words, JSValue value) {
    JSValue arguments[] = {JS_NewString(ctx, words), value};
    if (JS_IsException(JS_Call(ctx, tell, JS_UNDEFINED, 2, arguments))) JS_GetException(ctx);
}

static uint32_t refuse_load(JSValue error) {
    log_value("Error during initialization: ", error);
    return refuse_with("Initialization has failed due to: ", error, 1);
}

static uint32_t out_of_memory(void) { return refuse("The action exhausted its memory and was aborted."); }

/* {"error": value}: OpenWhisk keeps nothing else of an application error. */
static uint32_t answer_error(JSValue value) {
    JSValue object = JS_NewObject(ctx);
    JS_SetPropertyStr(ctx, object, "error", JS_DupValue(ctx, value));
    JSValue text = JS_JSONStringify(ctx, object, JS_UNDEFINED, JS_UNDEFINED);
    size_t size;
    const char *json = JS_IsException(text) ? NULL : JS_ToCStringLen(ctx, &size, text);
    if (!json) return refuse_with("The action's error can not be written as JSON: ", JS_GetException(ctx), 0);
    return answer(APPLICATION_ERROR, json, size);
}

/* Whether a value's JSON may have an "error", which JSON alone decides: undefined and functions are none there. */
static int may_fail(JSValue value) {
    return !JS_IsArray(value) && (JS_HasProperty(ctx, value, error_name) || JS_HasProperty(ctx, value, json_name));
}

static uint32_t answer_value(JSValue value) {
    if (JS_IsUndefined(value)) return answer(SUCCESS, "{}", 2);
    if (JS_IsNull(value)) return refuse("The action did not produce a valid JSON or JSON Array response: null");
    if (!JS_IsObject(value) || JS_IsFunction(ctx, value)) {
        const char *kind = JS_IsString(value) ? "string" : JS_IsNumber(value) ? "number" : JS_IsBool(value) ? "boolean"
                           : JS_IsSymbol(value) ? "symbol" : JS_IsFunction(ctx, value) ? "function" : "bigint";
        char words[80] = "Result must be of type object but has type \"";
        strcat(strcat(words, kind), "\": ");
        log_value(words, value);
        return refuse("The action did not return a dictionary.");
    }
    JSValue text = JS_JSONStringify(ctx, value, JS_UNDEFINED, JS_UNDEFINED);
    if (JS_IsException(text))
        return refuse_with("The action's result can not be written as JSON: ", JS_GetException(ctx), 0);
    size_t size;
    const char *json = JS_ToCStringLen(ctx, &size, text);
    if (!json) return out_of_memory();
    if (json[0] != '{' && json[0] != '[') return refuse("The action did not return a dictionary.");
    if (may_fail(value)) {
        JSValue read = JS_ParseJSON(ctx, json, size, "result");
        if (JS_IsException(read)) return out_of_memory();
        if (JS_HasProperty(ctx, read, error_name) > 0) return answer_error(JS_GetProperty(ctx, read, error_name));
    }
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

/* Runs jobs and timers until the promise is settled; 0 if a timer threw, which ends Node. */
static int settle(JSValue promise) {
    for (;;) {
        if (drain_jobs() < 0) log_value("", JS_GetException(ctx));
        if (JS_PromiseState(ctx, promise) != JS_PROMISE_PENDING) return 1;
        JSValue more = JS_Call(ctx, tick, JS_UNDEFINED, 0, NULL);
        if (JS_IsException(more)) {
            log_value("", explained(JS_GetException(ctx)));
            return 0;
        }
        if (!JS_ToBool(ctx, more)) host_sleep(1e300); /* nothing will settle it: until the action's time is over */
    }
}

static uint32_t answer_promise(JSValue promise) {
    if (!settle(promise)) return refuse(unexpected_exit);
    JSValue value = JS_PromiseResult(ctx, promise);
    if (JS_PromiseState(ctx, promise) == JS_PROMISE_FULFILLED) return answer_value(value);
    value = explained(value);
    if (JS_IsError(value)) log_value("", value);
    value = JS_Call(ctx, plain, JS_UNDEFINED, 1, &value);
    if (JS_IsException(value))
        return refuse_with("The action's error can not be written as JSON: ", JS_GetException(ctx), 0);
    return answer_error(value);
}

static int is_promise(JSValue value) { return JS_PromiseState(ctx, value) != JS_PROMISE_NOT_A_PROMISE; }

/* A promise of what has a method `then`; all else as it is. */
static JSValue adopted(JSValue value) {
    if (!JS_IsObject(value) || is_promise(value)) return value;
    JSValue then = JS_GetProperty(ctx, value, then_name);
    if (JS_IsException(then)) JS_GetException(ctx);
    else if (!JS_IsFunction(ctx, then)) return value;
    return JS_Call(ctx, adopt, JS_UNDEFINED, 1, &value);
}

/* -- exports -------------------------------------------------------------------------------- */

static const char prelude[] = {
#embed "prelude.js"
    , 0};
static const char modules[] = {
#embed "modules.js"
    , 0};

static JSValue start; /* modules.js: (bundle) -> entry function, the text of what is wrong, or a promise */

static JSValue part(JSValue parts, const char *name) { return JS_GetPropertyStr(ctx, parts, name); }

/* What a text of ours, a function, gives for `arguments`. */
static JSValue ran(const char *text, size_t size, const char *name, int count, JSValue *arguments) {
    JSValue function = JS_Eval(ctx, text, size, name, JS_EVAL_TYPE_GLOBAL);
    return JS_Call(ctx, function, JS_UNDEFINED, count, arguments);
}

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
    then_name = JS_NewAtom(ctx, "then");
    error_name = JS_NewAtom(ctx, "error");
    json_name = JS_NewAtom(ctx, "toJSON");
    begin_log(1 << 20);
    JSValue given[] = {natives(ctx), JS_UNDEFINED};
    given[1] = ran(prelude, sizeof prelude - 1, "prelude.js", 1, given);
    if (JS_IsException(given[1])) return 0;
    tick = part(given[1], "tick");
    tell = part(given[1], "tell");
    plain = part(given[1], "plain");
    adopt = part(given[1], "adopt");
    JSValue parts = ran(modules, sizeof modules - 1, "modules.js", 2, given);
    if (JS_IsException(parts)) return 0;
    start = part(parts, "start");
    resolve_module = part(parts, "resolve");
    explain = part(parts, "explain");
    module_text = part(parts, "text");
    return (uint32_t)&reply;
}

EXPORT(ew_load) uint32_t ew_load(char *bundle, uint32_t size) {
    memset(&reply, 0, sizeof reply);
    begin_log(1 << 20);
    random_state = 0x5eed;
    bundle[size] = 0; /* the parser wants an end */
    JSValue files = JS_ParseJSON(ctx, bundle, size, "bundle");
    free(bundle);
    if (JS_IsException(files)) return refuse_load(JS_GetException(ctx));
    JSValue found = JS_Call(ctx, start, JS_UNDEFINED, 1, &files);
    if (JS_IsException(found)) return refuse_load(explained(JS_GetException(ctx)));
    if (is_promise(found)) {
        if (!settle(found)) return refuse("The action did not initialize and exited unexpectedly.");
        JSValue promise = found;
        found = JS_PromiseResult(ctx, promise);
        if (JS_PromiseState(ctx, promise) != JS_PROMISE_FULFILLED) return refuse_load(explained(found));
    }
    drain_jobs();
    if (!JS_IsFunction(ctx, found)) return refuse_load(found);
    entry = found;
    JS_RunGC(JS_GetRuntime(ctx));
    return answer(SUCCESS, "", 0);
}

EXPORT(ew_run)
uint32_t ew_run(char *arguments, uint32_t size, char *context, uint32_t context_size, uint64_t seed, uint32_t logs) {
    memset(&reply, 0, sizeof reply);
    begin_log(logs);
    random_state = seed;
    context_text = JS_NewStringLen(ctx, context, context_size);
    arguments[size] = 0; /* the parser wants an end */
    JSValue parameters = JS_ParseJSON(ctx, arguments, size, "parameters");
    if (JS_IsException(parameters)) return refuse_with("The parameters are no valid JSON: ", JS_GetException(ctx), 0);
    JSValue value = JS_Call(ctx, entry, JS_UNDEFINED, 1, &parameters);
    if (JS_IsException(value)) {
        JSValue error = explained(JS_GetException(ctx));
        log_value("", error);
        return refuse_with("An error has occurred: ", error, 0);
    }
    value = adopted(value);
    return is_promise(value) ? answer_promise(value) : answer_value(value);
}
