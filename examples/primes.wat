;; Counts the primes below five million, with a sieve in linear memory: time goes into computing only.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $limit i32 (i32.const 5000000))

  (func $count (result i32)
    (local $n i32) (local $multiple i32) (local $found i32)
    ;; one byte a number, from 65536; 0 = not crossed out
    (drop (memory.grow (i32.add (i32.div_u (global.get $limit) (i32.const 65536)) (i32.const 1))))
    (local.set $n (i32.const 2))
    (loop $next
      (if (i32.eqz (i32.load8_u offset=65536 (local.get $n)))
        (then
          (local.set $found (i32.add (local.get $found) (i32.const 1)))
          (local.set $multiple (i32.shl (local.get $n) (i32.const 1)))
          (block $crossed
            (loop $cross
              (br_if $crossed (i32.ge_u (local.get $multiple) (global.get $limit)))
              (i32.store8 offset=65536 (local.get $multiple) (i32.const 1))
              (local.set $multiple (i32.add (local.get $multiple) (local.get $n)))
              (br $cross)))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (global.get $limit))))
    (local.get $found))

  (func (export "_start")
    (local $value i32) (local $at i32)
    (local.set $value (call $count))
    (local.set $at (i32.const 62))
    (i32.store8 (local.get $at) (i32.const 10))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10))))
      (local.set $value (i32.div_u (local.get $value) (i32.const 10)))
      (br_if $digit (local.get $value)))
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (i32.sub (i32.const 63) (local.get $at)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
