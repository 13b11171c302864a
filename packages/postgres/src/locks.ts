/** Our advisory locks, as (class, object). migrations/ has 1, the hint, and 3, rewriting capture functions; packages/push has 5 and 6. */
export const LOCK_CLASS = 1_667_330_668;
export const MIGRATE_LOCK = 2;
export const LEASE_LOCK = 4;
