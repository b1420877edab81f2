/* malloc for a guest whose whole memory is put back after each call.
 *
 * Size classes over a bump pointer: freed blocks of a class are reused, nothing is ever given back.
 * That keeps the image dense (it is copied for each call) and makes ew_top() the high-water mark
 * behind which memory is still zero.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern unsigned char __heap_base;

#define PAGE 65536u
#define HEADER 8u /* holds the class; keeps blocks aligned to 8 */
#define CLASSES 160u

static uint32_t top;           /* first byte never handed out */
static uint32_t free_of[CLASSES]; /* head of each class's list of freed blocks */

/* Classes 0..31 are 16, 32 ... 512 bytes; then four steps for each doubling. */
static uint32_t class_of(uint32_t size) {
    if (size <= 512) return size == 0 ? 0 : (size - 1) / 16;
    uint32_t log = 31 - (uint32_t)__builtin_clz(size - 1); /* 2^log <= size-1 */
    uint32_t step = ((size - 1) >> (log - 2)) & 3;
    return 32 + (log - 9) * 4 + step;
}

static uint32_t size_of(uint32_t class) {
    if (class < 32) return (class + 1) * 16;
    uint32_t log = 9 + (class - 32) / 4, step = (class - 32) % 4;
    return (uint32_t)((4ull + step + 1) << (log - 2));
}

static int reach(uint32_t end) {
    uint32_t have = (uint32_t)__builtin_wasm_memory_size(0) * PAGE;
    if (end <= have) return 1;
    uint32_t pages = (end - have + PAGE - 1) / PAGE;
    return __builtin_wasm_memory_grow(0, pages) != (size_t)-1;
}

void *malloc(size_t size) {
    if (size > 0x7fff0000u) return NULL;
    uint32_t class = class_of((uint32_t)size);
    uint32_t block = free_of[class];
    if (block) {
        free_of[class] = *(uint32_t *)block;
        return (void *)block;
    }
    if (!top) top = ((uint32_t)&__heap_base + 15) & ~15u;
    uint64_t end = (uint64_t)top + HEADER + size_of(class);
    if (end > 0xffff0000u || !reach((uint32_t)end)) return NULL;
    block = top + HEADER;
    *(uint32_t *)top = class;
    top = ((uint32_t)end + 7) & ~7u;
    return (void *)block;
}

void free(void *pointer) {
    if (!pointer) return;
    uint32_t block = (uint32_t)pointer, class = *(uint32_t *)(block - HEADER);
    *(uint32_t *)block = free_of[class];
    free_of[class] = block;
}

size_t malloc_usable_size(const void *pointer) {
    return pointer ? size_of(*(const uint32_t *)((uint32_t)pointer - HEADER)) : 0;
}

void *calloc(size_t count, size_t size) {
    uint64_t bytes = (uint64_t)count * size;
    if (bytes > 0x7fff0000u) return NULL;
    void *pointer = malloc((size_t)bytes);
    if (pointer) memset(pointer, 0, (size_t)bytes);
    return pointer;
}

void *realloc(void *pointer, size_t size) {
    if (!pointer) return malloc(size);
    if (!size) {
        free(pointer);
        return NULL;
    }
    size_t old = malloc_usable_size(pointer);
    if (size <= old && class_of((uint32_t)size) == class_of((uint32_t)old)) return pointer;
    void *moved = malloc(size);
    if (!moved) return NULL;
    memcpy(moved, pointer, old < size ? old : size);
    free(pointer);
    return moved;
}

__attribute__((export_name("ew_alloc"))) uint32_t ew_alloc(uint32_t size) { return (uint32_t)malloc(size); }
__attribute__((export_name("ew_top"))) uint32_t ew_top(void) { return top; }
/* Grow once, before the image is taken: a memory that grew during a call can not be put back. */
__attribute__((export_name("ew_reserve"))) uint32_t ew_reserve(uint32_t bytes) {
    if (!top) top = ((uint32_t)&__heap_base + 15) & ~15u;
    return (uint32_t)reach(top + bytes);
}
