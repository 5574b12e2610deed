;; Adds its arguments, decimal numbers that may be negative, and prints the sum.
;; A word that is no number: exit code 2, nothing printed.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  ;; 0: count, 4: bytes, 8: what to write {address, length}, 16: written, 20 to 63: digits of the sum,
  ;; 1024: argument pointers, 32768: argument texts
  (memory (export "memory") 2)

  (func $number (param $text i32) (result i64)
    (local $value i64) (local $byte i32) (local $negative i32)
    (if (i32.eq (i32.load8_u (local.get $text)) (i32.const 45)) ;; -
      (then
        (local.set $negative (i32.const 1))
        (local.set $text (i32.add (local.get $text) (i32.const 1)))))
    (loop $next
      (local.set $byte (i32.sub (i32.load8_u (local.get $text)) (i32.const 48)))
      (if (i32.gt_u (local.get $byte) (i32.const 9)) (then (call $proc_exit (i32.const 2))))
      (local.set $value
        (i64.add (i64.mul (local.get $value) (i64.const 10)) (i64.extend_i32_u (local.get $byte))))
      (local.set $text (i32.add (local.get $text) (i32.const 1)))
      (br_if $next (i32.load8_u (local.get $text))))
    (select (i64.sub (i64.const 0) (local.get $value)) (local.get $value) (local.get $negative)))

  (func $print (param $value i64)
    (local $at i32) (local $rest i64)
    (local.set $at (i32.const 62))
    (i32.store8 (local.get $at) (i32.const 10)) ;; newline
    (local.set $rest
      (select (i64.sub (i64.const 0) (local.get $value)) (local.get $value)
        (i64.lt_s (local.get $value) (i64.const 0))))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $rest) (i64.const 10)))))
      (local.set $rest (i64.div_u (local.get $rest) (i64.const 10)))
      (br_if $digit (i64.ne (local.get $rest) (i64.const 0))))
    (if (i64.lt_s (local.get $value) (i64.const 0))
      (then
        (local.set $at (i32.sub (local.get $at) (i32.const 1)))
        (i32.store8 (local.get $at) (i32.const 45))))
    (i32.store (i32.const 8) (local.get $at))
    (i32.store (i32.const 12) (i32.sub (i32.const 63) (local.get $at)))
    (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16))))

  (func (export "_start")
    (local $left i32) (local $pointer i32) (local $sum i64)
    (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
    ;; pointers in 1024 to 32767, texts from 32768: what does not fit is not for this program
    (if (i32.or
          (i32.gt_u (i32.load (i32.const 0)) (i32.const 4096))
          (i32.gt_u (i32.load (i32.const 4)) (i32.const 65536)))
      (then (call $proc_exit (i32.const 2))))
    (drop (call $args_get (i32.const 1024) (i32.const 32768)))
    (local.set $left (i32.load (i32.const 0)))
    (local.set $pointer (i32.const 1024))
    (block $done
      (loop $argument
        ;; the first is the program's own name
        (br_if $done (i32.le_u (local.get $left) (i32.const 1)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (local.set $pointer (i32.add (local.get $pointer) (i32.const 4)))
        (local.set $sum (i64.add (local.get $sum) (call $number (i32.load (local.get $pointer)))))
        (br $argument)))
    (call $print (local.get $sum))))
