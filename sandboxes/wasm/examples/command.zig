//! zig build-exe command.zig -target wasm32-wasi -O ReleaseSmall
const std = @import("std");
const wasi = std.os.wasi;

pub fn main() void {
    var buffer: [65536]u8 = undefined;
    var into = [_]wasi.iovec_t{.{ .base = &buffer, .len = buffer.len }};
    var size: usize = 0;
    _ = wasi.fd_read(0, &into, 1, &size);
    var name: []const u8 = "world";
    if (std.mem.indexOf(u8, buffer[0..size], "\"name\":\"")) |at| {
        const rest = buffer[at + 8 .. size];
        name = rest[0 .. std.mem.indexOfScalar(u8, rest, '"') orelse 0];
    }
    var out: [256]u8 = undefined;
    const text = std.fmt.bufPrint(&out, "{{\"greeting\":\"Hello {s}\"}}\n", .{name}) catch return;
    var from = [_]wasi.ciovec_t{.{ .base = text.ptr, .len = text.len }};
    _ = wasi.fd_write(1, &from, 1, &size);
}
