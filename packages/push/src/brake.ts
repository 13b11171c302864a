/** Notices when too many devices look dead at once: then it is more likely that something else is wrong. */
export interface BrakeOptions {
  /** 100: never. */
  readonly maxPercent: number;
}

/** One device of a user who left is no reason for alarm, whatever its share. */
const MIN_DEAD = 10;
const SAMPLE = 50;

export class Brake {
  readonly #maxShare: number;
  /** Of the latest answers, whether each said that the device is gone. */
  #recent: boolean[] = [];

  constructor({ maxPercent }: BrakeOptions) {
    this.#maxShare = maxPercent / 100;
  }

  /** `dead` is of one batch, which is judged by itself when it is large, else together with what came right before. */
  trips(dead: readonly boolean[]): boolean {
    const sample = dead.length >= SAMPLE ? dead : [...this.#recent, ...dead].slice(-SAMPLE);
    this.#recent = sample.slice(-SAMPLE);
    const count = sample.filter(Boolean).length;
    if (count < MIN_DEAD || count <= sample.length * this.#maxShare) return false;
    this.#recent = [];
    return true;
  }
}
