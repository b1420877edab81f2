/* Text as bytes and back, for Buffer: done a byte at a time in JavaScript, a megabyte takes seconds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"

enum encoding { UTF8, BASE64, BASE64URL, HEX, LATIN1, ASCII }; /* as library/buffer.js numbers them */

static const char digits[] = "0123456789abcdef";
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/* -- from text: the engine gives UTF-8, in which the half of a surrogate pair has three bytes -- */

static size_t from_utf8(uint8_t *out, const uint8_t *text, size_t size) {
    memcpy(out, text, size);
    for (size_t at = 0; at + 2 < size; at++) {
        if (out[at] == 0xed && out[at + 1] >= 0xa0) memcpy(out + at, "\xef\xbf\xbd", 3);
    }
    return size;
}

static int base64_value(uint8_t letter) {
    if (letter >= 'A' && letter <= 'Z') return letter - 'A';
    if (letter >= 'a' && letter <= 'z') return letter - 'a' + 26;
    if (letter >= '0' && letter <= '9') return letter - '0' + 52;
    return letter == '+' || letter == '-' ? 62 : letter == '/' || letter == '_' ? 63 : -1;
}

/* As Node takes it: both alphabets, what belongs to neither is passed over, "=" is the end. */
static size_t from_base64(uint8_t *out, const uint8_t *text, size_t size) {
    size_t made = 0;
    uint32_t bits = 0, have = 0;
    for (size_t at = 0; at < size && text[at] != '='; at++) {
        int value = base64_value(text[at]);
        if (value < 0) continue;
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) out[made++] = (uint8_t)(bits >> (have -= 8));
    }
    return made;
}

static int hex_value(uint8_t letter) {
    if (letter >= '0' && letter <= '9') return letter - '0';
    letter |= 0x20;
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* Up to the first pair that is none. */
static size_t from_hex(uint8_t *out, const uint8_t *text, size_t size) {
    size_t made = 0;
    for (; 2 * made + 1 < size; made++) {
        int high = hex_value(text[2 * made]), low = hex_value(text[2 * made + 1]);
        if (high < 0 || low < 0) break;
        out[made] = (uint8_t)(high << 4 | low);
    }
    return made;
}

/* The lower byte of each UTF-16 unit. */
static size_t from_latin1(uint8_t *out, const uint8_t *text, size_t size) {
    size_t made = 0;
    for (size_t at = 0; at < size;) {
        uint8_t first = text[at];
        uint32_t point = first;
        int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
        if (more) point = first & (0x3f >> more);
        for (at++; more && at < size; more--) point = point << 6 | (text[at++] & 0x3f);
        if (point > 0xffff) out[made++] = (uint8_t)((point - 0x10000) >> 10);
        out[made++] = (uint8_t)point;
    }
    return made;
}

/* (text, encoding) -> ArrayBuffer */
JSValue js_bytes(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    (void)self;
    (void)argc;
    size_t size;
    int32_t encoding;
    if (JS_ToInt32(c, &encoding, argv[1])) return JS_EXCEPTION;
    const char *given = JS_ToCStringLen(c, &size, argv[0]);
    if (!given) return JS_EXCEPTION;
    const uint8_t *text = (const uint8_t *)given;
    uint8_t *out = malloc(size + 1);
    if (!out) {
        JS_FreeCString(c, given);
        return JS_ThrowOutOfMemory(c);
    }
    size_t made = encoding == UTF8 ? from_utf8(out, text, size)
                  : encoding == HEX ? from_hex(out, text, size)
                  : encoding == BASE64 || encoding == BASE64URL ? from_base64(out, text, size)
                                                                : from_latin1(out, text, size);
    JS_FreeCString(c, given);
    JSValue buffer = JS_NewArrayBufferCopy(c, out, made);
    free(out);
    return buffer;
}

/* -- to text -------------------------------------------------------------------------------- */

/* How many bytes a character has (RFC 3629); what is malformed has so many as can begin one, and is `broken`. */
static size_t character(const uint8_t *data, size_t left, int *broken) {
    uint8_t first = data[0];
    *broken = 0;
    if (first < 0x80) return 1;
    size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80, high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    *broken = 1;
    if (first < 0xc2 || first > 0xf4) return 1;
    for (size_t at = 1; at < size; at++) {
        if (at == left || data[at] < low || data[at] > high) return at;
        low = 0x80;
        high = 0xbf;
    }
    *broken = 0;
    return size;
}

static int is_utf8(const uint8_t *data, size_t size) {
    int broken = 0;
    for (size_t at = 0; at < size && !broken;) at += character(data + at, size - at, &broken);
    return !broken;
}

/* With U+FFFD for each part that is malformed, as the WHATWG's Encoding has it. */
static size_t to_utf8(char *out, const uint8_t *data, size_t size) {
    size_t made = 0;
    for (size_t at = 0; at < size;) {
        int broken;
        size_t part = character(data + at, size - at, &broken);
        memcpy(out + made, broken ? (const uint8_t *)"\xef\xbf\xbd" : data + at, broken ? 3 : part);
        made += broken ? 3 : part;
        at += part;
    }
    return made;
}

static size_t to_base64(char *out, const uint8_t *data, size_t size, int url) {
    size_t made = 0;
    for (size_t at = 0; at < size; at += 3) {
        size_t left = size - at;
        uint32_t bits = (uint32_t)data[at] << 16;
        if (left > 1) bits |= (uint32_t)data[at + 1] << 8;
        if (left > 2) bits |= data[at + 2];
        for (size_t digit = 0; digit < 4; digit++) {
            uint32_t value = bits >> (18 - 6 * digit) & 63;
            if (digit > left) {
                if (!url) out[made++] = '=';
            } else {
                out[made++] = value < 62 ? alphabet[value] : value == 62 ? (url ? '-' : '+') : url ? '_' : '/';
            }
        }
    }
    return made;
}

static size_t to_hex(char *out, const uint8_t *data, size_t size) {
    for (size_t at = 0; at < size; at++) {
        out[2 * at] = digits[data[at] >> 4];
        out[2 * at + 1] = digits[data[at] & 15];
    }
    return 2 * size;
}

static size_t to_latin1(char *out, const uint8_t *data, size_t size, uint8_t mask) {
    size_t made = 0;
    for (size_t at = 0; at < size; at++) {
        uint8_t byte = data[at] & mask;
        if (byte >= 0x80) out[made++] = (char)(0xc0 | byte >> 6);
        out[made++] = (char)(byte < 0x80 ? byte : 0x80 | (byte & 0x3f));
    }
    return made;
}

/* (Uint8Array, encoding) -> text */
JSValue js_text(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    (void)self;
    (void)argc;
    size_t size;
    int32_t encoding;
    const uint8_t *data = JS_GetUint8Array(c, &size, argv[0]);
    if (!data || JS_ToInt32(c, &encoding, argv[1])) return JS_EXCEPTION;
    if (encoding == UTF8 && is_utf8(data, size)) return JS_NewStringLen(c, (const char *)data, size);
    char *out = malloc(3 * size + 4);
    if (!out) return JS_ThrowOutOfMemory(c);
    size_t made = encoding == UTF8 ? to_utf8(out, data, size)
                  : encoding == HEX ? to_hex(out, data, size)
                  : encoding == BASE64 || encoding == BASE64URL ? to_base64(out, data, size, encoding == BASE64URL)
                                                                : to_latin1(out, data, size, encoding == ASCII ? 0x7f : 0xff);
    JSValue text = JS_NewStringLen(c, out, made);
    free(out);
    return text;
}
