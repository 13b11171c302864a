import { ROW_COLUMNS } from "./outbox-row.ts";

/**
 * A page of a window: `lo`, `hi`, the id it comes after, `lo_id`, `lo_xid`, and its bounds in rows and bytes.
 *
 * Two ways into a window, since each alone is slow somewhere. What began after `lo` has ids above `lo_id`: by id, of which few are not in
 * the window. What was under way in `lo` may have early ids among millions of deleted ones: by transaction. `is true` keeps the first
 * from using the other's index, which would sort the rest of the window for every page.
 *
 * Between `lo`'s xmax and `lo_xid` there may be millions of transaction ids, which savepoints use up: only those that have rows are looked
 * at, each found from the one before it.
 */
export const PAGE = `
  select ${ROW_COLUMNS}, through, case when through = size then extract(epoch from clock_timestamp() - at) end
  from (
    select *, sum(size) over (order by id) as through
    from (
      select *, coalesce(octet_length(payload), 0) + coalesce(octet_length(raw), 0) + coalesce(octet_length(audience), 0) + 100 as size
      from (
        (select o.* from carillon.outbox o
         where o.id > greatest($3::bigint, $4::bigint)
           and (o.xid >= greatest($5::xid8, pg_snapshot_xmax($1::pg_snapshot))) is true
           and pg_visible_in_snapshot(o.xid, $2::pg_snapshot)
         order by o.id limit $6)
        union all
        (select o.*
         from (
           select pg_snapshot_xip($1::pg_snapshot)
           union all
           (with recursive present (xid) as (
             (select o.xid from carillon.outbox o
              where o.xid >= pg_snapshot_xmax($1::pg_snapshot) and o.xid < $5::xid8 order by o.xid limit 1)
             union all
             select (select o.xid from carillon.outbox o where o.xid > p.xid and o.xid < $5::xid8 order by o.xid limit 1)
             from present p where p.xid is not null
           ) select xid from present where xid is not null)
         ) late (xid),
         lateral (
           select o.* from carillon.outbox o where o.xid = late.xid and o.id > $3::bigint order by o.id limit $6
         ) o
         where pg_visible_in_snapshot(late.xid, $2::pg_snapshot))
      ) parts order by id limit $6
    ) page
  ) counted where through - size < $7 order by id`;
