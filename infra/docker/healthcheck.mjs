/** `node healthcheck.mjs /readyz`: exit code 0 when this container's node answers 200. The image has no curl. */
const url = `http://127.0.0.1:${process.env.PORT || 3000}${process.argv[2] ?? "/healthz"}`;
try {
  const response = await fetch(url, { signal: AbortSignal.timeout(2500) });
  console.log(response.status, (await response.text()).slice(0, 500));
  process.exitCode = response.ok ? 0 : 1;
} catch (error) {
  console.log(`${url}: ${error.cause?.message ?? error.message}`);
  process.exitCode = 1;
}
