/**
 * Judges a run from what was published and what each client heard. Pure: no clock, no I/O.
 *
 * A publication is owed to a client when it is on one of its channels, meant for it, and in the log: its ingress promised it, or
 * somebody heard it. Owed and not heard is told when a gap covers it, and silently lost otherwise.
 */
import type { Audience, ClientHistory, HeardEvent, Publication } from "./histories.ts";
import { compareIds } from "./ids.ts";
import { keyOf, type Listening, listen, type Offence, type ToldGap } from "./listening.ts";

export interface Loss {
  readonly tag: string;
  readonly channel: string;
  readonly ids: readonly string[];
  readonly sentAt: number;
}

export interface ClientVerdict {
  readonly client: string;
  readonly owed: number;
  readonly delivered: number;
  /** Missed, and covered by a gap that the client was told. */
  readonly told: number;
  readonly lost: readonly Loss[];
  readonly gaps: number;
  /** Gaps that cover nothing which the client had not heard. */
  readonly falseGaps: number;
  readonly doubledIds: readonly Offence[];
  readonly doubledPublications: readonly Offence[];
  readonly repeatedUnnamed: readonly Offence[];
  readonly inversions: readonly Offence[];
  /** Heard, and meant for others. */
  readonly overheard: readonly Offence[];
  /** The longest that it waited, from the sending of something until it heard it or was told of the gap. */
  readonly longestWaitMs: number;
}

export interface Verdict {
  readonly clients: readonly ClientVerdict[];
  /** Said yes to by an ingress that promises nothing, and heard by nobody. */
  readonly vanished: readonly Publication[];
  /** Of those, once for each client that should have heard it: those that no gap told of. */
  readonly vanishedUntold: number;
}

/** The stock stack tells no positions; what was under way when a connection broke counts as missed with it. */
const CLOCK_SLACK_MS = 250;

export function check(publications: readonly Publication[], histories: readonly ClientHistory[]): Verdict {
  const accepted = publications.filter(({ outcome }) => outcome === "accepted");
  const answered = new Set(accepted.map(({ channel, tag }) => keyOf(channel, tag)));
  const listenings = histories.map((history) => listen(history, (key) => answered.has(key)));
  const known = knownIds(publications, listenings);
  const vanished = publications.filter(
    (publication) =>
      !publication.promised &&
      publication.outcome === "accepted" &&
      !known.has(keyOf(publication.channel, publication.tag)),
  );
  let vanishedUntold = 0;
  const clients = histories.map((history, index) => {
    const judge = new Judge(history, listenings[index] as Listening, known);
    for (const publication of publications) judge.take(publication);
    vanishedUntold += judge.vanishedUntold;
    return judge.verdict();
  });
  return { clients, vanished, vanishedUntold };
}

/** What is in the log, by key, with the ids under which it is there. More than one: a retry after the log had lost the first. */
function knownIds(publications: readonly Publication[], listenings: readonly Listening[]): Map<string, Set<string>> {
  const known = new Map<string, Set<string>>();
  const learn = (key: string, id: string | undefined) => {
    const ids = known.get(key) ?? new Set();
    known.set(key, id === undefined ? ids : ids.add(id));
  };
  for (const { channel, tag, outcome, promised, id } of publications) {
    if (outcome === "accepted" && promised) learn(keyOf(channel, tag), id);
  }
  for (const { heard } of listenings) {
    for (const [key, events] of heard) for (const { id } of events) learn(key, id);
  }
  return known;
}

class Judge {
  readonly #history: ClientHistory;
  readonly #listening: Listening;
  readonly #known: ReadonlyMap<string, ReadonlySet<string>>;
  readonly #usefulGaps = new Set<ToldGap>();
  readonly #lost: Loss[] = [];
  readonly #overheard: Offence[] = [];
  #owed = 0;
  #delivered = 0;
  #told = 0;
  #longestWaitMs = 0;
  vanishedUntold = 0;

  constructor(history: ClientHistory, listening: Listening, known: ReadonlyMap<string, ReadonlySet<string>>) {
    this.#history = history;
    this.#listening = listening;
    this.#known = known;
  }

