/**
 * For Compose, which can't say "unless": AUTH=off as long as nothing is set to check callers with. Anywhere else a node without
 * authentication has to be asked for by name.
 */
const ways = ["JWT_SECRET", "JWT_PUBLIC_KEY", "JWKS_URL", "AUTH_URL", "API_KEYS"];
const given = (name) => (process.env[name] ?? "").trim() !== "" || (process.env[`${name}_FILE`] ?? "").trim() !== "";
if (!given("AUTH") && !ways.some(given)) process.env.AUTH = "off";
