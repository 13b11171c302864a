export { type FirebaseAccount, readFirebaseAccount } from "./fcm/account.ts";
export { type Action, CLASSIFICATION, classify, type FcmFailure, type Reason, type Verdict } from "./fcm/classify.ts";
export { type Fcm, type FcmResult, FirebaseFcm } from "./fcm/firebase.ts";
export { type BuiltMessage, buildMessage, type PushAddress, type PushContent } from "./fcm/message.ts";
export type { Client, PushJob, PushQueue } from "./jobs.ts";
