/** What a run is given: by `npm run load`, or by hand with `k6 run -e CARILLON_URL=…`. */
export const URL = __ENV.CARILLON_URL ?? "http://127.0.0.1:3000";
/** An API key that may publish on the channel; not needed under `AUTH=off`. */
export const KEY = __ENV.CARILLON_KEY;
/** A client's token that may subscribe to it. */
export const TOKEN = __ENV.CARILLON_TOKEN;
export const CHANNEL = __ENV.CARILLON_CHANNEL ?? "load";
export const CLIENTS = Number(__ENV.CLIENTS ?? 300);
export const SECONDS = Number(__ENV.SECONDS ?? 60);
/** Publications a second. */
export const RATE = Number(__ENV.RATE ?? 50);
