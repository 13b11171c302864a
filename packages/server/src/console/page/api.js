// Calls of this node. The token lives here and nowhere else.
let token;

export function useToken(given) {
  token = given;
}

/** For a socket; an API key is none that a socket may use. */
export function socketToken() {
  return token?.split(".").length === 3 ? token : undefined;
}

export function hasKey() {
  return token !== undefined && socketToken() === undefined;
}

/** The answer's JSON. Throws an error with the node's reason, and `status` where there was an answer. */
export async function get(path) {
  const response = await fetch(path, { headers: token === undefined ? {} : { authorization: `Bearer ${token}` } });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw Object.assign(new Error(answer.detail ?? `the answer was ${response.status}`), { status: response.status });
}
