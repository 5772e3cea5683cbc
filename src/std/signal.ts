/**
 * Tells once that something is not wanted any more: as much of an AbortSignal as calls need, and every AbortSignal is one.
 * A listener that comes after it was aborted is not called.
 */
export type Signal = {
  readonly aborted: boolean
  readonly reason: unknown
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once: true }): void
  removeEventListener(type: 'abort', listener: () => void): void
}

/**
 * A signal with its switch, for what there is of in every call: an AbortController with a listener costs a hundred times more,
 * and a Set of the one listener that there mostly is costs more than all the rest of it.
 */
export class LightSignal implements Signal {
  #aborted = false
  #reason: unknown = null
  /** In the order of their coming. Never changed in place. */
  #listeners: readonly (() => void)[] = none

  get aborted(): boolean {
    return this.#aborted
  }

  get reason(): unknown {
    return this.#reason
  }

  /** The first counts. */
  abort(reason: unknown = null): void {
    if (this.#aborted) return
    this.#aborted = true
    this.#reason = reason
    // One that another takes away meanwhile is not called any more.
    for (const listener of this.#listeners) if (this.#listeners.includes(listener)) listener()
    this.#listeners = none
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    if (!this.#aborted && !this.#listeners.includes(listener))
      this.#listeners = this.#listeners.length === 0 ? [listener] : [...this.#listeners, listener]
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    if (this.#listeners.includes(listener))
      this.#listeners = this.#listeners.length === 1 ? none : this.#listeners.filter((each) => each !== listener)
  }
}

const none: readonly (() => void)[] = []
