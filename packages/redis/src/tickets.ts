import type { StoredTicket, TicketStore, TicketUse } from "@carillon/core";
import { CarillonError } from "@carillon/protocol";
import type { RedisConnections } from "./connections.ts";

/**
 * KEYS 1 the ticket; ARGV 1 the use, 2 the time. The value is the stream that it is kept for, or `n` while it is new, until when
 * that may come back with it, and what it stands for.
 */
const REDEEM = `
local state, streamUntil, text = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%d+) (.*)$')
if not state or (state ~= 'n' and state ~= ARGV[1]) then return false end
if ARGV[1] == 'once' then
  redis.call('DEL', KEYS[1])
else
  local left = tonumber(streamUntil) - tonumber(ARGV[2])
  if left < 1 then return false end
  redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. streamUntil .. ' ' .. text, 'PX', string.format('%.0f', left))
end
return text
`;

/** A key for each ticket, which expires by itself. */
export class RedisTickets implements TicketStore {
  readonly #commands: RedisConnections["commands"];
  readonly #names: RedisConnections["names"];

  constructor(connections: Pick<RedisConnections, "commands" | "names">) {
    this.#commands = connections.commands;
    this.#names = connections.names;
  }

  async put(key: string, { text, untilMs, streamUntilMs }: StoredTicket): Promise<void> {
    const leftMs = Math.max(Math.ceil(untilMs - Date.now()), 1);
    const value = `n ${Math.floor(streamUntilMs)} ${text}`;
    await this.#commands.run((redis) => redis.set(this.#key(key), value, "PX", leftMs));
  }

  async redeem(key: string, use: TicketUse): Promise<string | undefined> {
    const answer = await this.#commands.run((redis) => redis.eval(REDEEM, 1, this.#key(key), use, Date.now()), {
      once: true,
    });
    if (answer === null) return undefined;
    if (typeof answer !== "string") throw new CarillonError("BUS_UNAVAILABLE");
    return answer;
  }

  #key(key: string): string {
    return this.#names.key(`ticket:${key}`);
  }
}
