;; The trusted driver of a slot: runs calls on the guest, each on a pristine memory.
;;
;; Its own memory: [0, high) the image at the guest's own addresses (the stack below it is zero), zeros up
;; to the table, the table of calls, 64 bytes each (edgewhisk/sandbox/guest/abi.py), behind it what the rows point
;; to, arguments and results. The guest can not address it, nor its own marks: one byte for each KiB that
;; was written (sandboxes/javascript/track.py).
(module
  (import "guest" "memory" (memory $guest 1))
  (import "guest" "marks" (memory $marks 1))
  (import "guest" "ew_run" (func $run (param i32 i32 i32 i32 i64 i32) (result i32)))
  (import "guest" "ew_alloc" (func $alloc (param i32) (result i32)))
  (memory $own (export "own") 16)

  ;; Puts back each KiB of which a mark says that it was written, and 16 bytes more: a store marks the
  ;; granule it begins in. Behind `table` the guest's memory was never used before: it is zero.
  (func $undo (param $table i32)
    (local $at i32) (local $end i32) (local $bit i32) (local $word i64)
    (local.set $end (i32.shl (memory.size $guest) (i32.const 6)))
    (loop $words
      (local.set $word (i64.load $marks (local.get $at)))
      (if (i64.ne (local.get $word) (i64.const 0))
        (then
          (i64.store $marks (local.get $at) (i64.const 0))
          (local.set $bit (local.get $at))
          (loop $granules
            (if (i64.ne (i64.and (local.get $word) (i64.const 255)) (i64.const 0))
              (then (call $put (i32.shl (local.get $bit) (i32.const 10)) (local.get $table))))
            (local.set $bit (i32.add (local.get $bit) (i32.const 1)))
            (local.set $word (i64.shr_u (local.get $word) (i64.const 8)))
            (br_if $granules (i64.ne (local.get $word) (i64.const 0))))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $words (i32.lt_u (local.get $at) (local.get $end)))))

  (func $put (param $from i32) (param $table i32)
    (if (i32.le_u (i32.add (local.get $from) (i32.const 1040)) (local.get $table))
      (then (memory.copy $guest $own (local.get $from) (local.get $from) (i32.const 1040)))
      (else (memory.fill $guest (local.get $from) (i32.const 0)
        (select (i32.const 1040) (i32.const 1024)
          (i32.le_u (i32.add (local.get $from) (i32.const 1040)) (i32.shl (memory.size $guest) (i32.const 16))))))))

  ;; Shows the image from `from` on, zeros behind it up to `top`, and forgets all marks.
  (func (export "show") (param $from i32) (param $high i32) (param $top i32)
    (memory.copy $guest $own (local.get $from) (local.get $from) (i32.sub (local.get $high) (local.get $from)))
    (if (i32.gt_u (local.get $top) (local.get $high))
      (then (memory.fill $guest (local.get $high) (i32.const 0) (i32.sub (local.get $top) (local.get $high)))))
    (memory.fill $marks (i32.const 0) (i32.const 0) (i32.shl (memory.size $guest) (i32.const 6))))

  ;; Makes another image of the one shown: `count` addresses at `list`, behind them a KiB for each.
  (func (export "patch") (param $list i32) (param $count i32)
    (local $data i32) (local $to i32)
    (local.set $data (i32.add (local.get $list) (i32.shl (local.get $count) (i32.const 2))))
    (block $stop (loop $next
      (br_if $stop (i32.eqz (local.get $count)))
      (local.set $to (i32.load $own (local.get $list)))
      (memory.copy $own $own (local.get $to) (local.get $data) (i32.const 1024))
      (memory.copy $guest $own (local.get $to) (local.get $data) (i32.const 1024))
      (local.set $list (i32.add (local.get $list) (i32.const 4)))
      (local.set $data (i32.add (local.get $data) (i32.const 1024)))
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br $next))))

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
    (local $to i32) (local $first i32)
    (local.set $to (call $alloc (i32.add (local.get $size) (i32.const 1))))
    (if (i32.eqz (local.get $to)) (then unreachable))
    (memory.copy $guest $own (local.get $to) (local.get $from) (local.get $size))
    (local.set $first (i32.shr_u (local.get $to) (i32.const 10)))
    (memory.fill $marks (local.get $first) (i32.const 1)
      (i32.add (i32.sub (i32.shr_u (i32.add (local.get $to) (local.get $size)) (i32.const 10)) (local.get $first))
        (i32.const 1)))
    (local.get $to))

  ;; Runs calls until all are done, or the results fill `most` bytes, or the guest's memory grew
  ;; beyond `pages`. Words in the first row tell how large that is, count the calls, and say where their
  ;; results end, so after a trap the host knows which it was.
  (func (export "batch") (param $count i32) (param $table i32) (param $out i32) (param $most i32)
      (param $largest i32) (param $pages i32)
    (local $row i32) (local $reply i32) (local $size i32) (local $limit i32) (local $done i32)
    (local.set $limit (i32.add (local.get $out) (local.get $most)))
    (block $stop (loop $next
      (br_if $stop (i32.ge_u (local.get $done) (local.get $count)))
      (local.set $row (i32.add (local.get $table) (i32.shl (local.get $done) (i32.const 6))))
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
      (call $undo (local.get $table))
      (local.set $done (i32.add (local.get $done) (i32.const 1)))
      (i32.store $own offset=52 (local.get $table) (memory.size $guest))
      (i32.store $own offset=60 (local.get $table) (local.get $out))
      (i32.store $own offset=56 (local.get $table) (local.get $done))
      (br_if $stop (i32.gt_u (memory.size $guest) (local.get $pages)))
      (br_if $stop (i32.gt_u (local.get $out) (local.get $limit)))
      (br $next)))))
