import type { NodeNeeds } from '../admin/node-needs.ts'
import type { MemberView as GossipMember } from '../gossip/effects.ts'
import type { Configuration, ConfigurationChange } from '../raft/configuration.ts'
import type { RaftStatus } from '../raft/effects.ts'
import { isMember } from '../raft/quorum.ts'
import type { Command, CommandResult, Drain } from '../state/command.ts'
import type { StateReader } from '../state/reader.ts'
import type { Clock } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'

/**
 * What operators want of a node: to drain, to leave, to be taken out though it can not leave. Any node takes that. A wish is
 * made known to all, and the node that it is about acts on it; a removal is done here. What would do harm is refused with a
 * sentence that says what to do instead.
 */
export class NodeCommands implements NodeNeeds {
  readonly #options: NodeCommandsOptions

  constructor(options: NodeCommandsOptions) {
    this.#options = options
  }

  async drain(id: string, { timeoutMs }: Limits): Promise<void> {
    const node = this.#known(id, 'drain')
    this.#refuseDead(node, 'drain')
    await this.#want(node, 'drain', { what: 'drain', timeoutMs })
  }

  async undrain(id: string, { timeoutMs }: Limits): Promise<void> {
    await this.#want(this.#known(id, 'drain'), null, { what: 'take back the drain of', timeoutMs })
  }

  async leave(id: string, { timeoutMs }: Limits): Promise<void> {
    const node = this.#known(id, 'leave')
    this.#refuseDead(node, 'leave')
    this.#refuseTheLast(node)
    this.#refuseWithoutQuorum(node, 'leave')
    await this.#want(node, 'leave', { what: 'leave', timeoutMs })
  }

  async remove(id: string, { force, timeoutMs }: Limits & { readonly force: boolean }): Promise<void> {
    const node = this.#known(id, 'remove')
    const status = this.#statusOf(node)
    if (!force && (status === 'alive' || status === 'suspect')) {
      const way = `to let it go in order: quorate node leave ${id}; to take it out all the same: quorate node remove ${id} --force`
      throw refused(`remove ${id}: gossip says that it is ${status}; ${way}`)
    }
    const { clock, newestConfiguration } = this.#options
    const endMs = clock.monotonic() + timeoutMs
    // Whom this node does not count may have joined just now.
    const isCounted = this.#counts(node) || isMember(await newestConfiguration(timeoutMs), node)
    if (!force && status === 'unknown' && isCounted) {
      const way = `ask again a little later; if it is gone for good: quorate node remove ${id} --force`
      throw refused(`remove ${id}: gossip has not heard of it since this node started, so it may be alive; ${way}`)
    }
    if (isCounted) await this.#takeOut(node, { what: 'remove', timeoutMs: endMs - clock.monotonic() })
    this.#tellGossip(node)
  }

  /** By hand: whoever counts, whether it lives or not; a change that is under way is not waited for. */
  async removeMember(node: NodeId, timeoutMs: number): Promise<void> {
    this.#refuseWithoutQuorum(node, 'remove')
    await this.#options.changeConfiguration({ kind: 'remove', node }, timeoutMs)
    this.#tellGossip(node)
  }

  /** Takes this node out of the configuration, which it may be already. */
  async leaveConfiguration(timeoutMs: number): Promise<void> {
    const { self: node, raft } = this.#options
    const isCounted = (): boolean => {
      const status = raft()
      return status === null || isMember(status.configuration, node)
    }
    if (!isCounted()) return
    try {
      await this.#takeOut(node, { what: 'leave', timeoutMs })
    } catch (error) {
      // That it is done may be all that is known of it.
      if (isCounted()) throw error
    }
  }

  /** Whom gossip, Raft or the directory know; who has left for good is not among them. */
  #known(id: string, what: string): NodeId {
    const { self, state, gossip } = this.#options
    const node = id as NodeId
    const isListed = state.members().some((member) => member.node === node)
    const isGossiped = gossip.members().some((member) => member.node === node && member.status !== 'left')
    if (node === self || this.#counts(node) || isListed || isGossiped) return node
    throw new OperatingError('not-found', `${what} ${id}: there is no such node; see: quorate node list`)
  }

