/** How many of something each user has, over all nodes. */
export interface Seats {
  /** False when the user has `max` already, those of nodes that died not counted. Twice for one seat is one. Throws `BUS_UNAVAILABLE`. */
  take(user: string, seat: string, max: number): Promise<boolean>;
  leave(user: string, seat: string): Promise<void>;
  /** Said again and again about all that are held: a seat that nobody speaks of is given up in time. */
  keep(held: readonly (readonly [user: string, seat: string])[]): Promise<void>;
}