  take(publication: Publication): void {
    const { channel, tag, outcome, sentAt } = publication;
    const heard = this.#heardOf(publication);
    if (!this.#isEntitled(publication)) {
      if (heard !== undefined) this.#overheard.push({ at: heard.at, what: `${tag} on ${channel}` });
      return;
    }
    if (sentAt < this.#history.owedFrom) return;
    const ids = this.#known.get(keyOf(channel, tag));
    if (heard !== undefined) {
      this.#owed++;
      this.#delivered++;
      // Of equal ones an earlier may stand for this: only what was sent before it was heard had to wait.
      if (heard.at >= sentAt) this.#longestWaitMs = Math.max(this.#longestWaitMs, heard.at - sentAt);
      return;
    }
    const covering = this.#coveringGaps(publication, ids);
    for (const gap of covering ?? []) this.#usefulGaps.add(gap);
    if (ids === undefined) {
      if (outcome === "accepted" && covering === undefined) this.vanishedUntold++;
      return;
    }
    this.#owed++;
    if (covering === undefined) this.#lost.push({ tag, channel, ids: [...ids], sentAt });
    else {
      this.#told++;
      const toldAt = Math.min(...covering.map((gap) => gap.at));
      this.#longestWaitMs = Math.max(this.#longestWaitMs, toldAt - sentAt);
    }
  }

  verdict(): ClientVerdict {
    const { gaps, doubledIds, doubledPublications, repeatedUnnamed, inversions } = this.#listening;
    return {
      client: this.#history.client,
      owed: this.#owed,
      delivered: this.#delivered,
      told: this.#told,
      lost: this.#lost,
      gaps: gaps.length,
      falseGaps: gaps.filter((gap) => !this.#usefulGaps.has(gap)).length,
      doubledIds,
      doubledPublications,
      repeatedUnnamed,
      inversions,
      overheard: this.#overheard,
      longestWaitMs: this.#longestWaitMs,
    };
  }

  #isEntitled({ channel, to }: Publication): boolean {
    const { channels } = this.#history;
    return channels.includes(channel) && (to === undefined || this.#isMeant(to));
  }

  #isMeant({ users = [], rooms = [] }: Audience): boolean {
    return users.includes(this.#history.user) || rooms.some((room) => this.#history.rooms.includes(room));
  }

  /** For one of many equal refreshes any that is not older will do. */
  #heardOf({ channel, tag, equalScope, id, sentAt }: Publication): HeardEvent | undefined {
    if (equalScope === undefined) return this.#listening.heard.get(keyOf(channel, tag))?.[0];
    const all = this.#listening.equal.get(keyOf(channel, equalScope)) ?? [];
    return all.find((event) =>
      id !== undefined && event.id !== undefined ? compareIds(event.id, id) >= 0 : event.at >= sentAt,
    );
  }

  /** `undefined` unless every place that it has in the log is covered. */
  #coveringGaps(publication: Publication, ids: ReadonlySet<string> | undefined): ToldGap[] | undefined {
    const places = ids === undefined || ids.size === 0 ? [undefined] : [...ids];
    const covering = places.map((id) => this.#listening.gaps.filter((gap) => covers(gap, publication, id)));
    return covering.some((gaps) => gaps.length === 0) ? undefined : covering.flat();
  }
}

function covers(gap: ToldGap, publication: Publication, id: string | undefined): boolean {
  if (gap.channels !== undefined && !gap.channels.includes(publication.channel)) return false;
  if (gap.to !== undefined && id !== undefined) {
    const from = gap.fromOn.has(publication.channel) ? gap.fromOn.get(publication.channel) : gap.from;
    return compareIds(id, gap.to) <= 0 && (from === undefined || compareIds(id, from) > 0);
  }
  if (publication.sentAt > gap.at) return false;
  // Where it never got an id, a told gap is the end of the matter, whatever was heard between the two.
  if (gap.to !== undefined) return true;
  return (publication.answeredAt ?? publication.sentAt) + CLOCK_SLACK_MS >= gap.sinceAt;
}
