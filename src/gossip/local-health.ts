/**
 * How far this node trusts its own senses (Lifeguard, arXiv 1707.00788, section 4.1, "LHA-Probe"): 0 is healthy, 7 the worst.
 * A node whose probes fail where others' do not, or that has to refute, is itself the slow one: it probes more seldom and
 * waits longer, so it accuses less.
 */
export class LocalHealth {
  #score = 0

  get score(): number {
    return this.#score
  }

  worsen(by: number): void {
    this.#score = Math.min(scoreMax, this.#score + by)
  }

  improve(): void {
    this.#score = Math.max(0, this.#score - 1)
  }

  /** A time of the probe, as long as this node has to allow for. */
  stretch(ticks: number): number {
    return ticks * (this.#score + 1)
  }
}

const scoreMax = 7
