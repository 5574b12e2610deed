/* SQLite at work on a database file: tables, indices, transactions, joins, aggregates, text, blobs, rollback.
 * Prints what it finds; the same program under wasmtime must print the same. */
#include <stdio.h>
#include <stdlib.h>
#include "sqlite3.h"

static sqlite3 *database;

static int row(void *none, int count, char **values, char **names) {
  (void)none; (void)names;
  for (int i = 0; i < count; i++) printf("%s%s", i ? "|" : "", values[i] ? values[i] : "NULL");
  puts("");
  return 0;
}

static void run(const char *sql) {
  char *message = 0;
  if (sqlite3_exec(database, sql, row, 0, &message) != SQLITE_OK) printf("error: %s\n", message);
  sqlite3_free(message);
}

int main(int argc, char **argv) {
  const char *file = argc > 1 ? argv[1] : ":memory:";
  if (sqlite3_open(file, &database) != SQLITE_OK) { printf("open: %s\n", sqlite3_errmsg(database)); return 1; }
  run("create table people(id integer primary key, name text not null, score real, photo blob)");
  run("create unique index by_name on people(name)");
  run("begin");
  run("with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)"
      " insert into people select i, 'person ' || i, (i * 7919) % 1000 / 10.0, zeroblob(i % 50) from n");
  run("commit");
  run("select count(*), round(sum(score), 3), max(length(photo)) from people");
  run("select name, score from people where name like '%99' order by score desc, id limit 5");
  run("create table orders(person integer references people(id), amount integer)");
  run("insert into orders select id, id % 13 from people where id % 3 = 0");
  run("select p.id % 10 as d, count(*), sum(o.amount) from people p join orders o on o.person = p.id"
      " group by d having count(*) > 10 order by d");
  run("begin; delete from people; rollback; select count(*) from people");
  run("insert into people(name) values('person 1')");
  run("update people set name = upper(name) where id between 10 and 12; select name from people where id = 11");
  run("select printf('%.15g', avg(score)), hex(substr(quote(name), 2, 4)) from people where id < 100");
  run("select json_group_array(id) from (select id from people order by score, id limit 4)");
  run("pragma integrity_check");
  sqlite3_close(database);
  puts("done");
  return 7;
}