  /** As far as this node knows, which may lag behind. */
  #counts(node: NodeId): boolean {
    const configuration = this.#options.raft()?.configuration
    return configuration !== undefined && isMember(configuration, node)
  }

  #statusOf(node: NodeId): GossipMember['status'] | 'unknown' {
    const { self, gossip } = this.#options
    if (node === self) return 'alive'
    return gossip.members().find((member) => member.node === node)?.status ?? 'unknown'
  }

  #refuseDead(node: NodeId, what: string): void {
    const status = this.#statusOf(node)
    if (status !== 'dead' && status !== 'left') return
    const way = `it can not ${what}; to take it out of the cluster: quorate node remove ${node}`
    throw refused(`${what} ${node}: gossip says that it ${status === 'dead' ? 'is dead' : 'has left'}; ${way}`)
  }

  /** Who leaves is followed by those that are to leave already: somebody has to stay. */
  #refuseTheLast(node: NodeId): void {
    const { state, raft } = this.#options
    const others = (raft()?.configuration.voters ?? []).filter((voter) => voter !== node)
    const isStaying = (voter: NodeId): boolean => state.drains().get(voter) !== 'leave'
    const [first] = others
    if (first === undefined || others.some(isStaying)) return
    const way = `to end the cluster, stop the processes; to go on, have one stay: quorate node drain ${first} --cancel`
    throw refused(`leave ${node}: the other voters (${others.join(', ')}) are to leave already; ${way}`)
  }

  /** Those that are there have to be able to decide it, and those that are left to decide anything after it. */
  #refuseWithoutQuorum(node: NodeId, what: string): void {
    const voters = this.#options.raft()?.configuration.voters ?? []
    if (!voters.includes(node)) return
    const rest = voters.filter((voter) => voter !== node)
    const without = (ids: readonly NodeId[]): NodeId[] => ids.filter((voter) => this.#statusOf(voter) !== 'alive')
    if (rest.length === 0) {
      throw refused(
        `${what} ${node}: it is the only voter, and the cluster ends with it; to end it, stop the process; to go on, add another first: quorate token create`,
      )
    }
    const way = `start ${without(rest).join(', ')} first; if that can not be: quorate raft recover --help`
    if (without(voters).length * 2 >= voters.length) {
      const alive = voters.length - without(voters).length
      throw new OperatingError(
        'no-quorum',
        `${what} ${node}: ${alive} of ${voters.length} voters are alive, too few to decide it: ${way}`,
        { retry: 'after', retryAfterMs: 1000 },
      )
    }
    if (without(rest).length * 2 < rest.length) return
    const left = rest.join(', ')
    throw refused(
      `${what} ${node}: too few of the voters that would be left (${left}) are alive to decide anything: ${way}`,
    )
  }

  async #want(
    node: NodeId,
    drain: Drain | null,
    { what, timeoutMs }: { what: string; timeoutMs: number },
  ): Promise<void> {
    const result = await this.#options.propose({ kind: 'member-drain', node, drain }, timeoutMs)
    if (result.kind === 'done') return
    throw new OperatingError('not-found', `${what} ${node}: it is not in the directory yet; see: quorate node list`)
  }

  /**
   * Waits for another change to end, as long as there is time. Whether the rest can do without the node is looked at anew each
   * time: others may have died or gone since the last.
   */
  async #takeOut(node: NodeId, { what, timeoutMs }: { what: string; timeoutMs: number }): Promise<void> {
    const { clock, changeConfiguration } = this.#options
    const endMs = clock.monotonic() + timeoutMs
    for (;;) {
      this.#refuseWithoutQuorum(node, what)
      const leftMs = Math.max(1, endMs - clock.monotonic())
      try {
        return await changeConfiguration({ kind: 'remove', node }, leftMs)
      } catch (error) {
        const isUnderWay = error instanceof OperatingError && error.code === 'change-under-way'
        if (!isUnderWay || leftMs <= retryMs) throw error
      }
      const waited = deferred<void>()
      clock.after(retryMs, () => waited.resolve())
      await waited.promise
    }
  }

  /** Of itself gossip says who has left; of the others the one who removed them does. */
  #tellGossip(removed: NodeId): void {
    if (removed !== this.#options.self) this.#options.gossip.remove(removed)
  }
}

const retryMs = 100

export type NodeCommandsOptions = {
  readonly self: NodeId
  /** Null before the cluster has formed. */
  readonly raft: () => RaftStatus | null
  /** As new as a linearizable read. */
  readonly newestConfiguration: (timeoutMs: number) => Promise<Configuration>
  readonly state: StateReader
  readonly gossip: { members(): readonly GossipMember[]; remove(node: NodeId): void }
  readonly propose: (command: Command, timeoutMs: number) => Promise<CommandResult>
  readonly changeConfiguration: (change: ConfigurationChange, timeoutMs: number) => Promise<void>
  readonly clock: Clock
}

type Limits = { readonly timeoutMs: number }

function refused(message: string): OperatingError {
  return new OperatingError('change-refused', message)
}
