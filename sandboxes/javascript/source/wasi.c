/* The few WASI calls that libc would import. The guest has no files; time comes from the host. */
#include <stdint.h>

__attribute__((import_module("edgewhisk"), import_name("now"))) double host_now(void);

int32_t __imported_wasi_snapshot_preview1_clock_time_get(int32_t id, int64_t precision, int32_t out) {
    (void)id;
    (void)precision;
    *(uint64_t *)(uintptr_t)out = (uint64_t)(host_now() * 1e6);
    return 0;
}

#define NOSYS 52
int close(int file) { (void)file; return -1; }
int32_t __imported_wasi_snapshot_preview1_fd_close(int32_t a) { (void)a; return NOSYS; }
int32_t __imported_wasi_snapshot_preview1_fd_fdstat_get(int32_t a, int32_t b) { (void)a; (void)b; return NOSYS; }
int32_t __imported_wasi_snapshot_preview1_fd_seek(int32_t a, int64_t b, int32_t c, int32_t d) {
    (void)a; (void)b; (void)c; (void)d;
    return NOSYS;
}
int32_t __imported_wasi_snapshot_preview1_fd_write(int32_t a, int32_t b, int32_t c, int32_t d) {
    (void)a; (void)b; (void)c; (void)d;
    return NOSYS;
}
_Noreturn void __imported_wasi_snapshot_preview1_proc_exit(int32_t code) {
    (void)code;
    __builtin_trap();
}
