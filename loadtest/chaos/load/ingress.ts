/** A way in for publications. */
export interface Ingress {
  /** Begins the names of its lanes. */
  readonly name: string;
  /** Of all publications, relative to the other ingresses. */
  readonly weight: number;
  /** How many publications are under way at once; each lane sends one after another. */
  readonly lanes: number;
  /** Never rejects: the outcome is in the ledger. */
  publish(tag: string): Promise<void>;
  close(): Promise<void>;
}
