import type { ConsensusEvents, ConsensusOptions, ConsensusStarted } from './consensus.ts'
import { ConsensusLoop } from './loop.ts'
import { recoverStores } from './opening.ts'
import type { ConsensusPorts } from './ports.ts'

/** Opens the stores of a node and starts consensus on what they hold. Errors leave nothing open. */
export async function startConsensus(
  options: ConsensusOptions,
  events: ConsensusEvents,
  ports: ConsensusPorts,
): Promise<ConsensusStarted> {
  const opened = await ports.store.open({ nodeId: options.nodeId })
  try {
    const { stored, recovered } = await recoverStores(opened, ports, (...line) => events.log(...line))
    const loop = new ConsensusLoop({ options, events, ports, stored, recovered })
    const raftAddress = await loop.start()
    return { consensus: loop, node: stored.nodeId, generation: stored.generation, boot: ports.boot, raftAddress }
  } catch (error) {
    await ports.snapshots.close()
    await ports.store.close()
    throw error
  }
}
