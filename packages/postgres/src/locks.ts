/** Our advisory locks, as (class, object); migrations/ has the same numbers: 1 the hint, 2 migrating, 3 rewriting capture functions. packages/push has 5 and 6. */
export const LOCK_CLASS = 1_667_330_668;
export const LEASE_LOCK = 4;
