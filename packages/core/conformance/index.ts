export { type BusSubject, busConformance } from "./bus.ts";
export { type InterestSubject, interestConformance } from "./interest.ts";
export { type LeaseSubject, leaseConformance } from "./lease.ts";
export { type LogSubject, logConformance } from "./log.ts";
export { type PresenceSubject, presenceConformance } from "./presence.ts";
export { type RosterSubject, rosterConformance } from "./roster.ts";
export { type SessionsSubject, sessionsConformance } from "./sessions.ts";
export { type TokenBucketSubject, tokenBucketConformance } from "./token-bucket.ts";
