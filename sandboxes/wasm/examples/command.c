/* A command: parameters on stdin, the result is the last line of stdout, the rest is log.
 *
 *     zig cc -target wasm32-wasi -O2 -s -o command.wasm command.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    static char text[65536];
    size_t size = fread(text, 1, sizeof text - 1, stdin);
    text[size] = 0;
    fprintf(stderr, "activation %s\n", getenv("__OW_ACTIVATION_ID"));
    const char *name = strstr(text, "\"name\":\"");
    int length = name ? (int)strcspn(name + 8, "\"") : 5;
    printf("{\"greeting\":\"Hello %.*s\"}\n", length, name ? name + 8 : "world");
    return 0;
}
