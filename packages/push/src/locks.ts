/** Our advisory locks, as (class, object). packages/postgres/src/locks.ts has the others of the first class. */
export const LOCK_CLASS = 1_667_330_668;
export const HOUSEKEEPING_LOCK = 5;
export const REDRIVE_LOCK = 6;
/** A class of its own, whose objects are hashes of addresses. */
export const ADDRESS_LOCK_CLASS = 1_667_330_669;
