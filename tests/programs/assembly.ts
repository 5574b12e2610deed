// AssemblyScript's own runtime at work: strings, maps, sorting, its garbage collector.
let squares = "";
for (let i = 0; i < 20; i++) squares += (i * i).toString() + " ";
console.log(squares);
const roots = new Map<string, f64>();
for (let i = 0; i < 1000; i++) roots.set("key" + i.toString(), Math.sqrt(<f64>i));
console.log(roots.get("key49").toString() + " " + roots.size.toString());
console.log("the quick brown fox jumps".split(" ").sort().join("-"));
const numbers = new Int32Array(1000);
for (let i = 0; i < 1000; i++) numbers[i] = (i * 7919) % 1000;
numbers.sort((x, y) => x - y);
console.log(numbers[0].toString() + " " + numbers[999].toString());
class Node { next: Node | null = null; constructor(public value: i32) {} }
let kept = 0;
for (let round = 0; round < 200; round++) {
  let list: Node | null = null;
  for (let i = 0; i < 1000; i++) { const node = new Node(i); node.next = list; list = node; }
  kept += list!.value;
}
console.log(kept.toString());
