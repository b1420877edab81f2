;; The trusted driver of a slot: runs calls on the guest, each on a pristine copy of the image.
;;
;; Its own memory: [0, 4096) the table of calls, 64 bytes each (edgewhisk/sandbox/abi.py);
;; [stack, high) the image, at the guest's own addresses; behind it arguments and results.
;; The guest can not address it.
(module
  (import "guest" "memory" (memory $guest 1))
  (import "guest" "ew_run" (func $run (param i32 i32 i32 i32 i64 i32) (result i32)))
  (import "guest" "ew_alloc" (func $alloc (param i32) (result i32)))
  (import "guest" "ew_top" (func $top (result i32)))
  (memory $own (export "own") 16)
  (global $done (export "done") (mut i32) (i32.const 0))

  ;; Puts the image back: all data and heap, zeros where the call's heap went beyond it.
  (func $restore (export "restore") (param $stack i32) (param $high i32)
    (local $top i32)
    (local.set $top (call $top))
    (memory.copy $guest $own (local.get $stack) (local.get $stack) (i32.sub (local.get $high) (local.get $stack)))
    (if (i32.gt_u (local.get $top) (local.get $high))
      (then (memory.fill $guest (local.get $high) (i32.const 0) (i32.sub (local.get $top) (local.get $high))))))

  ;; Zeros the guest's stack below `size`, from the top. The first part each call uses; the whole of it
  ;; once for a batch: garbage down there is out of reach for scripts.
  (func $clear (param $stack i32) (param $size i32)
    (memory.fill $guest (i32.sub (local.get $stack) (local.get $size)) (i32.const 0) (local.get $size)))

  (func $reserve (param $end i32)
    (local $have i32)
    (local.set $have (i32.shl (memory.size $own) (i32.const 16)))
    (if (i32.gt_u (local.get $end) (local.get $have))
      (then (if (i32.eq (i32.const -1) (memory.grow $own
          (i32.shr_u (i32.add (i32.sub (local.get $end) (local.get $have)) (i32.const 65535)) (i32.const 16))))
        (then unreachable)))))

  ;; Copies `size` bytes out of the guest to `out` of our own; returns the end.
  (func $take (param $from i32) (param $size i32) (param $out i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $out) (local.get $size)))
    (call $reserve (local.get $end))
    (memory.copy $own $guest (local.get $out) (local.get $from) (local.get $size))
    (local.get $end))

  ;; Gives the guest a copy of [from, from+size) of our own memory, with room for one byte more.
  (func $give (param $from i32) (param $size i32) (result i32)
    (local $to i32)
    (local.set $to (call $alloc (i32.add (local.get $size) (i32.const 1))))
    (if (i32.eqz (local.get $to)) (then unreachable))
    (memory.copy $guest $own (local.get $to) (local.get $from) (local.get $size))
    (local.get $to))

  ;; Runs calls until all are done, or the results fill `most` bytes, or the guest's memory grew
  ;; beyond `pages`. `done` counts them, so after a trap the host knows which one it was.
  (func (export "batch") (param $count i32) (param $stack i32) (param $high i32) (param $out i32)
      (param $most i32) (param $largest i32) (param $pages i32)
    (local $row i32) (local $reply i32) (local $size i32) (local $limit i32)
    (local.set $limit (i32.add (local.get $out) (local.get $most)))
    (global.set $done (i32.const 0))
    (block $stop (loop $next
      (br_if $stop (i32.ge_u (global.get $done) (local.get $count)))
      (local.set $row (i32.shl (global.get $done) (i32.const 6)))
      (local.set $reply (call $run
        (call $give (i32.load $own (local.get $row)) (i32.load $own offset=4 (local.get $row)))
        (i32.load $own offset=4 (local.get $row))
        (call $give (i32.load $own offset=8 (local.get $row)) (i32.load $own offset=12 (local.get $row)))
        (i32.load $own offset=12 (local.get $row))
        (i64.load $own offset=16 (local.get $row))
        (i32.load $own offset=24 (local.get $row))))
      ;; status
      (i32.store $own offset=28 (local.get $row) (i32.load $guest (local.get $reply)))
      ;; result: at most `largest` bytes of it, with its true size
      (local.set $size (i32.load $guest offset=8 (local.get $reply)))
      (i32.store $own offset=32 (local.get $row) (local.get $out))
      (i32.store $own offset=36 (local.get $row) (local.get $size))
      (if (i32.gt_u (local.get $size) (local.get $largest)) (then (local.set $size (local.get $largest))))
      (local.set $out (call $take (i32.load $guest offset=4 (local.get $reply)) (local.get $size) (local.get $out)))
      ;; log
      (local.set $size (i32.load $guest offset=16 (local.get $reply)))
      (i32.store $own offset=40 (local.get $row) (local.get $out))
      (i32.store $own offset=44 (local.get $row) (local.get $size))
      (i32.store $own offset=48 (local.get $row) (i32.load $guest offset=20 (local.get $reply)))
      (local.set $out (call $take (i32.load $guest offset=12 (local.get $reply)) (local.get $size) (local.get $out)))
      (call $restore (local.get $stack) (local.get $high))
      (call $clear (local.get $stack) (i32.const 32768))
      (global.set $done (i32.add (global.get $done) (i32.const 1)))
      (br_if $stop (i32.gt_u (memory.size $guest) (local.get $pages)))
      (br_if $stop (i32.gt_u (local.get $out) (local.get $limit)))
      (br $next)))
    (call $clear (local.get $stack) (local.get $stack))))
