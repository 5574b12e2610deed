;; Divides by zero, three calls deep: shows how a trap arrives, with its name and a backtrace.
(module
  (memory (export "memory") 1)
  (func $divide (param $by i32) (result i32)
    (i32.div_u (i32.const 42) (local.get $by)))
  (func $share (param $among i32) (result i32)
    (i32.add (call $divide (local.get $among)) (i32.const 1)))
  (func $main (export "_start")
    (drop (call $share (i32.load (i32.const 0))))))
